"""Random batches with all that padding can do, for a trainer's function and for ``lossim.tokens``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

import lossim as ls
from tests.peers.rows import Rows


def draw(seed: int, *, group_sizes: tuple[int, int] = (1, 4), equal_groups: bool = False, gaps: bool = True,
         empty: bool = True, off_policy: bool = True) -> Rows:
    """1 to 3 prompts with 1 to 4 responses each, of 1 to 7 tokens, at least two tokens in all.

    A third of the batches has gaps in its masks, another third rows without a token, a tenth equal rewards. What
    lies outside the masks is noise. Rows come in any order unless groups are of one size. Log ratios of two policies
    stay within 1.5.
    """
    rng = np.random.default_rng(seed)
    low, high = group_sizes
    sizes = rng.integers(low, high + 1, size=int(rng.integers(1, 4)))
    if equal_groups:
        sizes[:] = sizes[0]
    group = np.repeat(rng.permutation(len(sizes)), sizes)
    if not equal_groups:
        rng.shuffle(group)
    rows, width = len(group), int(rng.integers(2, 8))
    length = rng.integers(1, width + 1, size=rows)
    length[0] = width
    mask = np.arange(width) < length[:, None]
    if gaps and rng.random() < 1 / 3:
        mask &= rng.random(mask.shape) < 0.7
    elif empty and rng.random() < 1 / 2:
        mask[rng.random(rows) < 0.4] = False
    mask[0, [0, -1]] = True
    reward = np.where(rng.random(rows) < 0.5, rng.integers(0, 2, size=rows), rng.normal(size=rows).round(2))
    if rng.random() < 0.1:
        reward[:] = 1.0

    def near(log_prob: torch.Tensor, scale: float) -> torch.Tensor:
        factor = torch.from_numpy(rng.lognormal(sigma=scale, size=mask.shape))
        return log_prob.detach() * (1.0 + (factor - 1.0).clamp(1.5 / log_prob.detach(), -1.5 / log_prob.detach()))

    log_prob = torch.from_numpy(-rng.exponential(size=mask.shape)).requires_grad_()
    old = near(log_prob, 0.5) if off_policy else log_prob.detach()
    return Rows(log_prob=log_prob, mask=torch.from_numpy(mask), group=group,
                reward=torch.from_numpy(reward), truncated=torch.from_numpy(rng.random(rows) < 0.3),
                old_log_prob=old if off_policy else None, rollout_log_prob=near(old, 0.5),
                reference_log_prob=near(log_prob, 0.8), baseline=torch.from_numpy(rng.normal(size=rows)),
                values=torch.from_numpy(rng.normal(size=(rows, width + 1))))


def masked(rows: Rows) -> Rows:
    """Without the tokens of cut responses."""
    return replace(rows, mask=rows.mask & ~rows.truncated[:, None])


def batch(rows: Rows, **more: Any) -> ls.tokens.Batch:
    """The same for ``lossim.tokens``."""
    names = ("mask", "reward", "log_prob", "old_log_prob", "rollout_log_prob", "reference_log_prob", "values",
             "truncated", "baseline")
    given = {name: getattr(rows, name) for name in names}
    arrays = {name: x.detach().numpy() for name, x in given.items() if x is not None}
    return ls.tokens.Batch(group=rows.group, **arrays | more)


def compare(ours: ls.tokens.TokenLoss, loss: torch.Tensor, rows: Rows, *, rtol: float = 1e-10, case: object = ""
            ) -> None:
    """Value and gradient in the log-probabilities."""
    (slope,) = torch.autograd.grad(loss, rows.log_prob) if loss.requires_grad else (torch.zeros_like(rows.log_prob),)
    same(ours.gradient, slope.numpy(), rtol=rtol, case=case)
    same(ours.loss, loss.item(), scale=float(slope.abs().sum()), rtol=rtol, case=case)


def same(ours: Any, theirs: Any, *, scale: float = 1e-3, rtol: float = 1e-10, case: object = "") -> None:
    """Relative to the largest number or to ``scale``: what cancels to 0 may do so in another order."""
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(float(np.abs(theirs).max()), scale),
                               err_msg=str(case))
