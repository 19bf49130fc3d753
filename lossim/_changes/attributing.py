"""Attribution of a difference between drifts: what each mixture of two schemes does, and each slot's share of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from lossim._changes.attribution import Attribution, SlotShare
from lossim._changes.on_policy import OnPolicy, case_of
from lossim._changes.results import WhatIf
from lossim._changes.shapley import Player, differing, mixtures, players_of, shapley, shapley_errors
from lossim._engine import FIRST_STEP, NATS, STANDARD_ERRORS, setting_notes, unsettled_notes
from lossim._model import Coordinates, Kernels
from lossim._support import checks
from lossim._support.doubts import Doubt
from lossim._support.progress import Progress
from lossim._support.quotients import quotient
from lossim._support.records import Record, mapped
from lossim._support.text import Note
from lossim._support.types import FloatArray, NoClosedForm
from lossim.estimates import Estimate, Method
from lossim.policies import Policy
from lossim.rewards import Reward
from lossim.schemes import Scheme, short

REPLICATES = 8
"""Independent sets of batches behind the standard error of a sampled share."""
BATCHES = 512
"""Batches of all sets together, unless given."""
MIXTURES = Note("mixtures", "a share is the mean over all orders in which the slots may change one after the other, by "
                "the drifts of all mixtures of both schemes")
NOT_SETTLED = Note("as it is", "what is not settled about a scheme is looked at for the scheme as it is alone")


class Numbers(Record):
    """The drift of mean length under a scheme, or several of them side by side.

    Attributes:
        values: [..., 2 + kernel], tokens per unit step, in a step of 0.01 nats, and that under each kernel.
        errors: bounds on rounding in them.
        draws: [..., 2, draw], the first two of them under each draw of what is random; none where nothing is.
    """

    values: FloatArray
    errors: FloatArray
    draws: FloatArray


class Setting(Record):
    """How drifts on a subject are looked at.

    Attributes:
        look: the numbers of some schemes.
        idle: slots that the numbers do not hang on, and what those do not bear on.
        method: how the numbers are made.
        widening: standard errors over the scatter of the draws.
        n: samples behind them.
    """

    look: Callable[[Sequence[Scheme]], list[Numbers]]
    idle: Mapping[str, str]
    method: Method = "sum"
    widening: float = 0.0
    n: int = 0

    def estimates(self, numbers: Numbers) -> tuple[Estimate, Estimate]:
        """Tokens per unit step, and in a step of 0.01 nats."""
        length, per_kl = (self._estimate(numbers, unit) for unit in (0, 1))
        return length, per_kl

    def _estimate(self, numbers: Numbers, unit: int) -> Estimate:
        value = float(numbers.values[unit])
        if self.method == "sum":
            return Estimate(value=value, error=float(numbers.errors[unit]))
        draws = numbers.draws[unit]
        stderr = self.widening * float(np.sqrt(np.mean((draws - value) ** 2))) if len(draws) else np.nan
        return Estimate(value=value, stderr=stderr, n=self.n, method=self.method)

    def kernels(self, numbers: Numbers, per_kl: Estimate) -> tuple[Doubt, ...]:
        """The kernel as a doubt, unless it was measured."""
        lengths, errors = numbers.values[2:], numbers.errors[2:]
        if not len(lengths):
            return ()
        noise = STANDARD_ERRORS.get(self.method, 0.0) * np.nan_to_num(float(per_kl.stderr))
        return (Doubt(unknown="kernel", options=tuple(f"kernel {i}" for i in range(1, len(lengths) + 1)),
                      lengths=np.where(np.abs(lengths) <= errors, 0.0, lengths), within=float(noise)),)


def path_of(scheme: Scheme | Sequence[Scheme], relative_to: Scheme) -> tuple[Scheme, ...]:
    """The schemes from the one that all is relative to, checked, with names that tell them apart."""
    example = "for example schemes.dapo()"
    checks.of_kind("relative_to", relative_to, Scheme, "a Scheme", "for example schemes.grpo()")
    if isinstance(scheme, Scheme):
        others: tuple[Scheme, ...] = (scheme,)
    else:
        others = checks.members("scheme", scheme, Scheme, "Scheme", example)
    if not others:
        checks.fail("scheme", scheme, "must hold at least one scheme", example)
    path = (relative_to, *others)
    for before, after in pairwise(path):
        if before == after or not differing(before, after):
            checks.fail("scheme", after, f"must differ in a slot from {before.name!r}, which it is set beside",
                        "change one, for example with dataclasses.replace")
    names = [each.name for each in path]
    return tuple(each if names.count(each.name) == 1 else replace(each, name=f"{each.name} {i}")
                 for i, each in enumerate(path, start=1))


def attributed(path: Sequence[Scheme], setting: Setting, say: Callable[[str], None]
               ) -> tuple[tuple[WhatIf, ...], tuple[SlotShare, ...], list[Note]]:
    """The drift under each scheme of a path, the shares of the slots in which neighbours differ, and what to say."""
    drifts: list[WhatIf] = []
    shares: list[SlotShare] = []
    notes: list[Note] = [MIXTURES]
    for before, after in pairwise(path):
        say(f"from {before.name} to {after.name}")
        first, last, found, said = _leg(before, after, setting)
        drifts += [last] if drifts else [first, last]
        shares += found
        notes += said
    return tuple(drifts), tuple(shares), list(dict.fromkeys(notes))


def _leg(before: Scheme, after: Scheme, setting: Setting) -> tuple[WhatIf, WhatIf, list[SlotShare], list[Note]]:
    """Both drifts, and the share of each slot in their difference."""
    slots = differing(before, after)
    players = players_of(before, after, [slot for slot in slots if slot not in setting.idle])
    notes = [Note("together", f"{' and '.join(each)} change together: apart from each other they make no scheme")
             for each in players if len(each) > 1]

    def looked(one: Scheme, other: Scheme) -> Numbers:
        """The numbers of all coalitions."""
        return mapped(lambda *each: np.stack(each), *setting.look(mixtures(one, other, players)))

    own = looked(before, after)
    under = {}
    for name, one, other in _under_critics(before, after):
        try:
            under[name] = looked(one, other)
        except (NoClosedForm, ValueError) as reason:
            notes.append(Note("critic", f"no critic was given, and what one would do that is {name} is not told: "
                              f"{reason}"))
    named = _assumed(before, after)[:1]
    notes += [Note("critic", f"no critic was given, so {name} is taken") for name, _ in named]

    def doubts(numbers: Numbers, per_kl: Estimate, elsewhere: list[float], has_critic: bool = True
               ) -> tuple[Doubt, ...]:
        """The kernel, and the critic where nobody gave it."""
        critics = [Doubt(unknown="critic", options=(named[0][0], *under), lengths=np.array([float(per_kl), *elsewhere]))
                   ] if under and has_critic else []
        return (*setting.kernels(numbers, per_kl), *critics)

    def drift(scheme: Scheme, coalition: int) -> WhatIf:
        numbers = mapped(lambda x: x[coalition], own)
        length, per_kl = setting.estimates(numbers)
        elsewhere = [float(each.values[coalition, 1]) for each in under.values()]
        return WhatIf(change=scheme.name, length=length, length_per_kl=per_kl,
                      doubts=doubts(numbers, per_kl, elsewhere, bool(scheme.advantage.assumed_critics)))

    all_shares = _shares(own)
    others = [_shares(each).values[:, 1] for each in under.values()]
    shares = []
    for i, player in enumerate(players):
        numbers = mapped(lambda x, i=i: x[i], all_shares)
        length, per_kl = setting.estimates(numbers)
        shares.append(SlotShare(slots=player, before=before.name, after=after.name, length=length, length_per_kl=per_kl,
                                change=_change(before, after, player),
                                doubts=doubts(numbers, per_kl, [float(each[i]) for each in others])))
    nothing = Estimate(value=0.0)
    for slot in slots:
        if slot in setting.idle:
            shares.append(SlotShare(slots=(slot,), before=before.name, after=after.name, length=nothing,
                                    length_per_kl=nothing, change=_change(before, after, (slot,))))
            notes.append(Note("idle", f"{slot} does not bear on {setting.idle[slot]}"))
    return drift(before, 0), drift(after, -1), shares, notes


def _shares(numbers: Numbers) -> Numbers:
    """The shares of the players, from the numbers of their coalitions."""
    return Numbers(values=shapley(numbers.values), errors=shapley_errors(numbers.errors), draws=shapley(numbers.draws))


def _assumed(before: Scheme, after: Scheme) -> Sequence[tuple[str, Any]]:
    """The critics that may be meant where one of both schemes has none given."""
    return before.advantage.assumed_critics or after.advantage.assumed_critics


def _under_critics(before: Scheme, after: Scheme) -> Iterator[tuple[str, Scheme, Scheme]]:
    """Both schemes with each other critic that may be meant."""
    for name, critic in _assumed(before, after)[1:]:
        one, other = (replace(each, advantage=each.advantage.with_critic(critic)) if each.advantage.assumed_critics
                      else each for each in (before, after))
        yield name, one, other


def _change(before: Scheme, after: Scheme, player: Player) -> str:
    """What fills the slots before and after."""
    return "; ".join(f"{_said(getattr(before, slot))} → {_said(getattr(after, slot))}" for slot in player)


def _said(value: object) -> str:
    if isinstance(value, Reward):
        shaped = "" if value.shaping is None else f", with {short(value.shaping)}"
        return value.text.removeprefix("reward ") + shaped
    if value is None or value == ():
        return "none"
    return value if isinstance(value, str) else short(value)


# --- on a policy ------------------------------------------------------------------------------------------------


def attribution_of_policy(scheme: Scheme | Sequence[Scheme], policy: Policy, *, relative_to: Scheme,
                          method: Literal["exact", "monte_carlo"] = "exact", rng: np.random.Generator | None = None,
                          batches: int | None = None, old_policy: Policy | None = None,
                          reference: Policy | None = None, kernels: Kernels | Sequence[Coordinates] | None = None,
                          progress: bool = False) -> Attribution:
    """See :func:`lossim.attribute`; keywords are those of :func:`lossim.drift`."""
    path = path_of(scheme, relative_to)
    case, how = case_of(path[0], policy, method, rng, batches, old_policy, reference, kernels)
    setting = Setting(look=partial(_exact, case), idle=FIRST_STEP)
    if case.seed is not None:
        total = BATCHES if batches is None else checks.whole("batches", batches, low=16 * REPLICATES,
                                                             fix=f"each of {REPLICATES} sets takes at least 16")
        seeds = [int(each) for each in np.random.default_rng(case.seed).integers(2**62, size=REPLICATES)]
        sets = [replace(case, seed=seed, batches=-(-total // REPLICATES)) for seed in seeds]
        setting = Setting(look=partial(_sampled, sets), idle=FIRST_STEP, method="monte carlo", n=total,
                          widening=1.0 / np.sqrt(REPLICATES - 1))
    with Progress(checks.flag("progress", progress)) as reporter:
        drifts, shares, said = attributed(path, setting, reporter.say)
    notes = [note for each in path for note in _notes(case, each)]
    return Attribution(schemes=path, subject=repr(policy), drifts=drifts, shares=shares,
                       notes=(*said, *dict.fromkeys(notes)), provenance=how)


def _notes(case: OnPolicy, scheme: Scheme) -> list[Note]:
    """What was assumed under one of the schemes."""
    question = replace(case.question, scheme=scheme)
    doubts = [*unsettled_notes(scheme), NOT_SETTLED] if scheme.doubts else []
    return [*doubts, *setting_notes(question, question.step)]


def _exact(case: OnPolicy, schemes: Sequence[Scheme]) -> list[Numbers]:
    """By sums over the law of a step."""
    found = []
    for scheme in schemes:
        headline = _under(case, scheme).headline()
        nats = np.array([1.0, headline.nats, *headline.over_nats])
        lengths = np.array([headline.told, headline.told, *headline.told_over])
        # Tokens per unit step are as they are, the others in a step of so many nats.
        scale = np.sqrt(quotient(np.array([1.0, *[NATS] * (len(nats) - 1)]), nats, nothing=0.0))
        found.append(Numbers(values=lengths * scale, errors=headline.error * scale, draws=np.zeros((2, 0))))
    return found


def _sampled(sets: Sequence[OnPolicy], schemes: Sequence[Scheme]) -> list[Numbers]:
    """From sampled steps, every scheme from the same streams of random numbers."""
    found = []
    for scheme in schemes:
        drifts = [_under(case, scheme).drift() for case in sets]
        draws = np.array([[float(each.length), float(each.length_per_kl)] for each in drifts]).T
        over = np.array([[doubt.lengths for doubt in each.doubts if doubt.unknown == "kernel"] for each in drifts])
        values = np.concatenate([draws.mean(axis=1), over.mean(axis=0).ravel()])
        found.append(Numbers(values=values, errors=np.zeros_like(values), draws=draws))
    return found


def _under(case: OnPolicy, scheme: Scheme) -> OnPolicy:
    return replace(case, question=replace(case.question, scheme=scheme))
