"""Completion in a real shell: what it offers where, and that it asks no Python for it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lossim as ls
from command_line import refused, run
from lossim._cli.commands import COMMANDS

pytest.importorskip("shtab")
BASH = shutil.which("bash")
ASK = """
source ./script
function=$(complete -p lossim); function=${function##*-F }; function=${function%% *}
PATH=
while IFS= read -r line; do
  COMP_WORDS=(lossim $line); [[ $line == *" " || -z $line ]] && COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
  $function lossim "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
  echo "${COMPREPLY[*]}"
done
"""
PRESETS = [name for name in ls.schemes.presets() if name != "remax"]  # which needs a number of its own


@pytest.fixture(scope="module")
def script() -> str:
    done = subprocess.run([sys.executable, "-m", "lossim", "completion", "bash"], capture_output=True, text=True,
                          check=True, cwd=Path(__file__).parents[2])
    return done.stdout


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash(script: str, tmp_path: Path) -> None:
    """What follows each beginning of a line, with files in the folder; no program is found meanwhile."""
    (tmp_path / "script").write_text(script, encoding="utf-8")
    (tmp_path / "logs").mkdir()
    for name in ("logs/a.jsonl", "logs/b.csv", "run.sh"):
        (tmp_path / name).touch()
    offered = {
        "": " ".join(COMMANDS),
        "au": "audit",
        "nothing": "",
        "audit --comp": "--compare",
        "audit --col": "--column --color",
        "audit --compare ": " ".join(["all", *PRESETS]),
        "audit --compare grpo,da": "grpo,dapo",
        "audit --compare grpo,dapo,dr": "grpo,dapo,dr_grpo",
        "drift --scheme gs": "gspo",
        "drift --set a=b --scheme dr": "dr_grpo",
        "presets rem": "remax",
        "survey dr_": "dr_grpo",
        "audit lo": "logs",
        "audit logs/a": "logs/a.jsonl",
        "audit logs/a.jsonl logs/b": "logs/b.csv",
        "audit logs/a.jsonl --config ru": "run.sh",
        "audit logs/a.jsonl --paths s": "states",
        "audit logs/a.jsonl --fail-if longer,un": "longer,undecided",
        "drift --color ": "auto always never",
        "drift --trainer v": "verl",
        "drift --critic class": "class-mean",
        "stops --knob group": "group-size",
        "train --shaping Kimi": "KimiLength",
        "completion ": "bash zsh fish",
        "demo --to l": "logs",
    }
    done = subprocess.run([str(BASH), "--norc", "-c", ASK], input="".join(f"{line}\n" for line in offered), text=True,
                          capture_output=True, check=True, cwd=tmp_path)
    assert done.stderr == ""
    assert dict(zip(offered, done.stdout.splitlines(), strict=True)) == offered


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_bash_at_the_key(script: str, tmp_path: Path) -> None:
    """The shell itself, on a terminal of its own, asked by pressing the key."""
    (tmp_path / "script").write_text(f"{script}\nPS1='> '\nlossim() {{ echo \"[$*]\"; }}\n", encoding="utf-8")
    typed = "lossim aud\t--comp\tgrpo,dap\t\nexit\n"
    inside = f"import pty, sys; sys.exit(pty.spawn([{BASH!r}, '--noprofile', '--rcfile', 'script', '-i']))"
    done = subprocess.run([sys.executable, "-c", inside], input=typed, text=True, capture_output=True, check=False,
                          cwd=tmp_path, timeout=30)
    assert "[audit --compare grpo,dapo]" in done.stdout, done.stdout


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_scripts(capsys: pytest.CaptureFixture[str], tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    said, _ = run(capsys, "completion", shell)
    assert all(name in said for name in (*COMMANDS, *PRESETS))
    if program is None:
        pytest.skip(f"there is no {shell}")
    (tmp_path / "script").write_text(said, encoding="utf-8")
    done = subprocess.run([program, "-n", "script"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "fish":  # which can be asked without a terminal
        asked = "source script; complete -C 'lossim aud'; complete -C 'lossim drift --scheme dr'"
        done = subprocess.run([program, "-N", "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["audit", "dr_grpo"]


def test_it_is_for_shells(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, whatever the environment says; and errors."""
    plain, _ = run(capsys, "completion", "bash")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(capsys, "completion", "bash") == (plain, "")
    monkeypatch.delenv("FORCE_COLOR")
    assert "did you mean 'bash'?" in refused(capsys, "completion", "bsh")
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert "pip install 'lossim[completion]'" in refused(capsys, "completion", "bash")


def test_every_option_is_completed(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By another road: the options that --help lists."""
    for name in COMMANDS:
        listed = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", run(capsys, name, "--help")[0], re.MULTILINE))
        called = f"_shtab_lossim_{name.replace('-', '_')}_option_strings"
        (known,) = re.findall(rf"^{called}=\((.*)\)$", script, re.MULTILINE)
        assert set(known.split()) == listed | {"-h"}
