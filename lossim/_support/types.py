"""Array aliases, the codes of an outcome, and the one exception that is part of the interface."""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike as ArrayLike
from numpy.typing import NDArray

from lossim._support.text import Phrase, Way

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]


class Outcome(IntEnum):
    """How a response ended: stopped and correct, stopped and incorrect, or cut at ``max_tokens``.

    >>> Outcome.TRUNCATED
    <Outcome.TRUNCATED: 2>
    """

    CORRECT = 0
    INCORRECT = 1
    TRUNCATED = 2


SAMPLE = Way("sample", "use method='monte_carlo' with an rng")
"""The way out of nearly everything that has no closed form."""


class NoClosedForm(NotImplementedError):
    """Raised by ``method="exact"`` for a slot whose expectation has no closed form.

    The message names the slot and the way out: nearly always the Monte Carlo call, which then works.

    >>> raise NoClosedForm("advantage", "PositiveOnly of GAE", hint="use method='monte_carlo'")
    Traceback (most recent call last):
        ...
    lossim.NoClosedForm: no closed form for the slot 'advantage': PositiveOnly of GAE; use method='monte_carlo'
    """

    def __init__(self, slot: str, reason: str, *, hint: str = SAMPLE) -> None:
        super().__init__(Phrase(f"no closed form for the slot '{slot}': {reason}; ", hint))
        self.slot = slot
        self.reason = reason
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:  # to survive the way back from a worker process
        return partial(NoClosedForm, hint=self.hint), (self.slot, self.reason)


NoClosedForm.__module__ = "lossim"  # where it is imported from
