"""Other settings on the same log: the changes that an audit tries, and the knobs that it turns until nothing drifts.

``CHANGES`` and ``KNOBS`` hold them in the order of the report; a new one is a function and a line there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from lossim._auditing.bootstrap import coefficient_scale, measures_of, read
from lossim._auditing.findings import Stop
from lossim._auditing.plugin import Plugin
from lossim._engine import inner_product, update_gradient
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray, IntArray, Outcome
from lossim.advantages import GAE, Advantage, GroupMean, GroupStandardized, Raw
from lossim.aggregation import (
    Aggregation,
    ConstantNormalizer,
    LengthPower,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
)
from lossim.critics import Constant, Exact
from lossim.penalties import KL
from lossim.rewards import LinearPenalty, Reward, Shaping
from lossim.schemes import Truncation

# --- what if ----------------------------------------------------------------------------------------------------


def treating(plugin: Plugin, truncation: Truncation) -> Plugin | None:
    """Another treatment of truncated responses."""
    if plugin.log.cut_share == 0 or plugin.scheme.truncation == truncation:
        return None
    return _with(plugin, truncation=truncation)


def paying(plugin: Plugin, reward: Reward) -> Plugin | None:
    """Another reward, if it differs on average from what was paid wherever a response ended."""
    log = plugin.log
    if log.correct is None or (reward.truncated is not None and log.cut_share == 0):
        return None
    ends = np.arange(1.0, log.max_tokens + 2.0)
    cut = ends > log.max_tokens
    right = np.array([True, False])[:, None]
    paid = reward.values(np.minimum(ends, log.max_tokens), right, cut)
    if np.allclose(np.where(log.law > 0, plugin.mean_reward - paid, 0.0), 0.0, atol=1e-6):
        return None
    return replace(plugin, rule=reward)


def aggregating(plugin: Plugin, rule: Aggregation) -> Plugin | None:
    """Another aggregation; a sum over tokens differs from one over a constant by a factor only."""
    alike = (ConstantNormalizer, SequenceMeanTokenSum) if isinstance(rule, ConstantNormalizer) else (type(rule),)
    return None if type(plugin.scheme.aggregation) in alike else _with(plugin, aggregation=rule)


def estimating(plugin: Plugin, estimator: Advantage, in_place_of: type[Advantage]) -> Plugin | None:
    """Another estimator for one of a kind."""
    return _with(plugin, advantage=estimator) if type(plugin.scheme.advantage) is in_place_of else None


def changing_gae(plugin: Plugin, **changes: Any) -> Plugin | None:
    """GAE with another λ or critic."""
    gae = plugin.scheme.advantage.token_level
    if gae is None or gae.adaptive or all(getattr(gae, name) == value for name, value in changes.items()):
        return None
    return _with_gae(plugin, gae, **changes)


def without_kl(plugin: Plugin) -> Plugin | None:
    """No KL penalty, where the log tells what it would be."""
    if not any(plugin.kl):
        return None
    return _with(plugin, penalties=tuple(each for each in plugin.scheme.penalties if not isinstance(each, KL)))


def with_half_the_cap(plugin: Plugin) -> Plugin | None:
    """The log cut at half its cap."""
    cap = plugin.log.max_tokens // 2
    if cap < 1:
        return None
    log = replace(plugin.log, max_tokens=cap, shortened=True)
    return replace(plugin, cells=replace(plugin.cells, log=log))


REWARDS = (Reward(), Reward(incorrect=-1.0), Reward(incorrect=-1.0, truncated=0.0), Reward(truncated=-1.0))
RULES = (SequenceMeanTokenMean(), TokenMean(), ConstantNormalizer())
CHANGES: tuple[tuple[str, Callable[[Plugin], Plugin | None]], ...] = (
    ("truncated responses kept", partial(treating, truncation="keep")),
    ("truncated responses masked", partial(treating, truncation="mask")),
    ("truncated responses removed", partial(treating, truncation="remove")),
    *((reward.text, partial(paying, reward=reward)) for reward in REWARDS),
    ("no std", partial(estimating, estimator=GroupMean(), in_place_of=GroupStandardized)),
    ("divided by the group's std", partial(estimating, estimator=GroupStandardized(), in_place_of=GroupMean)),
    *((f"aggregation {rule.verl}", partial(aggregating, rule=rule)) for rule in RULES),
    ("λ = 1", partial(changing_gae, gae_lambda=1.0)),
    ("a critic that knows the path", partial(changing_gae, critic=Exact())),
    ("no KL", without_kl),
    ("cut at {cap} tokens", with_half_the_cap),
)
"""Words in the report, where ``{cap}`` stands for the cap of the log that is made, and what each makes of a scheme on a
log; None if that is no change, or cannot be asked of the log."""


# --- knobs ------------------------------------------------------------------------------------------------------

REACH = np.array([-4.0, -2.0, -1.0, -0.5, -0.25, -0.125, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0])
"""How far a knob is turned, in units of its own."""
ROUNDING = 1e-12
"""Rewards that differ by less than this share are all equal."""


class Knob(Record):
    """One number to turn.

    Attributes:
        now: where it stands; None if nowhere.
        make: what a value makes of the scheme on its log.
        grid: the values to look at first, besides ``now``.
        note: said with every answer; ``jump`` where the drift jumps across zero, ``below_zero`` of a value below 0.
    """

    name: str
    now: float | None
    make: Callable[[float], Plugin]
    grid: FloatArray
    note: str = ""
    jump: str = ""
    below_zero: str = ""


def truncated_reward(plugin: Plugin) -> Knob | None:
    """What truncated responses are paid, in place of what they were."""
    if plugin.log.cut_share == 0 or plugin.scheme.truncation == "remove":
        return None
    now = float(np.average(plugin.mean_reward[..., -1], weights=plugin.log.law[..., -1]))
    return Knob(name="reward of truncated responses", now=now, grid=now + _spread_of_pay(plugin) * REACH,
                make=lambda x: replace(plugin, shapings=(ForTruncated(reward=x),)))


def penalty_per_token(plugin: Plugin) -> Knob:
    """What a response is charged for each of its tokens."""
    estimator = plugin.scheme.advantage.response_level
    divides = isinstance(estimator, GroupStandardized) and estimator.scope == "group"
    jump = "the std makes any penalty count in full where rewards are equal" if divides else ""
    return Knob(name="penalty per token", now=0.0, grid=_spread_of_pay(plugin) / plugin.log.mean_length * REACH,
                jump=jump, below_zero="paid for, not charged",
                make=lambda x: replace(plugin, shapings=(LinearPenalty(slope=x),)))


def kl_coefficient(plugin: Plugin) -> Knob | None:
    """The coefficient of the scheme's KL, or of one in the loss where it has none."""
    if plugin.log.rollouts.kl is None:
        return None
    kl = plugin.kl[0] or plugin.kl[1] or KL(coefficient=0.0, estimator="k3")
    rest = tuple(each for each in plugin.scheme.penalties if not (isinstance(each, KL) and each.place == kl.place))
    return Knob(name=f"KL coefficient ({kl.estimator} in the {kl.place})", now=kl.coefficient,
                grid=np.append(0.0, np.geomspace(1e-4, 10.0, 6)),
                make=lambda x: _with(plugin, penalties=(*rest, replace(kl, coefficient=x))))


