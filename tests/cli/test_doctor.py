"""``lossim doctor``: what is there, what is missing, and what brings it."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import lossim as ls
from command_line import run, strict

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOR_DEVELOPERS = {"dev", "docs"}


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", line)[0] for line in requirements}


def test_doctor_knows_what_the_project_declares(capsys: pytest.CaptureFixture[str]) -> None:
    """By another road: as installed, against pyproject.toml."""
    said = strict(run(capsys, "doctor", "--json")[0])
    found: dict[str, set[str]] = {}
    for each in said["packages"]:
        found.setdefault(each["extra"], set()).add(each["name"])
        if each["version"]:
            assert metadata.version(each["name"]) == each["version"]
    declared = {extra: names(lines) for extra, lines in PROJECT["optional-dependencies"].items()
                if extra not in FOR_DEVELOPERS}
    installed = set(metadata.metadata("lossim").get_all("Provides-Extra") or ())
    assert {extra: set(each) for extra, each in declared.items() if extra in installed} | {
        "": names(PROJECT["dependencies"])} == found
    assert said["lossim"] == ls.__version__


def test_doctor_brings_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("tree-sitter", "pyarrow"):
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr("lossim._cli.inspecting.version", version)
    out, _ = run(capsys, "doctor")
    assert out.startswith("lossim 1.2.3 works, without logs, configs\n")
    assert re.search(r"^  configs +missing  --config with shell scripts and YAML$", out, re.MULTILINE)
    assert re.search(r"^  tables +there    in Python: sweeps as frames and labelled arrays$", out, re.MULTILINE)
    assert out.endswith("\n  $ pip install 'lossim[logs,configs]'\n")
    monkeypatch.setattr("lossim._cli.inspecting.version", lambda name: "1.2.3")
    out, _ = run(capsys, "doctor")
    assert out.startswith("lossim 1.2.3 works, with all its extras\n")
    assert "pip install" not in out
