"""Colours: on a terminal alone unless somebody says otherwise, and never more than colours."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import QUICK, run, strict
from lossim.__main__ import main
from lossim._cli.colours import coloured, paint, paint_error, paint_help

NUMBERS = ["--accuracy", "0.4", "--right", "60", "--wrong", "110", "--max-tokens", "256"]
LINES = st.lists(st.one_of(
    st.text(st.characters(exclude_characters="\x1b"), max_size=30),
    st.sampled_from(["grpo: responses get longer", "  $ lossim audit log", "  note: a", "  scheme  GRPO",
                     "usage: lossim", "  --scheme NAME  a preset",
                     "    drift  which way", "", "  by outcome", "    right  1", "longer"])))


def stripped(text: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", text)


@given(LINES)
def test_colours_change_no_text(lines: list[str]) -> None:
    text = "\n".join(lines)
    for painted in (paint(text), paint_help(text), paint_error(text)):
        assert stripped(painted) == text
        assert painted.count("\x1b[0m") * 2 == painted.count("\x1b[")  # each is closed


@pytest.mark.parametrize(("argv", "parts"), [
    (["audit", "LOG", "--scheme", "grpo", *QUICK],
     ["responses get \x1b[1;36mshorter\x1b[0m,", "\n  \x1b[36mscheme\x1b[0m  Group", "\n  \x1b[1mby outcome\x1b[0m\n",
      "\n  \x1b[1;34mnote:\x1b[0m "]),
    (["drift", "--scheme", "ppo,grpo", *NUMBERS],
     ["\x1b[1;36mshorter\x1b[0m under 1 of 2 presets, \x1b[1;35mundecided\x1b[0m under 1:"]),
    (["presets", "grpo"], ["\x1b[1mgrpo\x1b[0m\n"]),
])
def test_always_and_never(capsys: pytest.CaptureFixture[str], log: str, argv: list[str], parts: list[str]) -> None:
    words = [log if word == "LOG" else word for word in argv]
    plain, _ = run(capsys, *words)
    assert "\x1b" not in plain
    assert run(capsys, *words, "--color", "never")[0] == plain
    painted, _ = run(capsys, *words, "--color=always")
    assert stripped(painted) == plain
    assert [part for part in parts if part not in painted] == []
    assert "\x1b" not in run(capsys, *words, "--color", "always", "--json")[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("when", "environment", "on_terminal", "in_pipe"), [
    ("auto", {}, True, False),
    ("auto", {"TERM": "dumb"}, False, False),
    ("auto", {"NO_COLOR": "1"}, False, False),
    ("auto", {"NO_COLOR": ""}, True, False),
    ("auto", {"FORCE_COLOR": "1"}, True, True),
    ("auto", {"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
    ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True, True),
    ("never", {"FORCE_COLOR": "1"}, False, False),
])
def test_when(monkeypatch: pytest.MonkeyPatch, when: str, environment: dict[str, str], on_terminal: bool,
              in_pipe: bool) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert coloured(when, Terminal()) is on_terminal
    assert coloured(when, io.StringIO()) is in_pipe


def test_errors_and_help(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = {word: run(capsys, *word.split())[0] for word in ("", "drift --help")}
    assert main(["adit"]) == 2
    message = capsys.readouterr().err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["adit"]) == 2
    assert capsys.readouterr().err == message.replace("lossim:", "\x1b[1;31mlossim:\x1b[0m", 1)
    for word, page in plain.items():
        painted, _ = run(capsys, *word.split())
        assert stripped(painted) == page
        assert "\x1b[1mfor example:\x1b[0m\n" in painted
    assert "  \x1b[36m--scheme\x1b[0m NAME" in painted
    out = run(capsys, "drift", "--scheme", "grpo", *NUMBERS, "--json")[0]
    assert strict(out)["verdict"].startswith("grpo: ")


def on_a_terminal(*argv: str, **environment: str) -> str:
    """What a terminal is sent, its line ends made plain; 200 columns wide."""
    ours, theirs = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    inherited["PYTHONPATH"] = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-m", "lossim", *argv], stdin=theirs, stdout=theirs, stderr=theirs,
                          env=inherited | {"TERM": "xterm-256color", "COLUMNS": "200"} | environment) as started:
        os.close(theirs)
        told = b""
        try:
            while part := os.read(ours, 4096):
                told += part
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    assert started.returncode == 0, told
    return told.decode().replace("\r\n", "\n")


def test_on_a_real_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["drift", "--scheme", "grpo", *NUMBERS, "--quiet"]
    plain, _ = run(capsys, *words)
    painted = on_a_terminal(*words)
    assert "\x1b[1;36mshorter\x1b[0m" in painted
    assert stripped(painted) == plain
    assert on_a_terminal(*words, NO_COLOR="1") == plain
    assert on_a_terminal("--help", TERM="dumb") == run(capsys)[0]
    assert on_a_terminal("--help") != run(capsys)[0]
