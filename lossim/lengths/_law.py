"""What a law of length is, and the check that every law passes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from lossim._support.checks import fail, floats
from lossim._support.types import FloatArray

__all__ = ["NO_NAN", "Length", "closed", "hazard_logits", "shown"]

NO_NAN = "use -inf for hazard 0 and +inf for hazard 1"


class Length(ABC):
    """A law of response length; subclass it with a ``logits`` method for a law of your own."""

    @abstractmethod
    def logits(self, max_tokens: int) -> FloatArray:
        """Hazard logits [N] at the positions t = 1..N = ``max_tokens``, in nats."""


def hazard_logits(law: Length, max_tokens: int) -> FloatArray:
    """The hazard logits of any law, checked: one float for each of the positions t = 1..N = ``max_tokens``, none NaN.

    Behind a hazard of 1, which nobody passes, they are +inf whatever the law says there.

    Raises:
        TypeError: if the law gives something that is no array of numbers.
        ValueError: if it gives an array of another shape, or NaN.

    >>> from lossim.lengths import table
    >>> hazard_logits(table([0.5, 1.0]), 3)
    array([ 0., inf, inf])
    """
    name = f"logits of the length law {type(law).__name__}"
    fix = "return one float for each t = 1..max_tokens"
    z = floats(name, law.logits(max_tokens), fix)
    if z.shape != (max_tokens,):
        fail(name, z.shape, f"must have the shape ({max_tokens},) (theirs is shown)", fix)
    if np.isnan(z).any():
        fail(f"{name}[{np.flatnonzero(np.isnan(z))[0]}]", math.nan, "must not be nan", NO_NAN)
    return closed(z)


class _ByKey(Length):
    """Equality and hash from a key, for laws whose fields have no equality of their own."""

    @abstractmethod
    def _key(self) -> tuple[Any, ...]: ...

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))


def closed(z: FloatArray) -> FloatArray:
    """The logits with +inf behind the first hazard of 1, in place."""
    certain = np.flatnonzero(np.isposinf(z))
    if certain.size:
        z[certain[0]:] = math.inf
    return z


def shown(value: float) -> str:
    """A number in few digits if they say all of it."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))
