"""Both verbs on a policy: what a change does to its drift, and where that is zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lossim._changes.case import Case
from lossim._changes.knobs import chosen_knobs
from lossim._changes.results import AS_IT_IS, NOT_SETTLED, ONE_AT_A_TIME, Stops, WhatIf, WhatIfs
from lossim._changes.roots import found_stops
from lossim._changes.settings import changed
from lossim._engine import (
    Drift,
    Headline,
    Question,
    check_alike,
    checked_family,
    describe_policy,
    describe_rng,
    describe_scheme,
    drift,
    family_of,
    headline_of,
    setting_notes,
    unsettled_notes,
    versions,
)
from lossim._model import Coordinates, Kernels
from lossim._support import checks
from lossim._support.doubts import Doubt
from lossim._support.progress import Progress
from lossim._support.records import Record
from lossim._support.text import Note
from lossim._support.types import FloatArray, NoClosedForm
from lossim.estimates import Estimate
from lossim.penalties import KL
from lossim.policies import Policy
from lossim.rewards import LinearPenalty, Reward, Shaping
from lossim.schemes import Scheme

RARE = 1e-6
"""A share of truncated responses below which nothing that is done to them is worth a line."""
UNKNOWN = Estimate(value=np.nan)


class OnPolicy(Record, Case):
    """A scheme on a policy, in one step or in ``many_steps``, after which a KL to the start has grown.

    ``seed`` is None where nothing is sampled, else that of every sampled step alike.
    """

    question: Question
    seed: int | None = None
    batches: int | None = None
    many_steps: bool = False

    @property
    def scheme(self) -> Scheme:
        return self.question.scheme

    @property
    def policy(self) -> Policy:
        return self.question.policy

    @property
    def old(self) -> Policy | None:
        return None if self.question.old is self.policy else self.question.old

    @property
    def reference(self) -> Policy | None:
        """What a KL compares with where it is another policy."""
        return None if self.question.reference is self.policy else self.question.reference

    @property
    def max_tokens(self) -> int:
        return self.policy.max_tokens

    @property
    def cut_share(self) -> float:
        share = float(self.policy.truncation_rate)
        return share if share > RARE else 0.0

    @property
    def mean_length(self) -> float:
        return float(self.policy.mean_length)

    @cached_property
    def _mass(self) -> FloatArray:
        """P(grade, end), [1, grade, end], or by cell where what is paid differs by cell."""
        mass: FloatArray = self.policy.cell_weight[:, None, None] * self.policy.law
        return mass if len(self.question.step.task) > 1 else mass.sum(axis=0, keepdims=True)

    @property
    def pay(self) -> FloatArray:
        return self.question.step.task[self._mass > 0]

    @property
    def paid_if_cut(self) -> float:
        return float(np.average(self.question.step.task[..., -1], weights=self._mass[..., -1]))

    @property
    def kl(self) -> KL | None:
        own = self.scheme.kl_in_reward or self.scheme.kl_in_loss
        grows = self.many_steps or self.reference is not None
        return own or (KL(coefficient=0.0, estimator="k3") if grows else None)

    @property
    def settled(self) -> OnPolicy:
        """The scheme without its doubts."""
        return replace(self, question=replace(self.question, scheme=self.scheme.settled))

    @property
    def _shapings(self) -> tuple[Any, ...]:
        given = self.scheme.reward.shaping
        return () if given is None else given if isinstance(given, tuple) else (given,)

    @property
    def _penalty(self) -> int | None:
        """Which shaping is the last linear penalty."""
        linear = [i for i, each in enumerate(self._shapings) if isinstance(each, LinearPenalty)]
        return linear[-1] if linear else None

    @property
    def price(self) -> float:
        at = self._penalty
        return 0.0 if at is None else float(self._shapings[at].slope)

    def priced(self, slope: float) -> OnPolicy:
        shapings = list(self._shapings)
        at = self._penalty
        if at is None:
            shapings.append(LinearPenalty(slope=slope))
        else:
            shapings[at] = replace(shapings[at], slope=slope)
        if slope == 0.0:  # a price of nothing leaves rewards as few as they are
            shapings = [each for each in shapings if not (isinstance(each, LinearPenalty) and each.slope == 0.0)]
        return self._rewarded(replace(self.scheme.reward, shaping=tuple(shapings)))

    def using(self, **slots: Any) -> OnPolicy:
        return replace(self, question=replace(self.question, scheme=replace(self.scheme, **slots)))

    def paying(self, reward: Reward) -> OnPolicy | None:
        mine = self.scheme.reward
        other = replace(mine, correct=reward.correct, incorrect=reward.incorrect, truncated=reward.truncated)
        right, cut = np.array([True, False])[:, None], np.array([False, True])
        occurs = self._mass[:, :2].sum(axis=(0, 2))[:, None] > 0
        paid, now = (replace(each, shaping=None, grades={}).values(1, right, cut) for each in (other, mine))
        if np.array_equal(np.where(occurs, paid, 0.0), np.where(occurs, now, 0.0)):
            return None
        return self._rewarded(other)

    def shaped(self, shaping: Shaping) -> OnPolicy:
        return self._rewarded(replace(self.scheme.reward, shaping=(*self._shapings, shaping)))

    def _rewarded(self, reward: Reward) -> OnPolicy:
        return self.using(reward=reward)

    def recapped(self, max_tokens: int) -> OnPolicy:
        return self._moved_to({each: each.recapped(max_tokens) for each in
                               (self.policy, self.question.old, self.question.reference)})

    def on(self, policy: Policy) -> OnPolicy:
        return self._moved_to({self.policy: policy})

    def moving_by(self, coordinates: Coordinates) -> OnPolicy:
        """The policy in other coordinates, and no kernels beside them."""
        moved = self.on(replace(self.policy, coordinates=coordinates))
        return replace(moved, question=replace(moved.question, kernels=()))

    def _moved_to(self, others: dict[Policy, Policy]) -> OnPolicy:
        """Each policy of the question as it is told."""
        asked = self.question
        policy = others[asked.policy]
        question = replace(asked, policy=policy, old=others.get(asked.old, asked.old),
                           reference=others.get(asked.reference, asked.reference))
        return replace(self, question=question)

    # --- its drift ------------------------------------------------------------------------------------------------

    def drift(self) -> Drift:
        """All numbers of it."""
        how: dict[str, Any] = {"old_policy": self.old, "reference": self.reference, "kernels": self.question.kernels}
        if self.seed is not None:
            how |= {"method": "monte_carlo", "rng": np.random.default_rng(self.seed), "batches": self.batches}
        return drift(self.scheme, self.policy, **how)

    def lengths(self) -> FloatArray:
        if self.seed is not None:
            found = self.drift()
            over = [np.nan_to_num(doubt.lengths) for doubt in found.doubts if doubt.unknown == "kernel"]
            return np.concatenate([[float(found.length)], *over])
        headline = self.headline()
        return np.append(headline.told, headline.told_over)

    def headline(self) -> Headline:
        """The drift of mean length and nothing else, exact, and that under each kernel."""
        kernels = family_of(self.question.kernels, self.policy.coordinates)
        return headline_of(self.question.step, self.policy.directions, kernels)

    def noise(self) -> float:
        return 0.0 if self.seed is None else float(self.drift().length.stderr)


def what_if_of_policy(scheme: Scheme, policy: Policy, *, method: Literal["exact", "monte_carlo"] = "exact",
                      rng: np.random.Generator | None = None, batches: int | None = None,
                      old_policy: Policy | None = None, reference: Policy | None = None,
                      kernels: Kernels | Sequence[Coordinates] | None = None, progress: bool = False) -> WhatIfs:
    """See :func:`lossim.what_if`; keywords are those of :func:`lossim.drift`."""
    case, how = case_of(scheme, policy, method, rng, batches, old_policy, reference, kernels)
    found = []
    with Progress(progress) as reporter:
        for words, other in [(AS_IT_IS, case), *changed(case.settled)]:
            reporter.say(words)
            found.append(_what_if(words, other))
    return WhatIfs(scheme=scheme, subject=repr(policy), now=found[0], changes=tuple(found[1:]),
                   notes=_notes(case), provenance=how)


def stops_of_policy(scheme: Scheme, policy: Policy, knob: str | None = None, *,
                    method: Literal["exact", "monte_carlo"] = "exact", rng: np.random.Generator | None = None,
                    batches: int | None = None, old_policy: Policy | None = None, reference: Policy | None = None,
                    kernels: Kernels | Sequence[Coordinates] | None = None, progress: bool = False) -> Stops:
    """See :func:`lossim.stops`; keywords are those of :func:`lossim.drift`."""
    case, how = case_of(scheme, policy, method, rng, batches, old_policy, reference, kernels)
    notes: list[Note] = [*_notes(case)]
    with Progress(progress) as reporter:
        found = found_stops(chosen_knobs(case.settled, knob), reporter.say)
    length = float("nan")
    doubts: tuple[Doubt, ...] = ()
    try:
        length = float(case.settled.lengths()[0])
        doubts = case.drift().doubts
    except NoClosedForm as reason:
        notes.insert(0, Note("not computed", f"as it is: {reason}"))
    return Stops(scheme=scheme, subject=repr(policy), length=length, stops=found, doubts=doubts, notes=tuple(notes),
                 provenance=how)


def case_of(scheme: Scheme, policy: Policy, method: str, rng: np.random.Generator | None, batches: int | None,
            old_policy: Policy | None, reference: Policy | None, kernels: Kernels | Sequence[Coordinates] | None,
            *, many_steps: bool = False) -> tuple[OnPolicy, dict[str, Any]]:
    """The case, checked, and what it takes to ask again."""
    checks.choice("method", method, ("exact", "monte_carlo"))
    for name, other in (("old_policy", old_policy), ("reference", reference)):
        if other is not None:
            checks.of_kind(name, other, Policy, "a Policy", "leave it out for the policy itself")
    question = Question(scheme=scheme, policy=policy, reference=reference or policy, old=old_policy or policy,
                        kernels=checked_family(kernels))
    check_alike(policy, reference=question.reference, old_policy=question.old)
    how: dict[str, Any] = {"method": method, "scheme": describe_scheme(scheme), "policy": describe_policy(policy),
                           **versions()}
    seed = None
    if method == "monte_carlo":
        source = checks.of_kind("rng", rng, np.random.Generator, "a numpy Generator for Monte Carlo",
                                "pass rng=np.random.default_rng(0)")
        how |= {"rng": describe_rng(source), "batches": batches}
        seed = int(source.integers(2**62))
    elif rng is not None or batches is not None:
        checks.fail("rng" if rng is not None else "batches", rng if rng is not None else batches,
                    "is only for sampling", "leave it out, or pass method='monte_carlo'")
    return OnPolicy(question=question, seed=seed, batches=batches,
                    many_steps=many_steps), how


def as_it_is(scheme: Scheme) -> list[Note]:
    """What is not settled about a scheme that is changed."""
    return [*unsettled_notes(scheme), NOT_SETTLED] if scheme.doubts else []


def _notes(case: OnPolicy) -> tuple[Note, ...]:
    """What was assumed."""
    question = case.question
    return (*as_it_is(question.scheme), ONE_AT_A_TIME, *setting_notes(question, question.step))


def _what_if(words: str, case: OnPolicy) -> WhatIf:
    """The drift under a change, or why there is none."""
    try:
        found = case.drift()
    except (NoClosedForm, ValueError) as reason:
        return WhatIf(change=words, length=UNKNOWN, length_per_kl=UNKNOWN, note=f"not computed: {reason}")
    return WhatIf(change=words, length=found.length, length_per_kl=found.length_per_kl, alignment=found.alignment,
                  doubts=found.doubts)
