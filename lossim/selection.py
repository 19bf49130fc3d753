"""Which of the responses that were begun are trained on: those that are done in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from lossim._support.checks import Checked, choice, positive
from lossim._support.types import BoolArray, FloatArray

__all__ = ["Deadline"]


@dataclass(frozen=True, kw_only=True)
class Deadline(Checked):
    """Responses of more than so many tokens come too late, and are not trained on.

    Asynchronous trainers let a response be so many updates old and no more, or take the groups that are done first. The
    older ones are the slower, and of responses that are written side by side the slower are the longer: here a response
    is late when T > ``tokens``, which is (updates it may be old) × (tokens written between two updates).

    Attributes:
        tokens: the largest length T in time, tokens; from ``max_tokens`` on nothing is late.
        drops: ``"group"``: a group with a late response is dropped and another drawn, until the step is full
            (prime-rl's ``max_off_policy_steps``; in a large batch also slime, which begins
            ``--over-sampling-batch-size`` groups and takes the first); ``"response"``: a group goes on without its late
            responses, which leave loss, baseline and std (one left with fewer than two contributes nothing under a
            group-relative advantage).

    >>> import numpy as np
    >>> Deadline(tokens=4096).in_time(np.array([800.0, 4096.0, 5000.0]))
    array([ True,  True, False])
    """

    tokens: float
    drops: Literal["group", "response"] = "group"
    _rules: ClassVar = {"tokens": (positive,), "drops": (choice, ("group", "response"))}

    def in_time(self, length: FloatArray) -> BoolArray:
        """Whether responses of these lengths are in time, in the shape of ``length``."""
        return length <= self.tokens
