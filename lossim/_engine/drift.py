"""The front door: what a scheme does to response length, by either method, as one result type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Literal

import numpy as np

from lossim._engine.changes import RATIOS, Changes, Value
from lossim._engine.effective import effective_reward
from lossim._engine.exact import Expected, update_scale
from lossim._engine.gradients import update_gradient
from lossim._engine.headline import PARTS
from lossim._engine.monte_carlo import BLOCKS, sampled_drift
from lossim._engine.over_critics import critic_doubt
from lossim._engine.over_kernels import checked_family
from lossim._engine.over_schemes import length_under, scheme_doubts
from lossim._engine.pace import Pace, clock
from lossim._engine.readout import Readout, changes_of_length
from lossim._engine.report import Question, Report, reported, response_weight
from lossim._engine.result import Drift
from lossim._engine.side_by_side import measures_at_once
from lossim._engine.spread import spread_notes, step_std
from lossim._engine.step import Step
from lossim._model import Coordinates, Directions, Kernels, Logits, Squares
from lossim._support import checks
from lossim._support.doubts import Doubt
from lossim._support.records import Record
from lossim._support.text import Note
from lossim._support.types import FloatArray, NoClosedForm
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme


def drift(scheme: Scheme, policy: Policy, method: Literal["exact", "monte_carlo"] = "exact", *,
          rng: np.random.Generator | None = None, batches: int | None = None, old_policy: Policy | None = None,
          reference: Policy | None = None, kernels: Kernels | Sequence[Coordinates] | None = None,
          pace: Pace | None = None, progress: bool = False) -> Drift:
    """The expected effect of one step of ``scheme`` on ``policy``; see :func:`lossim.drift`."""
    if not isinstance(scheme, Scheme):
        checks.fail("scheme", scheme, "must be a Scheme", "for example schemes.grpo()", TypeError)
    if not isinstance(policy, Policy):
        checks.fail("policy", policy, "must be a Policy", "for example policies.two_paths(...)", TypeError)
    checks.choice("method", method, ("exact", "monte_carlo"))
    for name, other in (("old_policy", old_policy), ("reference", reference)):
        if other is not None and not isinstance(other, Policy):
            checks.fail(name, other, "must be a Policy", "leave it out for the policy itself", TypeError)
    question = Question(scheme=scheme, policy=policy, reference=reference or policy, old=old_policy or policy,
                        kernels=checked_family(kernels))
    check_alike(policy, reference=question.reference, old_policy=question.old)
    step = question.step
    if method == "exact":
        for name, given in (("rng", rng), ("batches", batches)):
            if given is not None:
                checks.fail(name, given, "is only for sampling", "leave it out, or pass method='monte_carlo'")
        return at_pace(_exact_drift(question, step), pace)
    if not isinstance(rng, np.random.Generator):
        checks.fail("rng", rng, "must be a numpy Generator for Monte Carlo", "pass rng=np.random.default_rng(0)",
                    TypeError)
    if batches is None:
        batches = max(BLOCKS, (1 << 18) // scheme.responses_per_step)
    count = checks.whole("batches", batches, low=16, fix="fewer give no standard error worth the name")
    return at_pace(sampled_drift(question, step, rng, count, progress), pace)


def at_pace(result: Drift, pace: Pace | None) -> Drift:
    """The drift, with its speed where a pace is given."""
    return result if pace is None else result.but(paced=clock(result, pace))


def check_alike(policy: Policy, *, reference: Policy, old_policy: Policy) -> None:
    """Policies that a step compares must have the same cells, and the one that draws the same prompts and grades."""
    if reference is policy and old_policy is policy:
        return
    mine = policy.arrays
    for name, other in (("reference", reference), ("old_policy", old_policy)):
        if mine.cell_names != other.arrays.cell_names or mine.max_tokens != other.max_tokens:
            checks.fail(name, other, "must have the classes, paths and max_tokens of the policy")
    drawn = old_policy.arrays
    if not np.array_equal(mine.class_weight, drawn.class_weight):
        checks.fail("old_policy", old_policy, "must have the class weights of the policy", "use reweighted(...)")
    alike = np.array_equal(_untrained(policy), _untrained(old_policy)) and np.array_equal(mine.others, drawn.others)
    if not alike:
        checks.fail("old_policy", old_policy, "must be graded as the policy is (p_correct, p_correct_truncated)")


def _untrained(policy: Policy) -> FloatArray:
    """P(correct | end) without the skill that training has added, [cell, end]."""
    plain = [path.moved(path.probability, path.laws, [-skill for skill in path.skills]) for path in policy.paths]
    return np.concatenate([path.correctness(policy.max_tokens) for path in plain])


def _exact_drift(question: Question, step: Step) -> Drift:
    """The drift by sums over the law of a step: its gradient now, all that is read off that when somebody looks."""
    numbers = ExactNumbers(question=question, step=step, expected=measures_at_once(step))
    report = Report(question=question, step=step, directions=numbers.directions, gradient=numbers.gradient,
                    number=numbers.number, said=numbers.notes, open=numbers.doubts, how={"method": "exact"})
    return reported(report, partial(_spread, question))


OF_HEAD = ("length", "hazard_gradient", "path_gradient", "skill_gradient", "update")
"""Numbers that nothing else has to be read off for."""
TOKENS = ("length", "within", "composition", "needed", "free", "length_by_class", "length_by_path",
          "length_by_outcome", "sources")
"""Those that are measured in tokens."""
LOGITS = ("hazard_gradient", "path_gradient", "skill_gradient", "update")
"""Those that are of logits."""


class ExactNumbers(Record):
    """The numbers of a drift by sums over the law of a step."""

    question: Question
    step: Step
    expected: Expected

    @property
    def directions(self) -> Directions:
        """What depends on the policy alone."""
        return self.question.policy.directions

    @cached_property
    def readout(self) -> Readout:
        """What reads an update."""
        return Readout(directions=self.directions, task=self.step.task, scale=update_scale(self.step))

    @cached_property
    def gradient(self) -> Logits:
        """The update in the logits."""
        return update_gradient(self.step, self.expected.measures, self.directions.motion.skill_scale > 0)

    @cached_property
    def head(self) -> Changes:
        """The change of mean length, and what the update is."""
        return changes_of_length(self.directions, self.gradient)

    @cached_property
    def changes(self) -> Changes:
        """Every number that is linear in it, but for rewards in effect and weights of responses."""
        found = self.readout.read(self.gradient)
        return replace(found, length=self.head.length, sources=self.readout.sources(self.step, self.expected.measures))

    @cached_property
    def squares(self) -> Squares:
        """How far the update goes."""
        return self.head.squares(self.directions)

    def value(self, name: str) -> Value:
        """A number by its name in ``Changes`` or ``Ratios``."""
        if name == "effective_reward":
            return effective_reward(self.step.policy, self.gradient.stops)
        if name == "response_weight":
            return response_weight(self.step, self.expected.measures)
        if name == "length_per_kl":
            return self.readout.length_per_kl(self.head, self.squares)
        if name in RATIOS:
            return getattr(self.readout, name)(self.changes, self.squares)
        return getattr(self.head if name in OF_HEAD else self.changes, name)

    def number(self, name: str) -> Estimate | None:
        """The same as an estimate; None where the scheme has no such number."""
        value = self.value(name)
        return None if value is None else self.estimate(name, value)

    def estimate(self, name: str, value: Value) -> Estimate:
        """A number with its error, by its name."""
        numbers = np.asarray(value)
        largest = float(np.fmax.reduce(numbers, axis=None, initial=0.0))
        lowest = float(np.fmin.reduce(numbers, axis=None, initial=0.0))
        size = max(largest, -lowest)
        error = self.expected.relative_error(self.step.scheme) * max(self.uncancelled(name), size)
        if self.expected.finite_batch:
            error += self.expected.finite_batch * max(self.kinds if name in TOKENS else 0.0, size)
        return Estimate(value=value, error=error, method=self.expected.method)

    def uncancelled(self, name: str) -> float:
        """How large what adds up to a number is before anything cancels, to which rounding errors are relative.

        0 where that is no more than the number itself.
        """
        if name in TOKENS:
            # What a quadrature misses is more than rounding, and worth a closer look at what it is relative to.
            if self.expected.error:
                return self._contributions
            paths = 0.0 if name == "length" else float(self.directions.largest_by_paths)
            return PARTS * self.readout.scale * max(float(self.directions.largest), paths)
        if name in LOGITS:
            return self.readout.scale
        return self._accuracy if name == "accuracy" else 0.0

    @cached_property
    def _contributions(self) -> float:
        """The same of mean length by what tokens contribute, and paths with all of their mean length."""
        changes = self.changes
        by_path = np.abs(self._mixing * self.step.policy.mean_length_by_path).sum()
        at_least = self.readout.scale * float(self.directions.largest)
        return max(float(np.abs(changes.sources).sum() + by_path), at_least)

    @property
    def _mixing(self) -> FloatArray:
        """What is added to the chance of each path, [path]."""
        policy = self.step.policy
        return policy.class_weight[policy.layout.class_of_path] * self.changes.path_probability

    @cached_property
    def _accuracy(self) -> float:
        """The same of accuracy: what becomes more likely by paths, and the rest by what happens on them."""
        policy = self.step.policy
        chosen = self._mixing * policy.layout.by_path(policy.law[:, 0].sum(axis=-1))
        return float(np.abs(chosen).sum() + abs(float(self.changes.accuracy) - chosen.sum()))

    @cached_property
    def kinds(self) -> float:
        """What each kind of response adds to mean length: a finite step weighs them by other numbers than a large one.
        """
        return float(np.abs(self.changes.sources.sum(axis=(2, 3))).sum())

    @cached_property
    def _open(self) -> tuple[list[Doubt], list[Note], list[Note]]:
        """What is not known of the scheme and its critic, and what there is to say of the critic and of the scheme."""
        step = self.step
        own = _told(self.estimate("length", self.head.length), self.value("length_per_kl"))
        length = length_under(step, self.directions)
        critic, notes = critic_doubt(step.scheme, float(own), length)
        unsettled, about_scheme = scheme_doubts(self.question.scheme, own, length)
        return [*critic, *unsettled], notes, about_scheme

    def doubts(self) -> list[Doubt]:
        """What is not known beside the kernel."""
        return self._open[0]

    def notes(self) -> list[str]:
        """What was taken to a limit, and what there is to say of what is not known."""
        _, of_critic, of_scheme = self._open
        return [*of_critic, *self.expected.notes, *spread_notes(self.step), *of_scheme]


def first_step_doubts(scheme: Scheme, policy: Policy, reference: Policy) -> tuple[Doubt, ...]:
    """What is not known of a scheme and its critic, and where the first expected step of a run goes under each option.

    In tokens in a step of 0.01 nats; nothing where the scheme itself has no closed form.
    """
    step = Question(scheme=scheme, policy=policy, old=policy, reference=reference).step
    length = length_under(step, policy.directions)
    try:
        own = length(scheme)
    except NoClosedForm:
        return ()
    critic, _ = critic_doubt(scheme, float(own), length)
    unsettled, _ = scheme_doubts(scheme, own, length)
    return (*critic, *unsettled)


def _told(length: Estimate, length_per_kl: float) -> Estimate:
    """``length_per_kl`` with the error that ``length`` has; 0 where nothing moves, or where it is a rounding error."""
    size = abs(float(length))
    limit = length.method == "large-batch limit"
    if np.isnan(length_per_kl) or size == 0.0 or (size <= float(length.error) and not limit):
        return Estimate(value=0.0)
    return Estimate(value=length_per_kl, error=float(length.error) / size * abs(length_per_kl), method=length.method)


def _spread(question: Question) -> Estimate:
    """The spread of a single step, for whoever asks a result."""
    return step_std(question.step, question.policy.directions)
