"""Other settings on the same log: what each would do, and where one would stop the drift."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from lossim._auditing.bootstrap import length_now
from lossim._auditing.cells import Cells
from lossim._auditing.findings import Stop
from lossim._auditing.log import Pay
from lossim._auditing.plugin import Plugin
from lossim._support.types import FloatArray, IntArray, Outcome
from lossim.advantages import GAE, GroupMean, GroupStandardized, Raw, Whitened
from lossim.aggregation import (
    Aggregation,
    ConstantNormalizer,
    LengthPower,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
)
from lossim.critics import Constant, Exact, Zero
from lossim.penalties import KL
from lossim.rewards import LinearPenalty, Reward, Shaping
from lossim.schemes import Truncation

__all__ = ["ForTruncated", "other_settings", "shorter", "stops"]


@dataclass(frozen=True, kw_only=True)
class ForTruncated(Shaping):
    """A reward for truncated responses in place of theirs."""

    reward: float

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return np.where(outcome == Outcome.TRUNCATED, self.reward, reward)


def other_settings(plugin: Plugin) -> Iterator[tuple[str, Plugin]]:
    """The same log under other settings, one at a time."""
    scheme, log = plugin.scheme, plugin.log
    if log.cut_share > 0:
        treatments: tuple[tuple[Truncation, str], ...] = (("keep", "kept"), ("mask", "masked"), ("remove", "removed"))
        for treatment, words in treatments:
            if treatment != scheme.truncation:
                yield f"truncated responses {words}", replace(plugin, scheme=replace(scheme, truncation=treatment))
    if log.correct is not None:
        for reward in (Reward(), Reward(incorrect=-1.0), *([Reward(incorrect=-1.0, truncated=0.0),
                                                            Reward(truncated=-1.0)] if log.cut_share > 0 else [])):
            if not _paid_so(plugin, reward):
                yield reward.text, replace(plugin, pay=Pay(rule=reward))
    inner = scheme.advantage
    if isinstance(inner, GroupStandardized):
        yield "no std", replace(plugin, scheme=replace(scheme, advantage=GroupMean()))
    elif isinstance(inner, GroupMean) and type(inner) is GroupMean:
        yield "divided by the group's std", replace(plugin, scheme=replace(scheme, advantage=GroupStandardized()))
    rules: tuple[Aggregation, ...] = (SequenceMeanTokenMean(), TokenMean(), ConstantNormalizer())
    for rule in rules:
        if type(rule) is not type(scheme.aggregation) and not (
                isinstance(rule, ConstantNormalizer) and isinstance(scheme.aggregation, SequenceMeanTokenSum)):
            yield f"aggregation {rule.verl}", replace(plugin, scheme=replace(scheme, aggregation=rule))
    gae = plugin.advantage
    if isinstance(gae, GAE) and not plugin.adaptive:
        if gae.gae_lambda != 1.0:
            yield "λ = 1", with_gae(plugin, gae_lambda=1.0)
        if not isinstance(gae.critic, Exact):
            yield "a critic that knows the path", with_gae(plugin, critic=Exact())
    if any(plugin.kl):
        kept = tuple(penalty for penalty in scheme.penalties if not isinstance(penalty, KL))
        yield "no KL", replace(plugin, scheme=replace(scheme, penalties=kept))


def _paid_so(plugin: Plugin, reward: Reward) -> bool:
    """Whether that is what responses are paid on average, wherever one ended."""
    law, ends = plugin.log.law, np.arange(1.0, plugin.log.max_tokens + 2.0)
    cut = ends > plugin.log.max_tokens
    paid = reward.values(np.minimum(ends, plugin.log.max_tokens), np.array([True, False])[:, None], cut)
    return bool(np.allclose(np.where(law > 0, plugin.mean_reward - paid, 0.0), 0.0, atol=1e-6))


def shorter(plugin: Plugin) -> Plugin | None:
    """The same log cut at half its cap; None where nothing is left to cut."""
    cells, cap = plugin.cells, plugin.log.max_tokens // 2
    if cap < 1:
        return None
    log = replace(plugin.log, max_tokens=cap, shortened=True)
    log.__dict__["block_of_prompt"] = plugin.log.block_of_prompt
    return replace(plugin, cells=Cells(log=log, paths=cells.paths, coordinates=cells.coordinates))


def with_gae(plugin: Plugin, **changes: Any) -> Plugin:
    """Another setting of GAE, whitened if it was."""
    scheme, gae = plugin.scheme, plugin.advantage
    assert isinstance(gae, GAE)
    made = GAE(**({"gamma": gae.gamma, "gae_lambda": gae.gae_lambda, "critic": gae.critic,
                   "bootstrap_truncated": gae.bootstrap_truncated} | changes))
    advantage = replace(scheme.advantage, inner=made) if isinstance(scheme.advantage, Whitened) else made
    return replace(plugin, scheme=replace(scheme, advantage=advantage))


def stops(plugin: Plugin, says: Callable[[str], None]) -> tuple[Stop, ...]:
    """For each knob the smallest change that brings the drift to zero, by root finding on the log itself."""
    found, whole = [], replace(plugin, cells=replace(plugin.cells, log=plugin.log.whole))
    whole.cells.__dict__.update(policy=plugin.cells.policy, readout=plugin.cells.readout)
    for knob in _knobs(whole):
        says(knob.name)
        found.append(_solve(knob))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class _Knob:
    """One number to turn: what it makes of the scheme, where it stands, and the values to look at.

    ``note`` is said with every answer, ``jump`` where the drift jumps across zero.
    """

    name: str
    now: float
    make: Callable[[float], Plugin]
    grid: tuple[float, ...]
    note: str = ""
    jump: str = ""


PENALTY = "penalty per token"
REACH = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


def _knobs(plugin: Plugin) -> Iterator[_Knob]:
    scheme, log = plugin.scheme, plugin.log
    low, high = _paid_range(plugin)
    spread = high - low or 1.0

    def paying(shaping: Shaping) -> Plugin:
        return replace(plugin, pay=replace(plugin.pay, shapings=(*plugin.pay.shapings, shaping)))

    if log.cut_share > 0 and scheme.truncation != "remove":
        now = float(np.average(plugin.mean_reward[..., -1], weights=log.law[..., -1]))
        yield _Knob(name="reward of truncated responses", now=now, make=lambda x: paying(ForTruncated(reward=x)),
                    grid=_around(now, spread))
    slope = spread / log.mean_length
    yield _Knob(name=PENALTY, now=0.0, make=lambda x: paying(LinearPenalty(slope=x)),
                grid=_around(0.0, slope), jump=_on_dead_groups(plugin))
    if log.rollouts.kl is not None:
        kl = plugin.kl[0] or plugin.kl[1] or KL(coefficient=0.0, estimator="k3")
        rest = tuple(penalty for penalty in scheme.penalties
                     if not (isinstance(penalty, KL) and penalty.place == kl.place))

        def with_kl(x: float) -> Plugin:
            return replace(plugin, scheme=replace(scheme, penalties=(*rest, replace(kl, coefficient=x))))

        yield _Knob(name=f"KL coefficient ({kl.estimator} in the {kl.place})", now=kl.coefficient, make=with_kl,
                    grid=(0.0, *np.geomspace(1e-4, 10.0, 6)))
    yield _Knob(name="aggregation by T^-α (0 constant, 1 nearly a mean over tokens)", now=np.nan, grid=(0.0, 0.5, 1.0),
                make=lambda x: replace(plugin, scheme=replace(scheme, aggregation=LengthPower(alpha=x))))
    gae = plugin.advantage
    if isinstance(gae, GAE) and not plugin.adaptive:
        if type(gae) is GAE:
            assert isinstance(gae.gae_lambda, float | int)
            yield _Knob(name="λ", now=float(gae.gae_lambda), make=lambda x: with_gae(plugin, gae_lambda=x),
                        grid=(0.0, 0.5, 0.9, 0.95, 0.99, 1.0), note=f"with the critic {gae.critic!r}")
            if isinstance(gae.critic, Zero | Constant):
                value = gae.critic.value if isinstance(gae.critic, Constant) else 0.0
                yield _Knob(name="value of a constant critic", now=value, grid=tuple(np.linspace(low, high, 9)),
                            make=lambda x: with_gae(plugin, critic=Constant(value=x)))
    elif isinstance(gae, Raw) and not isinstance(gae.baseline, tuple):
        yield _Knob(name="baseline", now=gae.baseline, grid=tuple(np.linspace(low, high, 9)), make=lambda x: replace(
            plugin, scheme=replace(scheme, advantage=_with_baseline(scheme.advantage, x))))


def _on_dead_groups(plugin: Plugin) -> str:
    divides = isinstance(plugin.advantage, GroupStandardized) and plugin.advantage.scope == "group"
    return "the std makes any penalty count in full where rewards are equal" if divides else ""


def _with_baseline(advantage: Any, baseline: float) -> Any:
    raw = Raw(baseline=baseline)
    return replace(advantage, inner=raw) if isinstance(advantage, Whitened) else raw


def _paid_range(plugin: Plugin) -> tuple[float, float]:
    paid = plugin.mean_reward[plugin.log.law > 0]
    return float(paid.min()), float(paid.max())


def _around(now: float, unit: float) -> tuple[float, ...]:
    return tuple(sorted({now, *(now + sign * unit * reach for reach in REACH for sign in (-1.0, 1.0))}))


def _solve(knob: _Knob) -> Stop:
    """The root nearest to where the knob stands, between two values of the grid where the drift changes sign."""
    from scipy.optimize import brentq  # which would double the time of `import lossim`

    def drift(x: float) -> float:
        return length_now(knob.make(x))

    now = None if np.isnan(knob.now) else knob.now
    grid = sorted({*knob.grid, *([] if now is None else [now])})
    at = [drift(x) for x in grid]
    largest = max(map(abs, at))
    roots: list[float] = [x for x, y in zip(grid, at, strict=True) if abs(y) <= 1e-9 * largest]
    for (a, x), (b, y) in pairwise(zip(grid, at, strict=True)):
        if x * y < 0 and min(abs(x), abs(y)) > 1e-9 * largest:
            roots.append(float(brentq(drift, a, b, xtol=1e-4 * max(b - a, 1e-12), rtol=1e-6)))
    span = f"between {grid[0]:.3g} and {grid[-1]:.3g}"
    if largest == 0.0:
        return Stop(knob=knob.name, now=now, needed=None, note=f"nothing moves {span}")
    if not roots:
        return Stop(knob=knob.name, now=now, needed=None,
                    note=f"none {span} does, the drift keeps its sign" + (f"; {knob.note}" if knob.note else ""))
    needed = roots[0] if now is None else min(roots, key=lambda x: abs(x - now))
    jumps = abs(drift(needed)) > 1e-2 * (largest if now is None else abs(at[grid.index(now)]))
    notes = (jumps * "the drift jumps across zero there", jumps * knob.jump, knob.note,
             "paid for, not charged" if knob.name == PENALTY and needed < 0 else "")
    return Stop(knob=knob.name, now=now, needed=float(needed), note="; ".join(filter(None, notes)))


