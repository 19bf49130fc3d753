"""Responses as they were drawn or logged: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossim import _check
from lossim._types import ArrayLike, BoolArray, FloatArray, IntArray

__all__ = ["Rollouts"]


@dataclass(frozen=True, eq=False)
class Rollouts:
    """Sampled responses, one entry per response in every array.

    Attributes:
        lengths: tokens, the stop token included; whole numbers ≥ 1.
        rewards: task reward, finite.
        prompt_ids: which prompt a response answers; equal ids form a group.
        truncated: cut at ``max_tokens`` without a stop token; None if unknown.
        correct: graded correct; None if unknown.
        classes: index of the prompt class; None if unknown.
        steps: training step; None if unknown.

    Raises:
        ValueError: arrays of different lengths, a length below 1, a reward that is not finite.

    >>> Rollouts(lengths=[3, 5], rewards=[1.0, 0.0], prompt_ids=[0, 0])
    Rollouts(2 responses to 1 prompts, mean length 4)
    """

    lengths: IntArray
    rewards: FloatArray
    prompt_ids: IntArray
    truncated: BoolArray | None = None
    correct: BoolArray | None = None
    classes: IntArray | None = None
    steps: IntArray | None = None

    def __init__(self, lengths: ArrayLike, rewards: ArrayLike, prompt_ids: ArrayLike,
                 truncated: ArrayLike | None = None, correct: ArrayLike | None = None,
                 classes: ArrayLike | None = None, steps: ArrayLike | None = None) -> None:
        length = _check.number_array("lengths", lengths, ndim=1, low=1.0)
        if (length != np.floor(length)).any():
            first = int(np.flatnonzero(length != np.floor(length))[0])
            _check.fail(f"lengths[{first}]", float(length[first]), "must be a whole number of tokens")
        columns: dict[str, Any] = {"lengths": length.astype(np.int64), "prompt_ids": np.asarray(prompt_ids),
                                   "rewards": _check.number_array("rewards", rewards, ndim=1)}
        for name, given, kind in (("truncated", truncated, np.bool_), ("correct", correct, np.bool_),
                                  ("classes", classes, np.int64), ("steps", steps, np.int64)):
            columns[name] = None if given is None else np.asarray(given, dtype=kind)
        for name, column in columns.items():
            if column is not None and column.shape != length.shape:
                _check.fail(name, column.shape, f"must have one entry per response, {length.shape}")
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        mean = f", mean length {self.lengths.mean():.4g}" if len(self) else ""
        return f"Rollouts({len(self):,} responses to {len(np.unique(self.prompt_ids)):,} prompts{mean})"
