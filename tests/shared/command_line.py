"""Run the command line inside the test: logs and a config to give it, what it prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import lossim as ls
from lossim.__main__ import main

CONFIG = {"loss_type": "dr_grpo", "num_generations": 8, "max_completion_length": 256, "learning_rate": 1e-6}
QUICK = ["--replicates", "20"]
LAWS = ["--solve-rate", "0.4", "--right", "60", "--wrong", "110"]


def rows(prompts: int = 12) -> list[dict[str, Any]]:
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=40),
                                   wrong=ls.lengths.geometric(mean=90), max_tokens=256)
    log = policy.sample(np.random.default_rng(7), prompts=prompts, group_size=8)
    return [{"prompt": int(prompt), "length": int(length), "reward": float(reward), "truncated": bool(cut)}
            for prompt, length, reward, cut in zip(log.prompt_ids, log.lengths, log.rewards, log.truncated,
                                                   strict=True)]


def written(path: Path, given: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    got = main(list(argv))
    told = capsys.readouterr()
    assert got == code, told.err
    return told.out, told.err


def strict(text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def plain(value: Any) -> Any:
    return strict(json.dumps(value, allow_nan=False))


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The message of bad input: one line on stderr, nothing on stdout."""
    out, err = run(capsys, *argv, code=2)
    assert out == ""
    assert err.startswith("lossim: ")
    assert err.count("\n") == 1
    return err


def overlong(max_tokens: int, buffer: int) -> str:
    """verl with the soft overlong penalty."""
    penalty = "reward.reward_kwargs.overlong_buffer_cfg"
    return ("algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=8 reward.reward_manager.name=dapo "
            f"data.max_response_length={max_tokens} reward.reward_kwargs.max_resp_len={max_tokens} "
            f"{penalty}.enable=True {penalty}.len={buffer} {penalty}.penalty_factor=1.0")


def pass_at_k(max_tokens: int, buffer: int) -> str:
    """The same for pass@k, which has no closed form over so many rewards."""
    return overlong(max_tokens, buffer).replace("adv_estimator=grpo", "adv_estimator=grpo_passk")