def exponent_of_length(plugin: Plugin) -> Knob:
    """The exponent of T in the weight of a token."""
    return Knob(name="aggregation by T^-α (0 constant, 1 nearly a mean over tokens)", now=None,
                grid=np.array([0.0, 0.5, 1.0]), make=lambda x: _with(plugin, aggregation=LengthPower(alpha=x)))


def decay(plugin: Plugin) -> Knob | None:
    """λ of GAE."""
    gae = _plain_gae(plugin)
    if gae is None:
        return None
    now: Any = gae.gae_lambda
    return Knob(name="λ", now=float(now), grid=np.array([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]),
                note=f"with the critic {gae.critic}", make=lambda x: _with_gae(plugin, gae, gae_lambda=x))


def value_of_critic(plugin: Plugin) -> Knob | None:
    """The value of a critic that has one for all positions."""
    gae = _plain_gae(plugin)
    if gae is None or gae.critic.constant is None:
        return None
    return Knob(name="value of a constant critic", now=gae.critic.constant, grid=np.linspace(*_range_of_pay(plugin), 9),
                make=lambda x: _with_gae(plugin, gae, critic=Constant(value=x)))


def fixed_baseline(plugin: Plugin) -> Knob | None:
    """The baseline of Raw, where it is one number."""
    raw = plugin.scheme.advantage.response_level
    if not isinstance(raw, Raw) or isinstance(raw.baseline, tuple):
        return None
    return Knob(name="baseline", now=raw.baseline, grid=np.linspace(*_range_of_pay(plugin), 9),
                make=lambda x: _estimating(plugin, Raw(baseline=x)))


KNOBS: tuple[Callable[[Plugin], Knob | None], ...] = (
    truncated_reward,
    penalty_per_token,
    kl_coefficient,
    exponent_of_length,
    decay,
    value_of_critic,
    fixed_baseline,
)
"""Each makes a knob for a scheme on a log; None where there is nothing to turn."""


