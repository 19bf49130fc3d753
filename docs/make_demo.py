"""Make the files of ``lossim demo``, lossim/_cli/demo, by lossim itself: ``python docs/make_demo.py``.

A run that never was: a policy that works on its answers, often stops too early, and is trained by GRPO for 40 steps in
the mean field. Each step draws 64 prompts × 8 responses from the policy as it then is. ``metrics.csv`` has their means
under the names of verl, ``log.csv`` the responses to 24 prompts of each of the first four steps, ``run.sh`` the command
that would have started such a run with verl.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

import lossim as ls

TARGET = Path(__file__).parents[1] / "lossim" / "_cli" / "demo"
SEED = 20261128
STEPS, PROMPTS, GROUP_SIZE = 40, 64, 8
LOGGED_STEPS, LOGGED_PROMPTS = 4, 24
MAX_TOKENS = 1024

LAUNCH = f"""\
#!/usr/bin/env bash
# How the run of log.csv and metrics.csv would be started with verl. lossim reads this file and never runs it.
set -euo pipefail

python3 -m verl.trainer.main_ppo \\
    algorithm.adv_estimator=grpo \\
    data.train_batch_size={PROMPTS} \\
    data.max_response_length={MAX_TOKENS} \\
    actor_rollout_ref.rollout.n={GROUP_SIZE} \\
    actor_rollout_ref.actor.ppo_mini_batch_size={PROMPTS} \\
    actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean \\
    actor_rollout_ref.actor.use_kl_loss=False
"""


def made() -> dict[str, str]:
    """The text of each file, by name."""
    start = ls.policies.reasoning(accuracy=0.4, mean_right=420, mean_wrong=380, premature=0.5, truncated=0.05,
                                  verbosity=60, max_tokens=MAX_TOKENS)
    scheme = ls.schemes.grpo(group_size=GROUP_SIZE, prompts_per_step=PROMPTS)
    run = ls.train(scheme, start, steps=STEPS, pace=ls.pace(kl_per_step=3e-4))
    metrics: list[list[str]] = [["step", "response_length/mean", "response_length/clip_ratio", "critic/score/mean"]]
    log: list[list[str]] = [["step", "prompt", "length", "reward", "truncated"]]
    for step in range(STEPS):
        rng = np.random.default_rng([SEED, step])
        drawn = run.policy_at(step).sample(rng, prompts=PROMPTS, group_size=GROUP_SIZE)
        cut = drawn.lengths == MAX_TOKENS
        metrics.append([str(step + 1), *(f"{each.mean():.4f}" for each in (drawn.lengths, cut, drawn.rewards))])
        if step < LOGGED_STEPS:
            kept = slice(0, LOGGED_PROMPTS * GROUP_SIZE)
            log += [[str(step + 1), str(step * PROMPTS + prompt), str(length), f"{reward:g}", str(int(ended))]
                    for prompt, length, reward, ended in zip(
                        drawn.prompt_ids[kept].tolist(), drawn.lengths[kept].tolist(), drawn.rewards[kept].tolist(),
                        cut[kept].tolist(), strict=True)]
    return {"run.sh": LAUNCH, "metrics.csv": _csv(metrics), "log.csv": _csv(log)}


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    for name, text in made().items():
        (TARGET / name).write_text(text, encoding="utf-8")
