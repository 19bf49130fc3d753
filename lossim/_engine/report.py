"""From numbers to the result that a user sees."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy

from lossim._engine.changes import Changes
from lossim._engine.effective import effective_reward
from lossim._engine.measures import Measures, ResponseTerm, by_outcome
from lossim._engine.over_kernels import Family, KernelLengths, family_of, lengths_over
from lossim._engine.readout import NATS, Readout
from lossim._engine.remarks import no_pull, other_work, start_notes
from lossim._engine.result import Drift
from lossim._engine.step import Step
from lossim._model import Directions, Kernel, Logits
from lossim._support.doubts import Doubt
from lossim._support.memory import keep_pages
from lossim._support.plain import plain
from lossim._support.positions import blocks
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.text import Note
from lossim._support.types import BoolArray, FloatArray
from lossim.estimates import Estimate
from lossim.policies import Path, Policy, Work
from lossim.schemes import Scheme

STANDARD_ERRORS = {"monte carlo": 3.0, "bootstrap": 2.0}
"""Standard errors within which a sampled change is not told from none."""


Spread = Estimate | Callable[[], Estimate]
"""The spread of a single step, or what works it out."""


LATER = tuple(each.name for each in fields(Drift) if each.name not in ("spread", "scheme", "policy", "paced"))
"""The fields of a result that are worked out when somebody looks."""


class Question(Record):
    """What was asked, in a user's own objects: a scheme on a policy; the others are the policy itself unless given.

    ``kernels`` are those that the sign is looked at under; None for the default.
    """

    scheme: Scheme
    policy: Policy
    old: Policy
    reference: Policy
    kernels: Family | None = None

    @property
    def step(self) -> Step:
        """The step that engines see."""
        keep_pages()  # who asks once mostly asks again
        policy = self.policy.arrays
        return Step(scheme=self.scheme, policy=policy, reference=self.reference.arrays, old=self.old.arrays)


def linear_numbers(step: Step, readout: Readout, measures: Measures) -> Changes:
    """Every linear number of some measures; no weights of responses where each token has its own advantage."""
    changes = readout.changes(step, measures)
    return replace(changes, effective_reward=effective_reward(step.policy, changes.hazard_gradient),
                   response_weight=response_weight(step, measures))


def response_weight(step: Step, measures: Measures) -> FloatArray | None:
    """n·weight·E[advantage] by [cell, outcome, t], NaN where nothing ends; None where each token has its own.

    It is the measure over the probability.
    """
    if not isinstance(measures.credit, ResponseTerm):
        return None
    ungained = measures.credit.ungained
    total = measures.credit.total.ended if ungained is None else ungained
    ratio = np.full((len(total), 3, total.shape[-1] - 1), np.nan)
    for cells in blocks(*ratio.shape[::2]):
        mass = by_outcome(step.old.law[cells] * step.old.cell_weight[cells, None, None])
        share = quotient(by_outcome(total[cells]), mass, nothing=np.nan)
        ratio[cells, :2] = share[:, :2, :-1]
        ratio[cells, 2, -1] = share[:, 2, -1]
    return ratio


class Report(Record):
    """What a result is told from: its fields by name, each worked out when it is asked for.

    ``number`` gives those of ``Changes`` and ``Ratios`` as estimates, ``gradient`` is the gradient itself, and
    ``said`` and ``open`` are notes and doubts beside those of every result; ``how`` is the provenance of the method.
    """

    question: Question
    step: Step
    directions: Directions
    gradient: Logits
    number: Callable[[str], Any]
    said: Callable[[], Sequence[str]]
    open: Callable[[], Sequence[Doubt]]
    how: dict[str, Any]

    def field(self, name: str) -> Any:
        """A field of the result."""
        if name in ("undecided", "doubts", "notes", "provenance"):
            return getattr(self, name)
        number = self.number(name)
        return _by_class(self.question.policy, number) if name == "path_gradient" else number

    @cached_property
    def over(self) -> KernelLengths | None:
        """Mean length under plausible kernels."""
        family = family_of(self.question.kernels, self.question.policy.coordinates)
        return lengths_over(family, self.directions, self.gradient)

    @property
    def undecided(self) -> BoolArray:
        """Whether the mean length of each path goes both ways under some of the kernels, [path]."""
        if self.over is None:
            return np.zeros(self.question.policy.layout.paths, dtype=bool)
        by_path = self.over.by_path
        small = np.broadcast_to(self.number("length_by_path").error, by_path.shape[1:])
        return np.any(by_path > small, axis=0) & np.any(by_path < -small, axis=0)

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """What is not known, the kernel first."""
        if self.over is None:
            return tuple(self.open())
        return (kernel_doubt(self.over, self.number("length"), self.number("length_per_kl")), *self.open())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed or approximated."""
        return (*self.said(), *_assumed(self.question, self.step))

    @property
    def provenance(self) -> dict[str, Any]:
        """What it takes to run it again."""
        question = self.question
        policy = question.policy
        return self.how | versions() | {
            "scheme": describe_scheme(question.scheme), "policy": describe_policy(policy),
            "reference": None if question.reference is policy else describe_policy(question.reference),
            "old_policy": None if question.old is policy else describe_policy(question.old)}