# --- made of a scheme -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ForTruncated(Shaping):
    """A reward for truncated responses in place of theirs."""

    reward: float

    def __call__(self, reward: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
        return np.where(outcome == Outcome.TRUNCATED, self.reward, reward)


def _with(plugin: Plugin, **slots: Any) -> Plugin:
    """Other slots of the scheme."""
    return replace(plugin, scheme=replace(plugin.scheme, **slots))


def _estimating(plugin: Plugin, estimator: Advantage) -> Plugin:
    """Another estimator, whitened if the scheme's is."""
    whitening = plugin.scheme.advantage.whitening
    return _with(plugin, advantage=estimator if whitening is None else replace(whitening, inner=estimator))


def _plain_gae(plugin: Plugin) -> GAE | None:
    """The scheme's GAE, if it has λ and critic to choose."""
    gae = plugin.scheme.advantage.token_level
    return gae if type(gae) is GAE and not gae.adaptive else None


def _with_gae(plugin: Plugin, gae: GAE, **changes: Any) -> Plugin:
    """Another λ or critic, of any GAE."""
    settings = {"gae_lambda": gae.gae_lambda, "critic": gae.critic} | changes
    return _estimating(plugin, GAE(gamma=gae.gamma, bootstrap_truncated=gae.bootstrap_truncated, **settings))


def _range_of_pay(plugin: Plugin) -> tuple[float, float]:
    """The lowest and the highest mean reward of responses that ended alike."""
    paid = plugin.mean_reward[plugin.log.law > 0]
    return float(paid.min()), float(paid.max())


def _spread_of_pay(plugin: Plugin) -> float:
    """From the lowest to the highest reward; 1 where all are equal."""
    low, high = _range_of_pay(plugin)
    return high - low if high - low > ROUNDING * max(abs(low), abs(high)) else 1.0


# --- where nothing drifts ---------------------------------------------------------------------------------------

ROUNDING_OF_DRIFT = 1e-13
"""A drift this much smaller than its coefficients and lengths is a rounding error."""
NOTHING = 1e-9
"""A drift this much smaller than the largest that a knob makes is none."""
JUMP = 1e-2
"""What is left, at a root, of the drift as it is now: with more the drift jumps there."""


def stops(plugin: Plugin, say: Callable[[str], None]) -> tuple[Stop, ...]:
    """For each knob the smallest change that brings the drift to zero, by root finding on the log itself."""
    found = []
    for make in KNOBS:
        knob = make(plugin)
        if knob is not None:
            say(knob.name)
            found.append(stop(knob))
    return tuple(found)


def stop(knob: Knob) -> Stop:
    """The root nearest to where the knob stands, between two values of the grid where the drift changes sign."""
    from scipy.optimize import brentq  # which would double the time of `import lossim`

    def drift(x: float) -> float:
        """Tokens per unit step; 0 where it is a rounding error."""
        plugin = knob.make(x)
        totals, by_place = read(plugin, pairs=False)
        n = max(float(totals.n.sum()), 1.0)
        sums = mapped(lambda x: x[None] / n, by_place)
        gradient = update_gradient(plugin.step, measures_of(plugin, plugin.step, sums))
        length = float(inner_product(gradient, plugin.cells.directions.length))
        uncancelled = coefficient_scale(plugin, sums) * plugin.log.mean_length * plugin.cells.policy.motion.largest
        return length if abs(length) > ROUNDING_OF_DRIFT * uncancelled else 0.0

    def answer(needed: float | None, *notes: str) -> Stop:
        return Stop(knob=knob.name, now=knob.now, needed=needed, note="; ".join(note for note in notes if note))

    now = knob.now
    values = knob.grid.tolist()
    grid = sorted(values if now is None else {*values, now})
    at = [drift(x) for x in grid]
    largest = max(map(abs, at))
    span = f"between {grid[0]:.3g} and {grid[-1]:.3g}"
    if largest == 0.0:
        return answer(None, f"nothing moves {span}")
    # Roots at values of the grid, and between two of them.
    roots = [x for x, y in zip(grid, at, strict=True) if abs(y) <= NOTHING * largest]
    for (a, x), (b, y) in pairwise(zip(grid, at, strict=True)):
        if x * y < 0 and min(abs(x), abs(y)) > NOTHING * largest:
            roots.append(float(brentq(drift, a, b, xtol=1e-4 * max(b - a, 1e-12), rtol=1e-6)))
    if not roots:
        return answer(None, f"none {span} does, the drift keeps its sign", knob.note)
    # The nearest one, and whether the drift passes through zero there.
    if now is None:
        needed = roots[0]
        before = largest
    else:
        needed = min(roots, key=lambda x: abs(x - now))
        before = abs(at[grid.index(now)])
    jumps: tuple[str, ...] = ()
    if abs(drift(needed)) > JUMP * before:
        jumps = ("the drift jumps across zero there", knob.jump)
    return answer(float(needed), *jumps, knob.note, knob.below_zero if needed < 0 else "")
