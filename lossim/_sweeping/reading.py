"""What a cell of a sweep says: numbers read off whatever the function returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any, Literal

import numpy as np

from lossim._engine import NATS, Drift, LengthDrift
from lossim._support import checks
from lossim._support.doubts import undecided_by
from lossim._support.text import SAMPLED
from lossim._training import Training
from lossim.estimates import Estimate

__all__ = ["UNITS", "WORDS", "Reading", "read"]

Kind = Literal["drift", "training", "number"]
WORDS: dict[str, tuple[str, str, str]] = {"drift": ("longer", "shorter", "does not move"),
                                          "training": ("longer", "shorter", "does not move"),
                                          "number": ("above 0", "below 0", "0")}
"""A number above 0, below 0, and 0, each as what it says."""
_STEP = f"in a step of {NATS:g} nats"
UNITS = {"length_per_kl": f"tokens {_STEP}", "length_per_kl_stderr": f"tokens {_STEP}",
         "needed_per_kl": f"tokens {_STEP}", "free_per_kl": f"tokens {_STEP}", "accuracy_per_kl": f"P(correct) {_STEP}",
         "truncation_rate_per_kl": f"P(truncated) {_STEP}", "alignment": "cosine with ∇E[r]",
         "length_per_step": "tokens a step", "length_change": "tokens from start to end", "length": "tokens at the end",
         "accuracy": "P(correct) at the end", "accuracy_change": "P(correct), end less start",
         "truncation_rate": "P(truncated) at the end", "kl_to_start": "nats per response at the end",
         "needed": "tokens from start to end", "free": "tokens from start to end", "steps": "steps done"}
"""Of the numbers that are read off a drift or a run, by name."""
SIGMAS = 3.0
"""Standard errors within which a number is not told from 0."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The numbers of a cell, the first of which is the answer.

    Attributes:
        sign: of the first number: 1, -1, or 0 where it is a rounding error, noise, or nothing moves.
        decided: whether the sign hangs on nothing that is not known.
        low, high: the range of the first number over what is not known; NaN where there is none.
    """

    kind: Kind
    numbers: dict[str, float]
    sign: int
    decided: bool = True
    low: float = float("nan")
    high: float = float("nan")
    notes: tuple[str, ...] = field(default=())


@singledispatch
def read(result: Any, called: str) -> Reading:
    """The numbers of a result; ``called`` is the name of a single one.

    Raises:
        TypeError: what was returned is no result, number or mapping of numbers.
    """
    if isinstance(result, (bool, str)) or np.ndim(result) > 0:
        checks.fail(f"what {called} returned", result, "must be a number, a mapping of names to numbers, or a "
                    "result of drift or train", error=TypeError)
    return _of_number(called, Estimate(value=float(result)))


@read.register
def _(result: Estimate, called: str) -> Reading:
    return _of_number(called, result)


@read.register
def _(result: Mapping, called: str) -> Reading:  # type: ignore[type-arg]
    if not result:
        checks.fail(f"what {called} returned", result, "must name at least one number")
    read_off = [_of_number(str(name), value if isinstance(value, Estimate) else Estimate(value=float(value)))
                for name, value in result.items()]
    return Reading(kind="number", numbers={name: x for each in read_off for name, x in each.numbers.items()},
                   sign=read_off[0].sign, decided=read_off[0].decided)


def _of_number(name: str, found: Estimate) -> Reading:
    """One number, with its standard error where it has one."""
    value = float(found)
    if np.isnan(value):
        checks.fail(name, value, "must be a number")
    sampled = found.method in SAMPLED
    numbers = {name: value} | ({f"{name}_stderr": float(found.stderr)} if sampled else {})
    sign = _sign(value, found)
    return Reading(kind="number", numbers=numbers, sign=sign, decided=not sampled or sign != 0)


def _sign(value: float, noise: Estimate) -> int:
    """1 or -1; 0 within the noise or the rounding of a number."""
    within = SIGMAS * float(noise.stderr) + float(noise.error)
    return 0 if not abs(float(noise)) > within else int(np.sign(value))


@read.register
def _(result: Drift, called: str) -> Reading:
    per_kl = float(result.length_per_kl)
    change = float(result.length)
    # Derivatives scale alike along the update: a step of 0.01 nats is the ratio of these two.
    step = per_kl / change if change else float("nan")
    numbers = {"length_per_kl": per_kl, "needed_per_kl": step * float(result.needed),
               "free_per_kl": step * float(result.free), "accuracy_per_kl": step * float(result.accuracy),
               "truncation_rate_per_kl": step * float(result.truncation_rate), "alignment": float(result.alignment)}
    sampled = result.length.method in SAMPLED
    if sampled:
        numbers["length_per_kl_stderr"] = float(result.length_per_kl.stderr)
    if result.paced is not None:
        numbers["length_per_step"] = float(result.paced.length_per_step)
    sign = 0 if np.isnan(per_kl) else _sign(per_kl, result.length)
    unsure = result.scheme.entropy is not None or bool(undecided_by(result.doubts)) or (sampled and sign == 0)
    low, high = result.range
    return Reading(kind="drift", numbers=numbers, sign=sign, decided=not unsure, low=low, high=high, notes=result.notes)


@read.register
def _(result: LengthDrift, called: str) -> Reading:
    per_kl = float(result.length_per_kl)
    low, high = result.range
    return Reading(kind="drift", numbers={"length_per_kl": per_kl}, decided=result.decided, low=low, high=high,
                   sign=0 if np.isnan(per_kl) else _sign(per_kl, result.length), notes=result.notes)


@read.register
def _(result: Training, called: str) -> Reading:
    def at_end(series: Any) -> float:
        return float(np.median(series[-1]))

    def changed(series: Any) -> float:
        return float(np.median(series[-1] - series[0]))

    change = changed(result.length)
    numbers = {"length_change": change, "length": at_end(result.length), "accuracy": at_end(result.accuracy),
               "accuracy_change": changed(result.accuracy), "truncation_rate": at_end(result.truncation_rate),
               "kl_to_start": at_end(result.kl_to_start), "needed": float(np.median(result.needed.sum(axis=0))),
               "free": float(np.median(result.free.sum(axis=0))), "steps": float(result.steps)}
    still = abs(change) <= 1e-9 * at_end(result.length)
    return Reading(kind="training", numbers=numbers, sign=0 if still else int(np.sign(change)),
                   decided=not result.undecided, notes=result.notes)
