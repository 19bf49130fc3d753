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
from command_line import LAWS, QUICK, pass_at_k, refused, rows, run, strict, written
from log_files import write
from lossim.__main__ import main

MEANS = ["--accuracy", "0.4", "--right", "60", "--wrong", "110", "--max-tokens", "256"]
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
    (["--josn"], "lossim has no argument '--josn' before a command; see lossim --help"),
    (["--hlep"], "did you mean '--help'?"),
    (["--color", "always", "presets"], "has no argument '--color' before a command"),
    (["adit"], "did you mean 'audit'?"),
    (["drift", "--scheme", "gpro"], "did you mean 'grpo'?"),
    (["watch", "nowhere", "--scheme", "grpo"], "folder must be a folder that exists, got 'nowhere'"),
    (["audit"], "are required: LOG; see lossim audit --help"),
    (["forecast", "LOG", "--scheme", "grpo", "--steps", "3"], "must name the step of each response, got Rollouts("),
    (["forecast", "LOG", "--scheme", "grpo", "--steps", "3"], "; give --column step=NAME"),
    (["audit", "no.jsonl"], "no.jsonl"),
    (["audit", "LOG", "--compair", "all"], "did you mean '--compare'?"),
    (["audit", "LOG", "--compair=all"], "did you mean '--compare'?"),
    (["audit", "LOG", "--comp", "all"], "has no argument '--comp'"),
    (["drift", "--shceme", "grpo"], "did you mean '--scheme'?"),
    (["presets", "extra"], "preset must be one of 'ppo'"),
    (["presets", "--extra"], "presets has no argument '--extra'"),
    (["drift", "grpo"], "did you mean '--scheme grpo'?"),
    (["drift", "--scheme", "GRPOO"], "got 'GRPOO'; did you mean 'grpo'?"),
    (["drift", "--scheme", "grpo", "--mean-right", "713"], "it is --right here, a mean where --accuracy is given"),
    (["drift", "--scheme", "ppo", "--critic", "exct"], "did you mean 'exact'?"),
    (["drift", "--scheme", "grpo,dapo", "--lambda", "0.9"], "--lambda is for GAE, which grpo, dapo have not; leave it"),
    (["drift", "--scheme", "ppo", "--lambda", "2"], "--lambda must lie in [0, 1], got 2.0"),
    (["drift", "--scheme", "grpo", "--kl", "-1"], "--kl must be at least 0, got -1.0"),
    (["drift", "--scheme", "rloo", "--group-size", "1"], "--group-size must be at least 2"),
    (["drift", "--scheme", "grpo", *MEANS, "--mean-length", "95"], "--mean-length must be 90, "),
    (["drift", "--scheme", "grpo", *MEANS, "--premature", "2"], "--premature must lie in [0, 0.999999], got 2.0"),
    (["drift", "--scheme", "grpo", *LAWS, "--accuracy", "0.4"], "give --accuracy in place of --solve-rate"),
    (["drift", "--scheme", "grpo,dapo", *MEANS, "--figure", "a.png"], "--figure draws one scheme"),
    (["drift", "--scheme", "grpo,dapo", "--log", "LOG"], "lossim audit LOG --compare grpo,dapo"),
    (["drift", "--scheme", "grpo", "--pace", "1:2"], "must be nats of KL in a step, or FROM:TO:STEPS"),
    (["what-if", *MEANS], "what-if needs a scheme"),
    (["what-if", "--scheme", "grpo,dapo", *MEANS], "what-if takes one scheme, and there are 2: grpo, dapo"),
    (["what-if", "--scheme", "grpo"], "or a LOG"),
    (["what-if", "LOG", "--scheme", "grpo", *MEANS], "--accuracy is for responses by numbers"),
    (["attribute", "--scheme", "grpo", *MEANS], "attribute needs two schemes or more"),
    (["attribute", "--compare", "grpo,dapo"], "or a LOG"),
    (["stops", "--scheme", "grpo", *MEANS, "--knob", "lamda"], "did you mean 'lambda'?"),
    (["stops", "--scheme", "grpo", *MEANS, "--knob", "lambda"], "--knob is not one that grpo has here"),
    (["stops", "--scheme", "grpo", *MEANS, "--length", "80"], "--steps must be given with length"),
    (["stops", "--scheme", "grpo", *MEANS, "--pace", "1e-6"], "--pace is for a run that is to reach a length"),
    (["stops", "LOG", "--scheme", "grpo", "--length", "80", "--steps", "3"], "a log stands still"),
    (["stops", "LOG", "--scheme", "grpo", "--replicates", "20"], "--replicates is not for stops"),
    (["survey"], "survey needs a question"),
    (["survey", "grpo", *MEANS], "survey needs a range for at least one of --accuracy"),
    (["survey", "grpo", "--accuracy", "0.3:0.6"], "give --max-tokens, --mean-length (or --right and --wrong)"),
    (["survey", "grpo", "--accuracy", "0.6:0.3", "--right", "60", "--max-tokens", "256"],
     "--accuracy must have its lower end first"),
    (["survey", "grpo", "--accuracy", "x"], "must be a number, low:high, low:high:log or a,b,c, got 'x'"),
    (["survey", "grpo", "--scheme", "grpo"], "survey asks of 'grpo' already"),
    (["survey", "mask:kep", "--scheme", "grpo"], "two of keep, mask, remove, as in mask:keep, got 'mask:kep'"),
    (["survey", "grpo,dapo,rloo", "--accuracy", "0.3:0.6", "--right", "60", "--max-tokens", "256"],
     "survey compares two schemes, and there are 3"),
    (["survey", "grpo", "--pace", "1e-3", "--accuracy", "0.3:0.6"], "--pace is for a run; give --steps N too"),
    (["train", "--scheme", "grpo", *MEANS], "give --steps N"),
    (["train", "--scheme", "grpo", *MEANS, "--steps", "0"], "--steps must be at least 1"),
    (["train", "--scheme", "grpo", *MEANS, "--steps", "3", "--pace", "1e-5", "--learning-rate", "1"],
     "--pace is another way to say --learning-rate"),
    (["train", "--scheme", "grpo", *MEANS, "--steps", "3", "--learning-rate", "-1"], "--learning-rate must be"),
    (["audit", "LOG", "--scheme", "drgrpo"], "did you mean 'dr_grpo'?"),
    (["audit", "LOG", "--compare", "grpo,dappo"], "did you mean 'dapo'?"),
    (["audit", "LOG", "--compare", ""], "--compare must be one of"),
    (["audit", "LOG", "--scheme", "remax"], "needs greedy_reward"),
    (["audit", "LOG", "--compare", "remax,grpo"], "needs greedy_reward"),
    (["audit", "LOG", "--config", "no.json", "--trainer", "trl"], "no.json"),
    (["audit", "LOG", "--config", "no.json", "--trainer", "tlr"], "did you mean 'trl'?"),
    (["audit", "LOG", "--trainer", "trl"], "--trainer is for a config"),
    (["audit", "LOG", "--strict"], "--strict is for a config"),
    (["audit", "LOG", "--config", "beta=1", "--set", "beta"], "--set must be KEY=VALUE"),
    (["audit", "LOG", "--config", "a.json", "--scheme", "grpo"], "not allowed with"),
    (["audit", "LOG", "--column", "lenght=size"], "did you mean 'length'?"),
    (["audit", "LOG", "--column", "length=lengthh"], "did you mean 'length'?"),
    (["audit", "LOG", "--column", "length"], "must be FIELD=NAME"),
    (["audit", "LOG", "--column", "step=a", "--column", "step=b"], "must give step once"),
    (["audit", "LOG", "--column", "reward=0.5*rewrd"], "did you mean 'reward'?"),
    (["audit", "LOG", "--max-tokens", "many"], "argument --max-tokens: invalid int value: 'many'"),
    (["audit", "LOG", "--max-tokens", "0"], "--max-tokens must be at least 1"),
    (["audit", "LOG", "--max-tokens", "10"], "must be at most 10"),
    (["audit", "LOG", "--paths", "both"], "argument --paths: must be one of 'outcome', 'one', 'states', "
     "'column', got 'both'"),
    (["audit", "LOG", "--paths", "states", "--needed", "0.5,2"], "argument --needed: must be numbers in [0, 1] with "
     "commas between them, got '0.5,2'; for example 0.25,0.5,0.9"),
    (["audit", "LOG", "--needed", "0.5"], "--needed is for --paths states, got (0.5,); leave it out, or use "
     "--paths states"),
    (["audit", "LOG", "--paths", "column"], "paths needs a log that names the path of each response, got 'column'; "
     "give --column path=NAME, or use --paths outcome"),
    (["audit", "LOG", "--on-error", "repot"], "did you mean 'report'?"),
    (["audit", "LOG", "--format", "jsonlines"], "did you mean 'jsonl'?"),
    (["audit", "LOG", "--reward", "1"], "must be two or three finite numbers"),
    (["audit", "LOG", "--reward", "1,inf"], "must be two or three finite numbers"),
    (["audit", "LOG", "--reward", "1,0,0,0"], "must be two or three finite numbers"),
    (["audit", "LOG", "--reward", "loged"], "or 'logged', got 'loged'"),
    (["audit", "LOG", "--replicates", "5"], "must be 0 or at least 20"),
    (["audit", "LOG", "--correct-above", "nan"], "--correct-above must be finite"),
    (["audit", "LOG", "--progress", "--quiet"], "not allowed with"),
    (["audit", "EMPTY"], "holds no rows"),
    (["drift"], "needs a scheme"),
    (["drift", "--scheme", "grpo"], "give --accuracy, --mean-length (or --right and --wrong), --max-tokens; or --log "
     "LOG"),
    (["drift", "--scheme", "grpo", "--solve-rate", "0.4", "--right", "9", "--max-tokens", "64"], "give --wrong; or"),
    (["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64", "--paths", "one"], "--paths is for a log"),
    (["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64", "--reward", "logged"], "--reward logged is for a log"),
    (["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64", "--batches", "2"], "must be at least 16"),
    (["drift", "--scheme", "grpo", "--log", "LOG", "--right", "9"], "--right is for responses by numbers"),
    (["drift", "--scheme", "grpo", "--solve-rate", "2", "--right", "9", "--wrong", "9", "--max-tokens", "9"],
     "--solve-rate must lie in [0, 1]"),
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
     "tokens=NAME, one of token ids; or --column text=NAME, one of text, with --tokenizer"),
    ({}, ["audit", "LOG", "--config", VERL + " actor_rollout_ref.actor.policy_loss.loss_mode=kl_cov", "--trainer",
          "verl", "--strict"], "for which a scheme has no slot"),
    ({}, ["audit", "PARQUET"], "is Parquet, not text; use --format parquet"),
    ({}, ["drift", "--config", pass_at_k(max_tokens=300, buffer=100), "--trainer", "verl", *LAWS],
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

SCHEME = {"--scheme", "--config", "--trainer", "--algorithm", "--processes", "--strict", "--set",
          "--ignore", "--reward", "--shaping",
          "--lambda", "--critic", "--kl", "--group-size", "--prompts"}
SUMMARY = {"--accuracy", "--mean-length", "--right", "--wrong", "--ratio", "--truncated", "--spread", "--premature",
           "--verbosity", "--classes", "--mean-of"}
NUMBERS = SUMMARY | {"--solve-rate", "--sigma"}
READING = {"--column", "--rows", "--tokenizer", "--format", "--correct-above", "--on-error", "--paths", "--needed",
           "--replicates"}
OUTPUT = {"--max-tokens", "--json", "--color", "--figure", "--report", "--progress", "--quiet", "--help"}
VERDICT = OUTPUT | {"--fail-if"}
CHANGES = SCHEME | NUMBERS | READING | OUTPUT - {"--figure"} | {"--batches"}
KERNEL = {"--sharing", "--class-sharing", "--path-scale", "--skill-scale"}


@pytest.mark.parametrize(("name", "options"), [
    ("audit", SCHEME | READING | VERDICT | {"--compare"}),
    ("drift", SCHEME | NUMBERS | READING | VERDICT | {"--log", "--batches", "--compare", "--pace"}),
    ("what-if", CHANGES),
    ("attribute", CHANGES | {"--compare", "--figure"}),
    ("stops", CHANGES | {"--knob", "--length", "--steps", "--pace", "--learning-rate"}),
    ("survey", SCHEME | SUMMARY | KERNEL | VERDICT | {"--steps", "--pace", "--draws", "--seed"}),
    ("train", SCHEME | NUMBERS | VERDICT | {"--steps", "--pace", "--learning-rate"}),
    ("presets", {"--json", "--color", "--help"}),
    ("rewards", {"--json", "--color", "--help"}),
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
    assert all(re.search(rf"^    {name} ", out, re.M) for name in ("drift", "what-if", "stops", "survey", "train",
                                                                   "audit", "presets"))
    assert run(capsys) == (out, "")  # nothing was asked
    for words in (["--version"], ["-V"], ["version"]):
        assert run(capsys, *words)[0] == f"lossim {ls.__version__}\n"
    assert run(capsys, "help") == (out, "")
    assert run(capsys, "help", "audit") == run(capsys, "audit", "--help")
    assert "did you mean 'audit'?" in refused(capsys, "help", "adit")


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
