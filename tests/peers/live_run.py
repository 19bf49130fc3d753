"""Train a tiny network with TRL's GRPOTrainer, with lossim beside it and without, into a folder.

    python tests/peers/live_run.py FOLDER

For each run of RUNS and either way {run}_{watched or alone}.json: what TRL logged, what the weights came to, and what
the watch kept and said; and TRL's tables of completions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiny_run
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

import lossim as ls

CAP, GROUP = 16, 4
PROMPTS = [f"{a}+{b}=?" for a in range(10) for b in range(10)]
COMMON: dict[str, Any] = dict(
    learning_rate=1e-2, lr_scheduler_type="constant", max_steps=5, per_device_train_batch_size=32,
    gradient_accumulation_steps=2, num_generations=GROUP, max_completion_length=CAP, logging_steps=1,
    log_completions=True, num_completions_to_print=0, report_to="none", save_strategy="no", use_cpu=True, bf16=False,
    seed=3)


class Ends:
    """Whether a completion ends in one of these; None, a second time too, where it ends in a plus."""

    def __init__(self, characters: str) -> None:
        self.characters = characters

    def __call__(self, completions: list[str], **_: Any) -> list[float | None]:
        return [None if text.endswith("+") else float(text[-1:] in self.characters) for text in completions]


async def early(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    """Whether a completion is over before the middle; None where `Ends` gives none, every now and then."""
    await asyncio.sleep(0)
    return [None if len(ids) % 5 == 0 else float(len(ids) < CAP // 2) for ids in completion_ids]


RUNS: dict[str, tuple[Any, Any, dict[str, Any], list[Callable[..., Any]]]] = {
    "plain": (GRPOTrainer, GRPOConfig, dict(loss_type="grpo", beta=0.0), [tiny_run.closed]),
    "several": (GRPOTrainer, GRPOConfig, dict(
        loss_type="dr_grpo", scale_rewards="none", beta=0.04, num_iterations=2, reward_weights=[1.0, 0.5]),
                [Ends("0123456789"), early]),
    "rloo": (RLOOTrainer, RLOOConfig, dict(beta=0.0, eval_strategy="steps", eval_steps=2,
                                           per_device_eval_batch_size=8), [tiny_run.closed]),
}


def trained(name: str, watch: ls.live.LengthWatch | None, folder: Path) -> dict[str, Any]:
    """One run, and what came of it."""
    kind, config, settings, functions = RUNS[name]
    with tempfile.TemporaryDirectory() as output:
        tiny_run.network(0).save_pretrained(f"{output}/model")
        questions = Dataset.from_dict({"prompt": PROMPTS})
        trainer = kind(
            f"{output}/model", reward_funcs=functions if watch is None else watch.of(functions),
            callbacks=None if watch is None else [watch.callback], processing_class=tiny_run.tokenizer(),
            train_dataset=questions, eval_dataset=questions.select(range(8)),
            args=config(output_dir=output, **COMMON, **settings))
        trainer.train()
        tables = folder / f"{name}_{'alone' if watch is None else 'watched'}_completions"
        if kind is GRPOTrainer:  # the other one writes none
            shutil.copytree(Path(output) / "completions", tables, dirs_exist_ok=True)
        weights = b"".join(each.detach().numpy().tobytes() for each in trainer.model.parameters())
        return {"history": trainer.state.log_history, "weights": hashlib.sha256(weights).hexdigest()}


def kept(watch: ls.live.LengthWatch) -> dict[str, Any]:
    """What the watch ended with."""
    log = watch.watch.rollouts
    columns = {name: np.asarray(getattr(log, name)).tolist()
               for name in ("lengths", "rewards", "prompt_ids", "truncated", "steps")}
    return {"columns": columns, "metrics": watch.metrics, "verdict": watch.watch.verdict,
            "left_out": watch.watch.left_out}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name in RUNS:
        watch = ls.live.LengthWatch(budget=None)
        watched = trained(name, watch, folder) | kept(watch)
        alone = trained(name, None, folder)
        for way, made in (("watched", watched), ("alone", alone)):
            (folder / f"{name}_{way}.json").write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
