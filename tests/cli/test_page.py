"""docs/command_line.md: its tables are those of the code. tests/project/test_questions.py runs its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from command_line import refused, run
from lossim._cli.commands import COMMANDS, EXIT_CODES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")


def table(mark: str) -> list[list[str]]:
    """The cells of a table between two marks, its head left out."""
    rows = PAGE.partition(f"<!-- {mark} -->\n")[2].partition("<!-- end -->")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_commands_and_codes() -> None:
    assert [row[:2] for row in table("commands")] == [[f"`{name}`", each.summary] for name, each in COMMANDS.items()]
    assert table("codes") == [[str(code), said] for code, said in EXIT_CODES.items()]


def test_typos_are_answered_so(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table("typed")
    assert len(rows) > 5
    for typed, answered in rows:
        _, *words = shlex.split(typed.strip("`"))
        files = [re.sub("^demo/", f"{ROOT}/lossim/_cli/demo/", word) for word in words]
        assert answered in refused(capsys, *files), typed


def test_the_line_for_scripts(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "lossim" / "_cli")
    (line,) = re.findall(r"^lossim (audit .*) \|\| ", PAGE, re.MULTILINE)
    out, err = run(capsys, *shlex.split(line), code=3)
    assert "responses get longer" in out.partition("\n")[0]
    assert "exit code 3" in err
