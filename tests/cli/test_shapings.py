"""Rewards by length on the command line: listed by ``lossim rewards``, given by --shaping."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import lossim as ls
from command_line import run
from lossim import rewards
from lossim.__main__ import main

NUMBERS = ("--accuracy", "0.45", "--right", "700", "--wrong", "1050", "--max-tokens", "2048")
START = ls.policies.from_summary(accuracy=0.45, right=700, wrong=1050, max_tokens=2048)


def test_all_shapings_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = {name for name in rewards.__all__ if name not in (
        "AsLogged", "GroupShaping", "Reward", "Shaping", "TargetShaping", "shapings")}
    assert set(rewards.shapings()) == kinds
    out, _ = run(capsys, "rewards")
    assert "ShorterBetter(beta=0.001)  needs a group\n  ShorterBetter's distance from an optimal length" in out
    said = json.loads(run(capsys, "rewards", "--json")[0])
    assert {name for name in said if name in kinds} == kinds
    assert said["LCPOMax"]["needs"] == "a target"


def test_a_shaping_is_the_same_as_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "drift", "--scheme", "dr_grpo", "--json", "--shaping", "LinearPenalty(slope=1e-4)",
                 "--shaping", "Laser(target=800)", *NUMBERS)
    shaped = ls.Reward(shaping=(rewards.LinearPenalty(slope=1e-4), rewards.Laser(target=800)))
    found = ls.drift(ls.schemes.dr_grpo(reward=shaped), START)
    assert json.loads(out)["drift"]["length"]["value"] == pytest.approx(found.length.value, rel=1e-9)
    out, _ = run(capsys, "drift", "--scheme", "dr_grpo", "--shaping", "KimiLength", "--batches", "64", *NUMBERS)
    assert "with KimiLength" in out


def test_on_a_log_a_rule_is_shaped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = START.sample(np.random.default_rng(0), prompts=40, group_size=8)
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({
        "prompt": int(prompt), "length": int(length), "reward": float(paid), "correct": bool(paid > 0)}) + "\n"
        for prompt, length, paid in zip(log.prompt_ids, log.lengths, log.rewards, strict=True)))
    out, _ = run(capsys, "audit", str(path), "--scheme", "grpo", "--reward", "1,0", "--shaping", "ALP(beta=1e-4)",
                 "--max-tokens", "2048", "--json")
    found = ls.audit(str(path), ls.schemes.grpo(), reward=ls.Reward(shaping=rewards.ALP(beta=1e-4)), max_tokens=2048)
    assert json.loads(out)["audit"]["findings"][0]["drift"]["length"]["value"] == pytest.approx(
        found[0].drift.length.value, rel=1e-9)
    assert main(["audit", str(path), "--scheme", "grpo", "--shaping", "ALP(beta=1e-4)"]) == 2
    assert "on a log give --reward too" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "message"), [
    ("ALPS(beta=1)", "got 'ALPS'; did you mean 'ALP'?"), ("ALP(1)", "must name its numbers, got 'ALP(1)'"),
    ("ALP(beta=1", "must name its numbers"), ("ALP(beta=__import__('os'))", "must name its numbers"),
    ("ALP(alpha=1)", "ALP takes beta, got alpha"), ("GR3(alpha=-1)", "alpha must lie in [0, inf], got -1"),
    ("ALP", "missing 1 required keyword-only argument: 'beta'"),
])
def test_bad_shapings_are_refused(capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    assert main(["drift", "--scheme", "grpo", "--shaping", text, *NUMBERS]) == 2
    assert message in capsys.readouterr().err
