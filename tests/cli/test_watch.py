"""``lossim watch``: a line for each step, until Ctrl-C or once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

import lossim as ls
from lossim.__main__ import main

ASK = ["--scheme", "grpo", "--max-tokens", "64"]


def dump(folder: Path, step: int) -> None:
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=10), max_tokens=64,
                                   wrong=ls.lengths.geometric(mean=30))
    log = policy.sample(np.random.default_rng(step), prompts=48, group_size=8)
    rows = ({"input": f"question {step}.{prompt}", "response_length": int(length), "score": float(reward), "step": step}
            for prompt, length, reward in zip(log.prompt_ids, log.lengths, log.rewards, strict=True))
    (folder / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_until_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps come while it sleeps; the last is taken at the end, and a summary closes."""
    coming = iter((1, 2, 3))
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        step = next(coming, None)
        if step is None:
            raise KeyboardInterrupt
        dump(tmp_path, step)

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["watch", str(tmp_path), *ASK, "--every", "7", "--until", "9"]) == 0
    out = capsys.readouterr().out
    assert set(slept) == {7.0}
    assert [line.partition(":")[0] for line in out.splitlines()[:3]] == ["step 1", "step 2", "step 3"]
    assert "% cut" in out
    assert "seen     3 steps, 1 to 3" in out
    assert out.splitlines()[3].startswith("grpo: ")


def test_once_says_what_an_audit_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in (1, 2):
        dump(tmp_path, step)
    assert main(["watch", str(tmp_path), *ASK, "--once", "--json", "--replicates", "40"]) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    told, whole = json.loads(first), json.loads(rest)
    audit = ls.audit(ls.schemes.grpo(), tmp_path, max_tokens=64, what_if=False, replicates=40,
                     pace=ls.pace(ls.Rollouts.read(tmp_path)))
    assert told["lossim/drift"] == pytest.approx(float(audit.findings[0].length_per_kl), rel=1e-12)
    assert (told["step"], whole["steps"], whole["errors"], whole["left_out"]) == (2, [2], 0, 0)
    assert whole["verdict"] == told["verdict"] == audit.verdict


@pytest.mark.parametrize(("words", "said"), [
    (["--once"], "must hold responses that can be read"), (["--every", "0"], "--every must be positive"),
    (["--paths", "one"], "--paths is for lossim audit"), (["--reward", "1,0"], "--reward is for lossim audit"),
    (["--shaping", "LinearPenalty(slope=0.01)"], "--shaping is for lossim audit"),
    (["--window", "0"], "must be at least 1")])
def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["watch", str(tmp_path), *ASK, *words]) == 2
    assert said in capsys.readouterr().err
