"""Every batch of a tiny world as rows for a trainer, and the expected gradient of its loss by autograd.

The worlds and their batches are those of the plain reference; log-probabilities are built here, from hazard logits
and path logits, so that a trainer's own loss can be differentiated in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

import reference as ref
from tests.peers.rows import Rows

Step = Callable[[Rows], torch.Tensor]
"""From the rows of a batch to the loss a trainer would differentiate."""


class Tokens:
    """Tables [kind, t] for every kind of response (class, path, end, grade) that can occur."""

    def __init__(self, world: ref.World, reward: Callable[[int, bool, bool], float], policy: str) -> None:
        """``policy``: the world's own (""), its "old" or its "reference" one."""
        cells = [(j, path) for j, c in enumerate(world.classes) for path in c.paths]
        picked = [path.other(policy) if policy else (path.hazard, path.probability) for _, path in cells]
        self.hazard_logits = torch.tensor([[math.log(h / (1.0 - h)) for h in hazard] for hazard, _ in picked],
                                          dtype=torch.float64, requires_grad=not policy)
        self.path_logits = torch.tensor([math.log(p) for _, p in picked], dtype=torch.float64, requires_grad=not policy)
        kinds = [(j, r) for j in range(len(world.classes)) for _, r in ref.atoms(world.old(), j)]
        self.index = {kind: i for i, kind in enumerate(kinds)}

        cell = torch.tensor([world.cell(j, r.path) for j, r in kinds])
        position = torch.arange(1, world.max_tokens + 1)
        length = torch.tensor([r.length for _, r in kinds])[:, None]
        self.truncated = torch.tensor([r.truncated for _, r in kinds])
        self.mask = position <= length
        self.reward = torch.tensor([reward(r.length, r.correct, r.truncated) for _, r in kinds], dtype=torch.float64)
        stops = (position == length) & ~self.truncated[:, None]

        log_stop = torch.nn.functional.logsigmoid(self.hazard_logits)
        log_go = torch.nn.functional.logsigmoid(-self.hazard_logits)
        classes = torch.tensor([j for j, _ in cells])
        log_path = torch.cat([torch.log_softmax(self.path_logits[classes == j], 0) for j in range(len(world.classes))])
        first = torch.where(position == 1, 1.0, 0.0)
        log_prob = torch.where(stops, log_stop[cell], log_go[cell]) + log_path[cell][:, None] * first
        self.log_prob = torch.where(self.mask, log_prob, 0.0)

        stop_entropy = -(log_stop.exp() * log_stop + log_go.exp() * log_go)
        joint = [(log_path.exp() * (stop_entropy[:, 0] - log_path))[classes == j].sum()
                 for j in range(len(world.classes))]
        by_kind = torch.stack(joint)[classes[cell]][:, None]
        self.entropy = torch.where(self.mask, torch.where(position == 1, by_kind, stop_entropy[cell]), 0.0)


def expected_gradient(world: ref.World, reward: Callable[[int, bool, bool], float], step: Step, *, group_size: int,
                      prompts: int, critic: Callable[[torch.Tensor], torch.Tensor] | None = None,
                      baseline: tuple[float, ...] = (), off_policy: bool = False) -> np.ndarray:
    """-∇ Σ_batches P(batch) · loss: the hazard logits by cell, then the path logits.

    ``critic`` gives the values at positions 1, 2, ...; ``baseline`` one per class, for ReMax.
    """
    new, reference = Tokens(world, reward, ""), Tokens(world, reward, "reference")
    old = Tokens(world, reward, "old") if off_policy else None
    values = None if critic is None else critic(torch.arange(1.0, world.max_tokens + 2.0, dtype=torch.float64))
    total = torch.zeros((), dtype=torch.float64)
    setting = ref.Setting(reward=reward, group_size=group_size, prompts_per_step=prompts)
    for probability, batch in ref.batches(world, setting):
        pick = torch.tensor([new.index[j, r] for j, responses in batch for r in responses])
        rows = Rows(
            log_prob=new.log_prob[pick], mask=new.mask[pick], reward=new.reward[pick], truncated=new.truncated[pick],
            group=np.repeat(np.arange(prompts), group_size), reference_log_prob=reference.log_prob[pick],
            old_log_prob=None if old is None else old.log_prob[pick], entropy=new.entropy[pick],
            values=None if values is None else values.expand(len(pick), -1),
            baseline=torch.tensor([baseline[j] for j, _ in batch for _ in range(group_size)], dtype=torch.float64)
            if baseline else None)
        total = total + probability * step(rows)
    slopes = torch.autograd.grad(total, (new.hazard_logits, new.path_logits))
    return -torch.cat([slope.ravel() for slope in slopes]).numpy()
