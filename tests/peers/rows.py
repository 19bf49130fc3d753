"""A batch as the trainers hold it: one row per response, right-padded, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Tensors [response, t] or [response]; None where a batch has no such thing.

    Without ``old_log_prob`` the batch is on-policy. ``group`` holds the prompt of each row.
    """

    log_prob: torch.Tensor
    mask: torch.Tensor
    reward: torch.Tensor
    group: np.ndarray[Any, np.dtype[np.int64]]
    truncated: torch.Tensor
    old_log_prob: torch.Tensor | None = None
    rollout_log_prob: torch.Tensor | None = None
    reference_log_prob: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    values: torch.Tensor | None = None
    baseline: torch.Tensor | None = None

    @property
    def old(self) -> torch.Tensor:
        """Log-probabilities under the policy that drew the batch."""
        return self.log_prob.detach() if self.old_log_prob is None else self.old_log_prob

    def part(self, index: Sequence[int]) -> Rows:
        """Some of the rows, as a batch of its own."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: x[index] for name, x in given.items() if x is not None})

    def token_rewards(self) -> torch.Tensor:
        """The reward at the last token of each row, or at the first position if the row has none; 0 elsewhere."""
        last = self.mask.long().cumsum(dim=1).argmax(dim=1)
        paid = torch.zeros_like(self.log_prob.detach())
        paid[torch.arange(len(last)), last] = self.reward
        return paid
