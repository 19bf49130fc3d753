"""How far a step of a run goes: what turns a direction into a speed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossim._display import Bar, Page, Result, Section, Table, bars, figure
from lossim._engine.readout import NATS
from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.text import Sections
from lossim._support.types import FloatArray
from lossim.curves import Curves, slope
from lossim.estimates import Estimate
from lossim.rollouts import AnyLog, as_rollouts

if TYPE_CHECKING:
    from lossim._engine.result import Drift

By = Literal["kl", "accuracy", "reward"]
UNITS = {"kl": "nats of KL", "accuracy": "P(correct)", "reward": "reward"}
FARTHEST = 0.1
"""Nats of KL in a step beyond which no step of a run goes: a clock that asks for more is none."""
HARDLY = 1e-4
"""Part of the mean length below which the change in a step is hardly one: a hundred steps are a hundredth."""
NO_PACE = "none given: a step of 0.01 nats is a direction, not a speed"


@dataclass(frozen=True, kw_only=True)
class Pace(Result):
    """How far a step goes; see :func:`lossim.pace`.

    Attributes:
        by: what is counted: KL from step to step (nats per response), P(correct), or reward.
        per_step: that much in a step.
        stderr: its standard error where it was read off more than two steps, else NaN.
        source: where it is from, in words.
    """

    by: By
    per_step: float
    stderr: float = float("nan")
    source: str = "given"

    def __post_init__(self) -> None:
        checks.choice("by", self.by, UNITS)
        checks.keep(self, "per_step", checks.finite)
        if self.by == "kl" and self.per_step <= 0:
            checks.fail("kl_per_step", self.per_step, "must be positive", "a run that stands still has no pace")

    def sections(self) -> Sections:
        """The line that it prints."""
        noise = "" if np.isnan(self.stderr) else f" ± {self.stderr:.1g}"
        doubt = " (within its noise)" if abs(self.per_step) < 2.0 * self.stderr else ""
        return {"pace": [f"{self.per_step:.3g}{noise} {UNITS[self.by]} a step, {self.source}{doubt}"]}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN)."""
        return {name: plain(value) for name, value in asdict(self).items()}

    def _columns(self) -> dict[str, Any]:
        return {name: [value] for name, value in asdict(self).items()}

    def _page(self) -> Page:
        unit = f"{UNITS[self.by]} a step"
        noise = 2.0 * self.stderr
        table = Table(title="", columns=("counted", "in a step", "± stderr", "from"),
                      rows=((UNITS[self.by], figure(self.per_step), figure(self.stderr, ".2g"), self.source),))
        bar = Bar(label=self.source, value=self.per_step, low=self.per_step - noise, high=self.per_step + noise)
        return self._paged("pace", Section(title="How far a step goes", parts=(
            table, bars("A step, and two standard errors", [bar], unit))))


@dataclass(frozen=True, kw_only=True, eq=False)
class Paced:
    """A drift at a pace.

    Attributes:
        pace: the :class:`lossim.Pace`.
        step_size: η of a step; NaN where the clock is undefined.
        nats: KL per response of a step, to second order.
        length_per_step: tokens a step.
        length_per_point: tokens for 0.01 of P(correct); NaN where accuracy does not move.
        undefined: why there is no clock; "" where there is one.
        hardly: whether mean length changes by less than a ten-thousandth in a step.
    """

    pace: Pace
    step_size: float
    nats: float
    length_per_step: Estimate
    length_per_point: Estimate
    undefined: str
    hardly: bool

    @property
    def words(self) -> str:
        """The speed in a few words."""
        if self.undefined:
            return f"but how fast is undefined: {self.undefined}"
        said = f"about {float(self.length_per_step):+.3g} tokens a step"
        if self.hardly:
            said = f"but hardly move, {float(self.length_per_step):+.1g} tokens a step"
        if np.isnan(float(self.length_per_point)):
            return f"{said}, and accuracy does not move"
        return f"{said}, {float(self.length_per_point):+.3g} per point of accuracy"

    @property
    def stretch(self) -> float:
        """Tokens a step for a token in a step of 0.01 nats; NaN where the clock is undefined."""
        return float(np.sqrt(self.nats / NATS))

    @property
    def aside(self) -> str:
        """The speed in a few words, after a verdict that leaves the sign undecided."""
        return f"; under the coordinates as given, {self.words.removeprefix('but ')}"

    def said(self, lengths: tuple[float, float]) -> str:
        """The same with the lowest and the highest number of tokens a step, from those in a step of 0.01 nats.

        Kernels are compared at the KL that a step has.
        """
        low, high = (f"{bound * self.stretch:+.3g}" for bound in lengths)
        return self.words if self.undefined or low == high else f"{self.words} ({low} to {high} over what is unknown)"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"pace": self.pace.to_dict(), "step_size": plain(self.step_size), "nats": plain(self.nats),
                "length_per_step": self.length_per_step.to_dict(), "hardly": self.hardly,
                "length_per_point": self.length_per_point.to_dict(), "undefined": self.undefined}


