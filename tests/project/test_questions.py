"""The commands that pages show, in blocks of ``console``: each is run, and prints what the page says."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest

from lossim.__main__ import main

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "lossim" / "_cli" / "demo"  # where `lossim demo --to demo` has the files from
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def shown(text: str) -> list[tuple[str, str]]:
    """Every command of a page, and what it is said to print."""
    entries = [entry for block in CONSOLE.findall(text) for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)]
    parts = [entry.partition("\n") for entry in entries if entry]
    return [(command, said) for command, _, said in parts]


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [pytest.param(command, said, id=f"{page.name} {command[:70]}") for page in PAGES
            for command, said in shown(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("command", "said"), COMMANDS)
def test_commands_print_what_pages_say(command: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *argv = shlex.split(command)
    assert program == "lossim"
    code = main([re.sub("^demo/", f"{DEMO}/", word) for word in argv])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert doctest.OutputChecker().check_output(said, told.out, FLAGS), told.out


def test_every_question_is_asked_both_ways() -> None:
    """By at most five statements of Python, and by one command."""
    _, *questions = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8").split("\n## ")
    assert len(questions) == 12
    for question in questions:
        assert 1 <= question.count("\n>>> ") <= 5
        assert len(shown(question)) == 1
