"""verl's own ``PPOTrainerSync.fit`` on responses of a tiny network, with lossim beside it and without, into a folder.

    python tests/peers/live_verl_run.py FOLDER

What wants a GPU is not verl's: responses are drawn by transformers, the network is not updated, and rows stand in a
dict instead of TransferQueue. The loop, its metrics, its file of metrics and its dumps are: {alone, watched}_dumps/ and
{alone, watched}_metrics.jsonl.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import tiny_run
import torch
from omegaconf import OmegaConf
from tiny_run import padding_utils, trainer_base
from verl.utils.import_utils import load_class_from_fqn

STEPS, QUESTIONS, GROUP, MULTIPLE = 3, 21, 4, 8
LINE = "lossim.live.verl.AgentLoopManager"
SUMS = [f"{a}+{b}=?" for a in range(10) for b in range(10)]


class Queue(tiny_run.Queue):
    """Forgets rows, too."""

    def kv_clear(self, keys: list[str], partition_id: str) -> None:
        for key in keys:
            self.rows.pop(key, None)


class Trainer(trainer_base.PPOTrainer):
    """verl's trainer but for what wants a GPU."""

    def __init__(self, config: Any, queue: Queue) -> None:
        self.config, self.queue = config, queue
        self.tokenizer, self.model = tiny_run.tokenizer(), tiny_run.network(1)
        self.use_critic, self.global_steps, self.steps_per_epoch, self.total_training_steps = False, 0, STEPS, STEPS
        self.trainer_mode, self._rollout_moe_lb_metrics_accumulator = "sync", None
        self._init_dump_executor()

    def _get_n_gpus_for_throughput(self) -> int:
        return 1

    def on_step_end(self) -> None:
        """No replicas to send weights to."""

    def on_sample_end(self) -> None:
        """No replicas to put to sleep."""

    def step(self, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        """Responses of a step, rewarded by verl's DAPO manager, rows in the order in which they came in, padded."""
        timing_raw |= {"gen": 1.0, "update_actor": 1.0}
        rng = np.random.default_rng(self.global_steps)
        questions = [SUMS[i] for i in rng.choice(len(SUMS), size=QUESTIONS, replace=False)]
        batch = tiny_run.rollout(self.model, self.tokenizer, self.config, questions, seed=self.global_steps)
        length = batch.batch["response_mask"].sum(-1).tolist()
        for i in rng.permutation(len(batch)):
            prompt = batch.batch["prompts"][i][batch.batch["prompts"][i] != tiny_run.PAD]
            own = {name: batch.batch[name][i, :length[i]] for name in ("responses", "response_mask", "rm_scores")}
            owner = f"{self.global_steps}-{i // GROUP:03}"
            self.queue.rows[f"{owner}_{i % GROUP}_0"] = {
                "uid": owner, "prompts": prompt, **own, "num_turns": 2, "advantages": torch.zeros(length[i]),
                "returns": torch.zeros(length[i]), "reward_model": batch.non_tensor_batch["reward_model"][i]}
        steps = {"min_global_steps": self.global_steps, "max_global_steps": self.global_steps}
        meta = trainer_base.KVBatchMeta(keys=list(self.queue.rows), tags=[steps] * len(batch), partition_id="train")
        meta = padding_utils.upsample_batch_to_divisible_size(meta, MULTIPLE, tiny_run.STOP)
        for key in meta.keys[len(batch):]:  # what the advantage would have put there
            self.queue.rows[key] |= {"advantages": torch.zeros(1), "returns": torch.zeros(1)}
        return meta


def run(way: str, folder: Path, manager: Any) -> None:
    """One run of the loop."""
    base = Path(trainer_base.__file__).parents[2] / "config" / "_generated_ppo_trainer.yaml"
    config = OmegaConf.merge(OmegaConf.load(base), OmegaConf.load(tiny_run.SETTINGS / "verl_config.yaml"), {
        "data": {"train_batch_size": QUESTIONS},
        "trainer": {"logger": ["file"], "val_before_train": False, "save_freq": -1, "test_freq": -1, "total_epochs": 1,
                    "rollout_data_dir": str(folder / f"{way}_dumps"),
                    "lossim": {"correct_above": 0.0, "budget": None}}})
    (folder / "config.json").write_text(json.dumps(OmegaConf.to_container(config, resolve=True)), encoding="utf-8")
    queue = Queue()
    with patch.object(trainer_base, "tq", queue), patch.object(padding_utils, "tq", queue), \
            patch.dict(os.environ, VERL_FILE_LOGGER_PATH=str(folder / f"{way}_metrics.jsonl")):
        trainer = Trainer(config, queue)
        trainer.fit(SimpleNamespace(made_by=manager))
        trainer.logger.finish()


def main(folder: Path) -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    run("alone", folder, None)
    manager = load_class_from_fqn(LINE, "AgentLoopManager")  # as verl does it with the line of the config
    (folder / "manager.json").write_text(json.dumps(f"{manager.__module__}.{manager.__name__}"), encoding="utf-8")
    run("watched", folder, manager)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
