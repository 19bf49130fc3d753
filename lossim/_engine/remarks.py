"""What there is to say of a scheme beside this policy: what has no pull, what cannot move, who is out of the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lossim._engine.average import Average
from lossim._engine.step import Step
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim.advantages import ResponseAdvantage, group_of
from lossim.aggregation import TokenSum
from lossim.policies import Policy
from lossim.rewards import Reward
from lossim.schemes import Scheme

ALIKE = 1.0 - 1e-12
"""A class of which this share is paid alike is paid alike."""
MANY = 0.5
"""Share of dead groups from which on it is worth a note."""
RARE = 0.99
"""Share of dead groups from which on hardly a step of a run moves anything."""
CUT = 0.01
"""The same of responses that are out of the loss."""
TINY = 1e-300
"""Masses are held above this before they divide."""
NAMED = 3
"""Classes that a note names."""


def start_notes(step: Step, policy: Policy) -> list[Note]:
    """What holds at the start of a run as in a single step: groups, classes that stand still, responses left out."""
    scheme = step.scheme
    notes = []
    estimator = scheme.advantage.response_level
    if estimator is not None and estimator.group_relative and scheme.group_size == 1:
        notes.append(Note("group of one", f"groups of one: {estimator.alone}"))
    notes += _standing_still(step, [prompts.name for prompts in policy.classes])
    notes += out_of_loss(scheme, float(step.old.truncation_rate))
    notes += _late(step)
    return notes + unpaid_grades(scheme.reward, policy.layout.grades)


def no_pull(step: Step, own_reference: bool) -> list[Note]:
    """A KL that is paid or differentiated, and is 0 with slope 0 all over, because it compares a policy with itself."""
    notes = []
    to = "the policy is its own reference" if own_reference else "policy and reference are alike"
    in_loss = step.scheme.kl_in_loss
    slope = step.kl_slope
    if in_loss is not None and in_loss.coefficient and slope is not None and not (slope.stop.any() or slope.go.any()):
        held = to if in_loss.to == "reference" else "the policy drew the batch itself"
        notes.append(Note("no pull", f"the KL in the loss ({in_loss.coefficient:g}) moves nothing in this step, "
                          f"whatever its coefficient: {held}"))
    in_reward = step.scheme.kl_in_reward
    if in_reward is not None and in_reward.coefficient and step.paid is None:
        notes.append(Note("no pull", f"the KL in the reward ({in_reward.coefficient:g}) takes nothing off in this "
                          f"step, whatever its coefficient: {to}"))
    return notes


def other_work(policy: Policy, other: Policy, called: str) -> list[Note]:
    """A policy to compare with whose answers come at other times, which no ratio of a decision to stop sees."""
    if np.array_equal(policy.arrays.arrival, other.arrays.arrival):
        return []
    differs = (policy.arrays.arrival != other.arrays.arrival).any(axis=1)
    source = policy.layout.moves.source[differs]
    named = dict.fromkeys(" / ".join(policy.layout.path_names[policy.layout.path_of_cell[cell]]) for cell in source)
    return [Note("work", f"answers come at other times in the {called} than in the policy ({_some(list(named))}): "
                 "ratios compare the decisions to stop before and after the answer, and not when it is there")]


def out_of_loss(scheme: Scheme, cut_share: float) -> list[Note]:
    """Truncated responses that are masked or removed."""
    if scheme.truncation == "keep" or cut_share < CUT:
        return []
    done = "masked" if scheme.truncation == "mask" else "removed"
    return [Note("out of the loss", f"{cut_share:.0%} of the responses are truncated and {done}: beside keeping them "
                 "the sign hangs on what they are, loops or answers on their way")]


def _late(step: Step) -> list[Note]:
    """How much a deadline drops."""
    selection = step.scheme.selection
    weights = step.old.class_weight
    if selection is None or step.in_time.all():
        return []
    responses = float((step.old.cell_weight @ step.old.ends)[~step.in_time].sum())
    if selection.drops == "response":
        return [Note("late", f"{responses:.2g} of the responses are late, and dropped")]
    groups = 1.0 - float(weights @ _in_time(step) ** step.scheme.group_size)
    return [Note("late", f"{groups:.2g} of the groups have a late response, {responses:.2g} of the responses are late: "
                 "other groups are drawn in their place")]


def unpaid_grades(reward: Reward, names: Sequence[str]) -> list[Note]:
    """Grades that a reward names and nobody has."""
    absent = [name for name in reward.grades if name not in names]
    if not absent:
        return []
    return [Note("grades", f"the reward pays {_some(absent)}, a grade that no path here gives")]


def _standing_still(step: Step, names: Sequence[str]) -> Iterator[Note]:
    """Classes that group-relative advantages cannot move, and how many other groups they leave as they are."""
    estimator = step.response_level
    if estimator is None or not estimator.group_relative:
        return
    if step.logged is not None or step.scheme.reward.group_relative:
        return
    size = step.scheme.group_size
    if size == 1 or not _nothing_if_alike(estimator, size):
        return
    shares, gone = _level_shares(step)
    counted = shares.sum(axis=1)
    still = shares.max(axis=1) >= ALIKE * counted
    weights = step.old.class_weight * _in_time(step) ** size
    weights = weights / max(float(weights.sum()), TINY)
    if (weights * still).sum() > 0:
        which = [repr(name) for name, each, weight in zip(names, still, weights, strict=True) if each and weight > 0]
        share = float(weights[still].sum())
        where = "anywhere" if share >= ALIKE else f"in {_some(which)} ({share:.0%} of the prompts)"
        yield Note("paid alike", f"the reward moves nothing {where}: all responses there are paid alike, and "
                   "advantages compare the responses to a prompt")
    # Σ over levels of P(all that count are at it), with those left out of the baseline.
    equal = ((shares + gone[:, None]) ** size - gone[:, None] ** size).sum(axis=1) + gone**size
    rest = float(weights[~still].sum())
    dead = float((weights * equal)[~still].sum())
    if rest > 0 and dead >= MANY * rest:
        others = " of the other" if still.any() else " of all"
        share = dead / rest
        said = f"{share:.0%}{others}" if share < RARE else f"all but {1.0 - share:.1g}{others}"
        speed = "" if share < RARE else "; a step of 0.01 nats is then many steps of a run"
        yield Note("dead groups", f"{said} groups are dead: all their responses are paid alike, which moves "
                   f"nothing{speed}")


def _nothing_if_alike(estimator: ResponseAdvantage, size: int) -> bool:
    """Whether a group whose rewards are all equal has advantages of 0."""
    alike = np.array([[1.0], [-1.0], [0.0]]) * np.ones(size)
    return not np.any(estimator.of_group(group_of(alike)))


def _in_time(step: Step) -> FloatArray:
    """P(a response has its group replaced for nothing), [class]; 1 without a deadline for groups."""
    policy = step.old
    if step.admitted.all():
        return np.ones(len(policy.class_weight))
    share = np.zeros(len(policy.class_weight))
    np.add.at(share, policy.class_of_cell, policy.cell_probability * policy.ends[:, step.admitted].sum(axis=1))
    return share


def _level_shares(step: Step) -> tuple[FloatArray, FloatArray]:
    """P(reward level; in the baseline) and P(out of the baseline) of responses in time, [class, level] and [class]."""
    classes = Average(step=step, rule=TokenSum()).classes
    shares = np.zeros((len(classes), max(len(law.level_mass) for law in classes)))
    for row, law in zip(shares, classes, strict=True):
        row[:len(law.level_mass)] = law.level_mass
    in_time = np.maximum(_in_time(step), TINY)
    return shares / in_time[:, None], np.array([law.removed for law in classes]) / in_time


def _some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
