"""What a setting takes, and its default: the words that the tables of keys are written in."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from lossim._support import checks

__all__ = ["Kind", "anything", "choice", "flag", "inert", "number", "pair", "text", "whole"]


@dataclass(frozen=True, eq=False, repr=False)
class Kind:
    """What a setting takes, its default, and what there is to say of it.

    Attributes:
        of, low, high, words: the kind of values, the interval of numbers, and what a choice is between.
        default: the trainer's; where it is None, None is taken, elsewhere if ``optional``.
        why: what there is to say where the default is assumed.
        idle: why it does not count, given where the scheme does not depend on it.
        approximated, no_slot, fix: what there is to say of other values than the ``neutral`` ones, or the default.
    """

    of: Literal["number", "whole", "flag", "choice", "pair", "text", "any"]
    default: Any
    optional: bool = False
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    why: str = ""
    idle: str = "has no effect beside the other settings"
    approximated: str = ""
    no_slot: str = ""
    fix: str = ""
    neutral: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "neutral", self.neutral or (self.default,))

    def read(self, name: str, value: Any, *, typed: bool) -> Any:
        """The value, checked; text stands for numbers, and without ``typed`` for everything."""
        if value is None or (not typed and self.of != "choice" and _lower(value) in ("none", "null")):
            if self.optional or self.default is None:
                return None
            checks.fail(name, value, "must not be empty", f"the trainer's default is {self.default!r}", TypeError)
        match self.of:
            case "number":
                return self._number(name, value)
            case "whole":
                return self._whole(name, value, typed)
            case "flag":
                return _flag(name, value, typed)
            case "choice":
                return checks.choice(name, value, self.words)
            case "pair":
                return self._pair(name, value)
            case "text":
                return checks.text(name, value)
            case "any":
                return value

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, str):  # YAML 1.1 takes 1e-6, without a point, for text
            try:
                value = float(value)
            except ValueError:
                checks.fail(name, value, "must be a number", "", TypeError)
        return checks.in_interval(name, value, self.low, self.high)

    def _pair(self, name: str, value: Any) -> tuple[float, float]:
        numbers = value.split() if isinstance(value, str) else value
        if not isinstance(numbers, Sequence) or len(numbers) != 2:
            checks.fail(name, value, "must be two numbers")
        return self._number(f"{name}[0]", numbers[0]), self._number(f"{name}[1]", numbers[1])

    def _whole(self, name: str, value: Any, typed: bool) -> int:
        digits = not typed and isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value)
        if digits or isinstance(value, np.integer):
            value = int(value)
        return checks.whole(name, value, low=int(self.low))


def _flag(name: str, value: Any, typed: bool) -> bool:
    if not typed and _lower(value) in ("true", "false"):
        return _lower(value) == "true"
    return checks.flag(name, value, "write it without quotes" if isinstance(value, str) else "")


def _lower(value: Any) -> str:
    return value.lower() if isinstance(value, str) else ""


number = partial(Kind, "number")
whole = partial(Kind, "whole", low=1)
flag = partial(Kind, "flag")
pair = partial(Kind, "pair")
text = partial(Kind, "text")
anything = partial(Kind, "any", optional=True)


def choice(default: str | None, *words: str, **said: Any) -> Kind:
    """One of the words."""
    return Kind("choice", default, words=words, **said)


def inert(names: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """The reason of each name, from texts of names by their reason and the prefix that they share."""
    return {prefix + name: why for (why, prefix), text in names.items() for name in text.split()}
