"""The command line: bad input, help, streams and signals."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

import lossim as ls
from command_line import LAWS, QUICK, refused, run, strict
from lossim.__main__ import main
from lossim._cli import arguments as command
from lossim._cli import commands as _commands

# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("argv", "message"), [
    ([], "COMMAND"),
    (["adit"], "did you mean 'audit'?"),
    (["audit"], "LOG"),
    (["audit", "no.jsonl"], "no.jsonl"),
    (["audit", "LOG", "--compair", "all"], "did you mean '--compare'?"),
    (["audit", "LOG", "--compair=all"], "did you mean '--compare'?"),
    (["audit", "LOG", "--comp", "all"], "has no argument '--comp'"),
    (["drift", "--shceme", "grpo"], "did you mean '--scheme'?"),
    (["presets", "extra"], "presets has no argument 'extra'"),
    (["audit", "LOG", "--scheme", "drgrpo"], "did you mean 'dr_grpo'?"),
    (["audit", "LOG", "--compare", "grpo,dappo"], "did you mean 'dapo'?"),
    (["audit", "LOG", "--compare", ""], "--compare must be one of"),
    (["audit", "LOG", "--scheme", "remax"], "needs greedy_reward"),
    (["audit", "LOG", "--compare", "remax,grpo"], "needs greedy_reward"),
    (["audit", "LOG", "--config", "no.json"], "--config needs --trainer"),
    (["audit", "LOG", "--config", "no.json", "--trainer", "trl"], "no.json"),
    (["audit", "LOG", "--config", "no.json", "--trainer", "tlr"], "did you mean 'trl'?"),
    (["audit", "LOG", "--trainer", "trl"], "--trainer is for a config"),
    (["audit", "LOG", "--unsupported", "report"], "--unsupported is for a config"),
    (["audit", "LOG", "--config", "a.json", "--scheme", "grpo"], "not allowed with"),
    (["audit", "LOG", "--column", "lenght=size"], "did you mean 'length'?"),
    (["audit", "LOG", "--column", "length=lengthh"], "did you mean 'length'?"),
    (["audit", "LOG", "--column", "length"], "must be FIELD=NAME"),
    (["audit", "LOG", "--column", "step=a", "--column", "step=b"], "must give step once"),
    (["audit", "LOG", "--column", "reward=0.5*rewrd"], "did you mean 'reward'?"),
    (["audit", "LOG", "--max-tokens", "many"], "argument --max-tokens: invalid int value: 'many'"),
    (["audit", "LOG", "--max-tokens", "0"], "max_tokens must be at least 1"),
    (["audit", "LOG", "--max-tokens", "10"], "must be at most 10"),
    (["audit", "LOG", "--paths", "both"], "argument --paths: must be one of 'outcome', 'one', got 'both'"),
    (["audit", "LOG", "--on-error", "repot"], "did you mean 'report'?"),
    (["audit", "LOG", "--format", "json"], "did you mean 'jsonl'?"),
    (["audit", "LOG", "--reward", "1"], "must be two or three finite numbers"),
    (["audit", "LOG", "--reward", "1,inf"], "must be two or three finite numbers"),
    (["audit", "LOG", "--reward", "1,0,0,0"], "must be two or three finite numbers"),
    (["audit", "LOG", "--reward", "loged"], "or 'logged', got 'loged'"),
    (["audit", "LOG", "--replicates", "5"], "must be 0 or at least 20"),
    (["audit", "LOG", "--correct-above", "nan"], "--correct-above must be finite"),
    (["audit", "LOG", "--progress", "--quiet"], "not allowed with"),
    (["audit", "EMPTY"], "holds no rows"),
    (["drift"], "needs a scheme"),
    (["drift", "--scheme", "grpo"], "give --solve-rate, --right, --wrong, --max-tokens; or --log LOG"),
    (["drift", "--scheme", "grpo", "--solve-rate", "0.4", "--right", "9", "--max-tokens", "64"], "give --wrong; or"),
    (["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64", "--paths", "one"], "--paths is for a log"),
    (["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64", "--reward", "logged"], "--reward logged is for a log"),
    (["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64", "--batches", "2"], "must be at least 16"),
    (["drift", "--scheme", "grpo", "--log", "LOG", "--right", "9"], "--right is for laws of length"),
    (["drift", "--scheme", "grpo", "--solve-rate", "2", "--right", "9", "--wrong", "9", "--max-tokens", "9"],
     "solve_rate must lie in [0, 1]"),
    (["drift", "--scheme", "grpo", "--log", "EMPTY"], "holds no rows"),
])
def test_bad_input(capsys: pytest.CaptureFixture[str], log: str, tmp_path: Path, argv: list[str], message: str) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    said = refused(capsys, *({"LOG": log, "EMPTY": str(empty)}.get(word, word) for word in argv))
    assert message in said


@pytest.mark.parametrize(("said", "wording"), [
    ("give correct_above=, or use paths='one' and no reward=",
     "give --correct-above, or use --paths one and no --reward"),
    ("pass max_tokens=512", "pass --max-tokens 512"),
    ("pass on_error='report' to", "pass --on-error report to"),
    ("or pass unsupported=\"report\"", "or pass --unsupported report"),
    ("say which with columns={'prompt': ...}; responses", "say which with --column prompt=NAME; responses"),
    ("a mapping; use method='monte_carlo' with an rng", "a mapping; give --batches 64 to sample instead"),
])
def test_messages_speak_of_options(said: str, wording: str) -> None:
    assert command._message(ValueError(said)) == wording


def test_messages_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone") as caught:
        (tmp_path / "gone.jsonl").read_text()
    assert command._message(caught.value) == f"{tmp_path / 'gone.jsonl'}: No such file or directory"
    assert command._message(ValueError()) == "ValueError"


# --- help, streams and signals --------------------------------------------------------------------------------------

SCHEME = {"--scheme", "--config", "--trainer", "--algorithm", "--processes", "--unsupported", "--ignore", "--reward"}
READING = {"--column", "--tokenizer", "--format", "--max-tokens", "--correct-above", "--on-error", "--paths",
           "--replicates"}
OUTPUT = {"--json", "--figure", "--progress", "--quiet", "--help"}


@pytest.mark.parametrize(("name", "options"), [
    ("audit", SCHEME | READING | OUTPUT | {"--compare"}),
    ("drift", SCHEME | READING | OUTPUT | {"--log", "--solve-rate", "--right", "--wrong", "--sigma", "--batches"}),
    ("presets", {"--json", "--help"}),
])
def test_help_lists_everything(capsys: pytest.CaptureFixture[str], name: str, options: set[str]) -> None:
    out, err = run(capsys, name, "--help")
    assert set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", out, re.M)) == options
    assert err == ""
    actions = command._parsers()[1][name]._actions
    assert all(action.help for action in actions)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "--help")
    assert all(re.search(rf"^    {name} ", out, re.M) for name in ("audit", "drift", "presets"))
    assert run(capsys, "--version")[0] == f"lossim {ls.__version__}\n"


def test_progress_is_on_stderr_if_wanted(capsys: pytest.CaptureFixture[str], log: str) -> None:
    words = ["audit", log, "--scheme", "grpo", *QUICK]
    quiet, shown = run(capsys, *words, "--quiet"), run(capsys, *words, "--progress")
    assert quiet == run(capsys, *words)
    assert quiet[1] == ""
    assert "rows read" in shown[1]
    assert shown[0] == quiet[0]


def test_progress_on_a_terminal_unless_quiet(capsys: pytest.CaptureFixture[str], log: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert not _commands._progress(SimpleNamespace(progress=False, quiet=True))  # type: ignore[arg-type]
    assert _commands._progress(SimpleNamespace(progress=False, quiet=False))  # type: ignore[arg-type]


def test_interrupt(capsys: pytest.CaptureFixture[str], log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*args: Any, **keywords: Any) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(_commands, "audit", stopped)
    assert run(capsys, "audit", log, "--scheme", "grpo", code=130) == ("", "")


def test_surprises_are_not_called_bad_input(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **keywords: Any) -> NoReturn:
        raise AssertionError("a bug")

    monkeypatch.setattr(_commands, "audit", broken)
    with pytest.raises(AssertionError, match="a bug"):
        main(["audit", log, "--scheme", "grpo"])


def test_as_a_module_and_as_a_script(log: str) -> None:
    script = Path(sysconfig.get_path("scripts")) / "lossim"
    starts = [[sys.executable, "-m", "lossim"], *([[str(script)]] if script.exists() else [])]
    for start in starts:
        done = subprocess.run([*start, "audit", log, "--scheme", "grpo", "--json", *QUICK], capture_output=True,
                              text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert strict(done.stdout)["verdict"].startswith("grpo: ")
        bad = subprocess.run([*start, "audit", "no.jsonl"], capture_output=True, text=True, check=False)
        assert (bad.returncode, bad.stdout) == (2, "")
        assert "Traceback" not in bad.stderr


def test_closed_pipes_are_quiet() -> None:
    with subprocess.Popen([sys.executable, "-m", "lossim", "presets"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        assert started.stderr.read() == b""
    assert started.returncode == 141


def test_terminals_without_greek() -> None:
    done = subprocess.run([sys.executable, "-X", "utf8=0", "-m", "lossim", "presets"], capture_output=True, check=False,
                          env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"GroupStandardized ? PPOClip" in done.stdout
