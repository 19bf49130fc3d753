"""The demo, and the examples of --help, which run on its files."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

import lossim as ls
from command_line import refused, run, strict
from lossim._cli.commands import COMMANDS
from lossim._cli.showing import QUESTIONS

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "lossim" / "_cli" / "demo"
FILES = {"log.csv", "metrics.csv", "run.sh"}


def test_files_are_those_that_lossim_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")
    made = importlib.import_module("make_demo").made()
    assert {path.name: path.read_text(encoding="utf-8") for path in DEMO.iterdir()} == made, "run docs/make_demo.py"
    assert set(made) == FILES
    assert sum(map(len, made.values())) < 16_000


@pytest.fixture
def folder(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ``demo`` has the files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    for name in FILES:
        (tmp_path / "demo" / name).write_bytes((DEMO / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_help_run(capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch,
                              name: str) -> None:
    """Three of each command; what is shown is what is run."""
    monkeypatch.setattr("lossim._cli.showing.QUESTIONS", QUESTIONS[:1])  # the next test runs all of them
    if name == "completion":
        pytest.importorskip("shtab")
    page, _ = run(capsys, name, "--help")
    shown = [line.strip() for line in page.splitlines() if line.startswith("    lossim ")]
    assert tuple(shown) == COMMANDS[name].examples
    assert len(shown) == 3
    for example in shown:
        called, *words = shlex.split(example)
        assert (called, words[0]) == ("lossim", name)
        code = 3 if "--fail-if" in words else 0
        out, err = run(capsys, *words, code=code)
        assert out
        assert bool(err) == bool(code)
        if "--json" in words:
            strict(out.partition("\n")[0] if name == "watch" else out)


def test_examples_of_the_page_are_among_those(capsys: pytest.CaptureFixture[str]) -> None:
    page, _ = run(capsys)
    shown = [line.strip() for line in page.splitlines() if line.startswith("    lossim ")]
    assert len(shown) == 4
    assert set(shown) <= {example for command in COMMANDS.values() for example in command.examples}


def test_demo_says_what_its_commands_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder the commands name the files where they are, so that they can be pasted."""
    out, err = run(capsys, "demo")
    assert err == ""
    assert str(DEMO) in out.partition("\n")[0]
    said = re.findall(r"^(\S.*\?)\n  \$ lossim (.*)\n  (.*)\n", out, re.MULTILINE)
    assert [question for question, _, _ in said] == [question for question, _ in QUESTIONS]
    for _, command, verdict in said:
        assert run(capsys, *shlex.split(command))[0].partition("\n")[0] == verdict
    found = ls.audit(ls.read_config(DEMO / "run.sh").scheme, ls.Rollouts.read(DEMO / "log.csv"))
    assert found.verdict in out


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question, for tests of what is not the answers."""
    monkeypatch.setattr("lossim._cli.showing.QUESTIONS", QUESTIONS[:1])


@pytest.mark.usefixtures("few")
def test_demo_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "demo")
    said = strict(run(capsys, "demo", "--json")[0])
    assert (Path(said["folder"]), set(said["files"])) == (DEMO, FILES)
    (each,) = said["answers"]
    assert f"\n{each['question']}\n  $ {each['command']}\n  {each['verdict']}\n" in out


@pytest.mark.usefixtures("few")
def test_demo_copies_its_files(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out, _ = run(capsys, "demo", "--to", "new/demo")
    assert "$ lossim curves new/demo/metrics.csv\n" in out
    assert {path.name for path in Path("new/demo").iterdir()} == FILES
    assert run(capsys, "demo", "--to", "new/demo")[0] == out  # the same files are no harm
    Path("new/demo/log.csv").write_text("mine", encoding="utf-8")
    assert "--to must not hold another log.csv" in refused(capsys, "demo", "--to", "new/demo")
    assert Path("new/demo/log.csv").read_text(encoding="utf-8") == "mine"
    assert "must be a folder" in refused(capsys, "demo", "--to", "new/demo/log.csv")


def test_demo_without_the_extra_that_reads_scripts(capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tree_sitter", "tree_sitter_bash"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("lossim._cli.showing.QUESTIONS", [each for each in QUESTIONS if "--config" in each[1]])
    out, _ = run(capsys, "demo")
    assert "audit" in out
    assert "--config" not in out.partition("note:")[0]
    assert "pip install 'lossim[configs]'" in out
