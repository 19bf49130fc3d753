"""The command line: bad input, help, streams and signals."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path
from typing import Any

import pytest

import lossim as ls
from command_line import LAWS, QUICK, overlong, refused, rows, run, strict, written
from log_files import write
from lossim.__main__ import main

VERL = "algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=8"


@pytest.fixture
def texts(tmp_path: Path) -> str:
    """A log of text alone: a tokenizer reads it."""
    return written(tmp_path / "texts.jsonl", [{"prompt": row["prompt"], "completion": "x " * (row["length"] - 1),
                                               "reward": row["reward"]} for row in rows()])


def module(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> None:
    """A module that ``--tokenizer`` can name."""
    (folder / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


class Broken(io.StringIO):
    """A stream that cannot be written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


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
    (["audit", "LOG", "--paths", "both"], "argument --paths: must be one of 'outcome', 'one', 'states', "
     "'column', got 'both'"),
    (["audit", "LOG", "--paths", "states", "--needed", "0.5,2"], "argument --needed: must be numbers in [0, 1] with "
     "commas between them, got '0.5,2'; for example 0.25,0.5,0.9"),
    (["audit", "LOG", "--needed", "0.5"], "needed is for paths='states', got (0.5,); leave it out, or use --paths "
     "states"),
    (["audit", "LOG", "--paths", "column"], "paths needs a log that names the path of each response, got 'column'; "
     "give --column path=NAME, or use --paths outcome"),
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


@pytest.mark.parametrize(("change", "argv", "wording"), [
    ({"reward": [0.0, 0.5, 1.0]}, ["audit", "LOG"], "give --correct-above, the reward above which a response is "
     "correct, or --column correct=NAME, or use --paths one and no --reward"),
    ({}, ["audit", "LOG", "--max-tokens", "300"], "leave it out, or pass --max-tokens 256"),
    ({"length": [5, 0, 7]}, ["audit", "LOG"], "mend the row, or pass --on-error report to leave such rows out"),
    ({"prompt": None}, ["audit", "LOG"], "say which with --column prompt=NAME; responses to one prompt form a group"),
    ({"reward": None}, ["audit", "LOG"], "say which with --column reward=NAME: one column, a list that is summed"),
    ({"length": None}, ["audit", "LOG"], "give --column length=NAME, a column of token counts; or --column "
     "tokens=NAME, one of token ids; or --tokenizer, a function"),
    ({}, ["audit", "LOG", "--config", VERL + " actor_rollout_ref.actor.policy_loss.loss_mode=kl_cov", "--trainer",
          "verl"], "or pass --unsupported report to leave it out"),
    ({}, ["audit", "PARQUET"], "is Parquet, not text; use --format parquet"),
    ({}, ["drift", "--config", overlong(max_tokens=300, buffer=100), "--trainer", "verl", *LAWS],
     "; give --batches 64 to sample instead"),
])
def test_messages_speak_of_options(capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, Any],
                                   argv: list[str], wording: str) -> None:
    """Rows with some fields changed, one value after the other, or left out."""
    given = [row | {name: each[i % 3] for name, each in change.items() if each} for i, row in enumerate(rows())]
    log = written(tmp_path / "run.jsonl", [{name: value for name, value in row.items() if change.get(name, [0])}
                                           for row in given])
    misnamed = str(write(tmp_path / "log.parquet", given).rename(tmp_path / "misnamed.jsonl"))
    said = refused(capsys, *({"LOG": log, "PARQUET": misnamed}.get(word, word) for word in argv))
    assert wording in said
    assert not re.search(r"\w=(\W|$)|rng|\{", said)


def test_a_column_that_need_not_be_read_can_be_left_unread(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = written(tmp_path / "run.jsonl", [row | {"kl": "x"} for row in rows()])
    assert refused(capsys, "audit", log).endswith("or --column kl= to leave the column unread\n")
    run(capsys, "audit", log, "--column", "kl=", "--scheme", "grpo", *QUICK)


def test_messages_of_the_system(capsys: pytest.CaptureFixture[str], log: str, texts: str, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that vanishes while the log is read, and an error that says nothing."""
    figures = tmp_path / "figures"
    figures.mkdir()
    module(tmp_path, monkeypatch, "vanishing", f"""
        import os

        def count(text):
            if os.path.exists({str(figures)!r}):
                os.rmdir({str(figures)!r})
            return len(text.split())
        """)
    words = ["audit", texts, "--tokenizer", "vanishing:count", "--scheme", "grpo", *QUICK]
    said = refused(capsys, *words, "--figure", str(figures / "gone.png"))
    assert said == f"lossim: {figures / 'gone.png'}: No such file or directory\n"
    monkeypatch.setattr(sys, "stdout", Broken(ValueError()))
    assert main(["presets"]) == 2
    assert capsys.readouterr().err == "lossim: ValueError\n"


# --- help, streams and signals --------------------------------------------------------------------------------------

SCHEME = {"--scheme", "--config", "--trainer", "--algorithm", "--processes", "--unsupported", "--ignore", "--reward"}
READING = {"--column", "--tokenizer", "--format", "--max-tokens", "--correct-above", "--on-error", "--paths",
           "--needed", "--replicates"}
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
    entries = re.findall(r"^  (\S.*(?:\n {4,}.*)*)", out.partition("\n\n")[2], re.M)
    assert len(entries) >= len(options)
    assert all(re.search(r"(  |\n +)\w", entry) for entry in entries)  # each is explained, beside or below


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
    words = ["audit", log, "--scheme", "grpo", *QUICK]
    assert run(capsys, *words, "--quiet")[1] == ""
    assert "rows read" in run(capsys, *words)[1]


def test_interrupt(capsys: pytest.CaptureFixture[str], texts: str, tmp_path: Path,
                   monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, monkeypatch, "stopping", """
        def count(text):
            if text:
                raise KeyboardInterrupt
            return 0
        """)
    words = ["audit", texts, "--tokenizer", "stopping:count", "--scheme", "grpo"]
    assert run(capsys, *words, code=130) == ("", "")


def test_surprises_are_not_called_bad_input(texts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, monkeypatch, "surprising", """
        class Tokens(list):
            def __len__(self):
                raise AssertionError("a bug")

        def count(text):
            return Tokens() if text else 0
        """)
    with pytest.raises(AssertionError, match="a bug"):
        main(["audit", texts, "--tokenizer", "surprising:count", "--scheme", "grpo"])


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