def pace(source: AnyLog | Curves | None = None, *, kl_per_step: float | None = None,
         accuracy: tuple[float, float] | None = None, reward: tuple[float, float] | None = None,
         steps: int | None = None) -> Pace:
    """How far a step of a run goes, for ``drift``, ``audit`` and ``train``, which else give a direction and no speed.

    Exactly one of these is given. A drift along the update g has P(correct) change by η·dP/dη in a step of size η, and
    the policy by η²·F/2 nats, F = g·K·I·K·g by its Fisher information I; so a pace by accuracy or reward is a step of
    η = per_step/(dP/dη), one by KL a step of η = √(per_step/(F/2)).

    Args:
        source: a log with steps (`Rollouts` or what these read), or curves: by KL where it was logged and grows, else
            by accuracy, else by reward. Along a straight way KL to the start is that of one step times the squared
            number of steps, so the pace is the squared slope of √KL over steps; the others are slopes of a
            least-squares line.
        kl_per_step: nats of KL per response between the policies before and after a step.
        accuracy, reward: mean before and after ``steps`` steps.

    A network's KL is that of all its tokens, of which stopping is a part: a pace by KL is then an upper bound.

    Raises:
        ValueError: none of these or several; a log of fewer than two steps, or one in which nothing was logged.

    >>> import lossim as ls
    >>> print(pace(accuracy=(0.40, 0.46), steps=50))
    0.0012 P(correct) a step, given
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.lognormal(median=300, sigma=0.5),
    ...                                wrong=ls.lengths.lognormal(median=500, sigma=0.5), max_tokens=4096)
    >>> print(ls.drift(ls.schemes.grpo(), policy, pace=pace(accuracy=(0.40, 0.46), steps=50)).verdict)
    undecided: shorter in 63 of 64 kernels, longer in 1; -36.1 to +3.64 tokens in a step of 0.01 nats; under the
    coordinates as given, about -0.484 tokens a step, -4.03 per point of accuracy
    """
    named = {"source": source, "kl_per_step": kl_per_step, "accuracy": accuracy, "reward": reward}
    given = [name for name, value in named.items() if value is not None]
    if len(given) != 1:
        checks.fail("pace", given, "must be told by exactly one of a log, curves, kl_per_step=, accuracy= and reward=",
                    "for example pace(accuracy=(0.40, 0.46), steps=50)")
    if (accuracy is None and reward is None) != (steps is None):
        checks.fail("steps", steps, "must come with accuracy= or reward=, and these with it",
                    "for example pace(accuracy=(0.40, 0.46), steps=50)")
    if source is not None:
        seen = source if isinstance(source, Curves) else Curves.of(as_rollouts(source, "source", beside="Curves, "))
        return _read(seen)
    if kl_per_step is not None:
        return Pace(by="kl", per_step=checks.positive("kl_per_step", kl_per_step))
    by: By = "accuracy" if accuracy is not None else "reward"
    first, last = checks.pair(by, named[by], "must be two numbers, before and after the steps")
    if by == "accuracy":
        checks.probability("accuracy[0]", first)
        checks.probability("accuracy[1]", last)
    return Pace(by=by, per_step=(last - first) / checks.whole("steps", steps))


def _read(curves: Curves) -> Pace:
    """The pace of a run that was logged."""
    where = f"steps {curves.steps[0]} to {curves.steps[-1]} of the log"
    if curves.kl is not None:
        root, noise = slope(curves.steps, np.sqrt(np.maximum(curves.kl, 0.0)))
        if root > 0:
            return Pace(by="kl", per_step=root**2, stderr=2.0 * root * noise, source=f"√KL over {where}")
    series: tuple[tuple[By, FloatArray | None], ...] = (("accuracy", curves.accuracy), ("reward", curves.reward))
    for by, values in series:
        if values is not None and np.isfinite(values).sum() > 1:
            rate, noise = slope(curves.steps, values)
            return Pace(by=by, per_step=rate, stderr=noise, source=f"a line through {where}")
    checks.fail("source", curves, "must have KL, accuracy or reward at two steps at least",
                "or give kl_per_step= by hand")


def clock(result: Drift, given: Pace) -> Paced:
    """The drift at a pace: what a step of a run that goes so far does to length."""
    checks.of_kind("pace", given, Pace, "a pace", "for example pace(kl_per_step=1e-4)")
    policy = result.policy.arrays
    unit = float(result.policy.directions.nats(np.asarray(result.update.value)))
    size = np.nan
    undefined = ""
    if not unit > 0:
        undefined = "nothing moves"
    elif given.by == "kl":
        size = float(np.sqrt(given.per_step / unit))
    else:
        size, undefined = _by_gain(result.accuracy if given.by == "accuracy" else result.reward, given, unit)
    per_step = result.length * size
    point = np.nan
    if abs(float(result.accuracy)) > max(3.0 * float(result.accuracy.stderr), float(result.accuracy.error), 0.0):
        point = 0.01 / float(result.accuracy)
    nats = size**2 * unit
    hardly = bool(abs(float(per_step)) < HARDLY * policy.mean_length)
    return Paced(pace=given, step_size=size, nats=nats, length_per_step=per_step, undefined=undefined, hardly=hardly,
                 length_per_point=result.length * point)


def _by_gain(rate: Estimate, given: Pace, unit: float) -> tuple[float, str]:
    """η of a step that gains so much, NaN and why not where none does."""
    what = UNITS[given.by]
    if np.isnan(float(rate)) or abs(float(rate)) <= 3.0 * float(rate.stderr) + float(rate.error):
        return np.nan, f"{what} does not move here, so it is no clock"
    size = given.per_step / float(rate)
    if size < 0:
        ways = ("rises", "falls")
        here, there = ways if float(rate) > 0 else ways[::-1]
        return np.nan, f"{what} {here} along this update, and {there} in the run"
    if size == 0:
        return np.nan, f"{what} stood still in the run, so it is no clock"
    if size**2 * unit > FARTHEST:
        return np.nan, (f"{what} hardly moves here, a step that gains {given.per_step:.2g} would be "
                        f"{size**2 * unit:.1g} nats long")
    return size, ""
