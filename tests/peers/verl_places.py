"""What fills places that verl leaves open in its config: a reward, and an order where verl leaves that to chance.

Prompts have random names, and rows stand in the order in which they come in, so two runs of one seed add up numbers of
single precision in two orders. Here prompts are counted, rows sorted, and a response knows its place in its group.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.trainer.ppo.v1 import trainer_base
from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

names = itertools.count()
trainer_base.uuid = SimpleNamespace(uuid4=lambda: f"{next(names):06}")


class Sorted(ReplayBuffer):
    """Rows by prompt and place; looks for them often, as a step here is soon done."""

    def __init__(self, **options: Any) -> None:
        super().__init__(poll_interval=0.2, **options)

    def _materialize_batch(self, *args: Any, **options: Any) -> Any:
        batch = super()._materialize_batch(*args, **options)
        order = sorted(range(len(batch.keys)), key=batch.keys.__getitem__)
        return trainer_base.KVBatchMeta(partition_id=batch.partition_id, keys=[batch.keys[i] for i in order],
                                        tags=[batch.tags[i] for i in order])


class Turn(SingleTurnAgentLoop):
    """Tells the server which place in its group a response has."""

    async def run(self, sampling_params: dict[str, Any], **prompt: Any) -> Any:
        return await super().run(sampling_params | {"place": prompt["session_id"]}, **prompt)


def compute_score(solution_str: str, **_: Any) -> float:
    """Whether a response has fewer than seven digits."""
    return float(sum(character.isdigit() for character in solution_str) < 7)