def reported(report: Report, spread: Spread) -> Drift:
    """The result; each field is worked out when somebody looks."""
    question = report.question
    if isinstance(question.kernels, tuple):
        _ = report.over  # coordinates that do not fit are told now
    return Drift.deferred(report.field, LATER, spread=spread, scheme=question.scheme, policy=question.policy)


def kernel_doubt(over: KernelLengths, change: Estimate, length_per_kl: Estimate) -> Doubt:
    """Tokens under each kernel, beside a change of mean length; NaN where nothing is told from rounding or noise."""
    known = not np.isnan(float(length_per_kl))
    lengths = np.where(known, over.per_kl, np.nan)
    # Rounding errors are those of the gradient, and so is its noise, in the unit of the kernels.
    per_unit = np.sqrt(quotient(NATS, over.nats))
    noise = STANDARD_ERRORS.get(change.method, 0.0) * np.nan_to_num(float(change.stderr))
    rounding = float(change.error)
    if change.method == "large-batch limit":
        noise = rounding
        rounding = 0.0
    return Doubt(unknown="kernel", options=_kernel_names(len(lengths)),
                 lengths=np.where(np.abs(lengths) <= rounding * per_unit, 0.0, lengths),
                 within=noise * float(np.median(per_unit)))


@cache
def _kernel_names(count: int) -> tuple[str, ...]:
    """What the members of a family are called."""
    return tuple(f"kernel {number}" for number in range(1, count + 1))


def _by_class(policy: Policy, by_path: Estimate) -> Estimate:
    """An estimate by path as one by [class, path], NaN where a class has fewer paths."""
    sizes = [len(prompts.paths) for prompts in policy.classes]
    path = np.concatenate([np.arange(size) for size in sizes])

    def table(x: Any) -> FloatArray:
        padded = np.full((len(sizes), max(sizes)), np.nan)
        padded[policy.layout.class_of_path, path] = np.broadcast_to(x, path.shape)
        return padded

    return replace(by_path, value=table(by_path.value), stderr=table(by_path.stderr), error=table(by_path.error))


def _assumed(question: Question, step: Step) -> list[Note]:
    """What there is to say of the scheme beside this policy, whatever the method."""
    notes = []
    scheme = question.scheme
    estimator = scheme.advantage.response_level
    if estimator is not None and not scheme.reward.group_relative:
        remark = estimator.remark(float(step.task.min()))
        if remark is not None:
            notes.append(Note("negative rewards", remark))
    notes += content_notes(scheme, question.policy) + setting_notes(question, step)
    if question.old is not question.policy:
        notes.append(Note("old policy", f"responses are drawn by the old policy, {question.old!r}"))
    if question.reference is not question.policy and (scheme.kl_in_loss or scheme.kl_in_reward):
        notes.append(Note("reference", f"KL is to the reference, {question.reference!r}"))
    return notes


