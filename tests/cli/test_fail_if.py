"""--fail-if: exit code 3 where a verdict is one that a script does not want, and the answer is printed all the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from command_line import QUICK, refused, rows, run, written

SHORTER = ["--accuracy", "0.4", "--right", "60", "--wrong", "110", "--max-tokens", "256"]
LONGER = ["--accuracy", "0.4", "--right", "110", "--wrong", "60", "--max-tokens", "256"]
WAYS = ("longer", "shorter", "undecided")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A log that says a lot, one whose groups are all dead, and curves of a few steps that say nothing."""
    history = [{"step": step, "completions/mean_length": 90.0 + 9.0 * (-1) ** step, "reward": 0.4}
               for step in (1, 2, 3)]
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": history}), encoding="utf-8")
    return {"LOG": written(tmp_path / "log.jsonl", rows(60)), "STATE": str(state),
            "DEAD": written(tmp_path / "dead.jsonl", [row | {"reward": 1.0} for row in rows()])}


@pytest.mark.parametrize(("argv", "way"), [
    (["drift", "--scheme", "grpo", *SHORTER], "shorter"),
    (["drift", "--scheme", "grpo", *LONGER], "longer"),
    (["drift", "--scheme", "ppo", *SHORTER], "undecided"),
    (["drift", "--scheme", "ppo", "--log", "LOG", *QUICK], "undecided"),  # too small to tell
    (["drift", "--scheme", "grpo", "--log", "LOG", *QUICK], "shorter"),
    (["audit", "LOG", "--scheme", "grpo", *QUICK], "shorter"),
    (["audit", "LOG", "--scheme", "dr_grpo", *QUICK], "undecided"),
    (["audit", "DEAD", "--scheme", "grpo", *QUICK], "undecided"),
    (["train", "--scheme", "grpo", *SHORTER, "--steps", "3"], "shorter"),
    (["train", "--scheme", "grpo", *LONGER, "--steps", "3"], "longer"),
    (["train", "--scheme", "ppo", *SHORTER, "--steps", "3"], "undecided"),
    (["forecast", "STATE", "--scheme", "grpo", "--paid", "1,0", "--steps", "2", "--max-tokens", "256"], "undecided"),
    (["survey", "grpo", "--accuracy", "0.3:0.5", *SHORTER[2:], "--draws", "16"], "shorter"),
    (["survey", "grpo", "--accuracy", "0.4", "--right", "90", "--wrong", "60:120", "--max-tokens", "256", "--draws",
      "16"], "undecided"),
])
def test_one_verdict(capsys: pytest.CaptureFixture[str], files: dict[str, str], argv: list[str], way: str) -> None:
    """The code is 3 for the way that it is and 0 for the others; the answer does not change, and says the word."""
    words = [files.get(word, word) for word in argv]
    plain, _ = run(capsys, *words)
    others = [each for each in WAYS if each != way]
    assert run(capsys, *words, "--fail-if", ",".join(others)) == (plain, "")
    out, err = run(capsys, *words, "--fail-if", way, code=3)
    assert out == plain
    if argv[0] != "train" and argv[1] != "DEAD":
        assert re.search(rf"\b{way}\b|no forecast of a direction|too small to tell", plain.partition("\n")[0])
    assert err.startswith(f"lossim: exit code 3, as --fail-if {way} asks: {way} under ")
    assert err.count("\n") == 1


def test_words_of_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """By another road: the code is 3 exactly where the printed verdict has the word."""
    for scheme in ("grpo", "dr_grpo", "ppo", "dapo"):
        for numbers in (SHORTER, LONGER):
            out, _ = run(capsys, "drift", "--scheme", scheme, *numbers)
            said = out.partition("\n")[0]
            for way in WAYS:
                word = way if way == "undecided" else f"responses get {way}"
                run(capsys, "drift", "--scheme", scheme, *numbers, "--fail-if", way, code=3 if word in said else 0)


def test_several_schemes_and_several_ways(capsys: pytest.CaptureFixture[str]) -> None:
    """Any of the schemes, any of the ways; the line names all that met one."""
    words = ["drift", "--compare", "grpo,ppo", *SHORTER]
    assert run(capsys, *words, "--fail-if", "longer")[1] == ""
    assert run(capsys, *words, "--fail-if", "longer", "--fail-if", "shorter", code=3)[1] == (
        "lossim: exit code 3, as --fail-if shorter asks: shorter under grpo\n")
    assert run(capsys, *words, "--fail-if", "undecided,shorter", "--json", code=3)[1] == (
        "lossim: exit code 3, as --fail-if shorter,undecided asks: shorter under grpo, undecided under ppo\n")


def test_what_fail_if_cannot_mean(capsys: pytest.CaptureFixture[str], files: dict[str, str]) -> None:
    assert "did you mean 'longer'?" in refused(capsys, "drift", "--fail-if", "long")
    assert "curves has no argument '--fail-if'" in refused(capsys, "curves", files["STATE"], "--fail-if", "longer")
    two = ["survey", "grpo,dapo", "--accuracy", "0.3:0.6", "--right", "60", "--max-tokens", "256"]
    assert "--fail-if longer is for one scheme" in refused(capsys, *two, "--fail-if", "longer,undecided")
