"""Responses as they were drawn or logged: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim import _check
from lossim._types import ArrayLike, BoolArray, FloatArray, IntArray

__all__ = ["Rollouts"]

_LARGEST = 2.0**53  # whole numbers beyond are not exact as floats


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
        length = _check.number_array("lengths", lengths, ndim=1, low=1.0, high=_LARGEST)
        if (length != np.floor(length)).any():
            first = int(np.flatnonzero(length != np.floor(length))[0])
            _check.fail(f"lengths[{first}]", float(length[first]), "must be a whole number of tokens")
        columns: dict[str, Any] = {
            "lengths": length.astype(np.int64), "rewards": _check.number_array("rewards", rewards, ndim=1),
            "prompt_ids": _ids(prompt_ids), "truncated": _booleans("truncated", truncated),
            "correct": _booleans("correct", correct), "classes": _wholes("classes", classes),
            "steps": _wholes("steps", steps)}
        for name, column in columns.items():
            if column is not None and column.shape != length.shape:
                _check.fail(name, column.shape, f"must have one entry per response, {length.shape}")
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        mean = f", mean length {self.lengths.mean():.4g}" if len(self) else ""
        return f"Rollouts({len(self):,} responses to {len(np.unique(self.prompt_ids)):,} prompts{mean})"


def _ids(given: ArrayLike) -> NDArray[Any]:
    """Ids of any kind that can be told apart."""
    try:
        ids = np.asarray(given)
    except ValueError:
        _check.fail("prompt_ids", given, "must hold one id per response")
    if ids.dtype.kind not in "biufUS" or (ids.dtype.kind == "f" and np.isnan(ids).any()):
        _check.fail("prompt_ids", given, "must be numbers or strings, none of them nan")
    return ids


def _wholes(name: str, given: ArrayLike | None) -> IntArray | None:
    if given is None:
        return None
    numbers = _check.number_array(name, given, low=-_LARGEST, high=_LARGEST)
    if (numbers % 1).any():
        _check.fail(name, float(numbers[numbers % 1 > 0][0]), "must be whole numbers")
    return numbers.astype(np.int64)


def _booleans(name: str, given: ArrayLike | None) -> BoolArray | None:
    if given is None:
        return None
    numbers = _check.number_array(name, given, fix="leave it out where it is not known")
    if not np.isin(numbers, (0.0, 1.0)).all():
        _check.fail(name, float(numbers[~np.isin(numbers, (0.0, 1.0))][0]), "must be True or False (or 1 and 0)")
    return numbers.astype(np.bool_)