def setting_notes(question: Question, step: Step) -> list[Note]:
    """What has no pull here, what cannot move, who is out of the loss, and what no ratio sees."""
    scheme = question.scheme
    policy = question.policy
    notes = start_notes(step, policy) + no_pull(step, question.reference is policy)
    if question.old is not policy:
        notes += other_work(policy, question.old, "old policy")
    held = [kl for kl in (scheme.kl_in_loss, scheme.kl_in_reward) if kl is not None and kl.to == "reference"]
    if any(kl.coefficient for kl in held):
        notes += other_work(policy, question.reference, "reference")
    return notes


def unsettled_notes(scheme: Scheme) -> list[Note]:
    """What is not settled about a scheme, a line each."""
    return [Note("not settled", str(unsettled), unsettled.unknown) for unsettled in scheme.doubts]


def content_notes(scheme: Scheme, policy: Policy) -> list[Note]:
    """What was assumed of the policy, and what a run leaves out of what happens to content."""
    notes = [note if isinstance(note, Note) else Note("policy", note) for note in policy.notes]
    if scheme.entropy is not None:
        notes.append(Note("entropy", "the entropy bonus is modelled on the decision to stop alone, which it shortens "
                          "where stops are rare; what it does to content is not, and runs with a bonus went to the "
                          "cap: the sign of its effect is undecided"))
    correctness = policy.arrays.correctness
    if policy.motion.skill_scale > 0 and not np.any(correctness * (1.0 - correctness)):
        notes.append(Note("skill", "skill_scale moves nothing here: chances to be correct of 0 and 1 stay, and this "
                          "policy has no others"))
    return notes


# --- what it takes to run a result again ------------------------------------------------------------------------


def describe_scheme(scheme: Scheme) -> dict[str, str | int]:
    """Every slot of a scheme, by name: words and counts as they are, the rest as it prints; doubts if there are any."""
    slots = {slot.name: getattr(scheme, slot.name) for slot in fields(Scheme)}
    return {name: value if isinstance(value, (str, int)) else repr(value) for name, value in slots.items()
            if name != "doubts" or value}


def describe_policy(policy: Policy) -> dict[str, Any]:
    """Classes, paths and coordinates of a policy: a kernel by its numbers; functions, laws, features as they print."""
    given = policy.coordinates
    coordinates: Any
    if isinstance(given, Kernel):
        coordinates = {name: getattr(given, name).tolist() for name in ("stops", "positions", "paths", "cross")}
    else:
        coordinates = repr(given)
    classes = [{"name": prompts.name, "weight": prompts.weight, "paths": [_path(path) for path in prompts.paths]}
               for prompts in policy.classes]
    return {"max_tokens": policy.max_tokens, "coordinates": coordinates, "classes": classes}


def _path(path: Path) -> dict[str, Any]:
    """The arguments of a path; what it takes to get there, other grades and skill only where it has them."""
    described = {"name": path.name, "probability": path.probability, "length": repr(path.length), **_graded(path)}
    if path.work is not None:
        described["work"] = {"answer": repr(path.work.answer), "never": path.work.never, "done": repr(path.work.done),
                             **_graded(path.work)}
    return described


def _graded(state: Path | Work) -> dict[str, Any]:
    """How often responses of a state are correct, and what else they are."""
    described = {"p_correct": _chance(state.p_correct), "p_correct_truncated": state.p_correct_truncated}
    if state.skill:
        described["skill"] = state.skill
    if state.grades:
        described["grades"] = {name: _chance(chance) for name, chance in state.grades.items()}
    return described


def _chance(given: Any) -> Any:
    return repr(given) if callable(given) else np.asarray(given).tolist()


def describe_rng(rng: np.random.Generator) -> Any:
    """The state of a generator; set as ``rng.bit_generator.state`` it gives the same numbers again."""
    return plain(dict(rng.bit_generator.state))


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    return dict(_versions())


@cache
def _versions() -> dict[str, str]:
    return {"lossim": version("lossim"), "numpy": np.__version__, "scipy": scipy.__version__,
            "python": platform.python_version()}
