"""The changes that are tried one at a time; ``CHANGES`` has them in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from lossim._changes.case import Case
from lossim.advantages import (
    GAE,
    Advantage,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LeaveOneOutStandardized,
    Whitened,
)
from lossim.aggregation import (
    Aggregation,
    ConstantNormalizer,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
)
from lossim.critics import Exact
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward
from lossim.schemes import Truncation
from lossim.selection import Deadline
from lossim.surrogates import ImportanceWeight, PolicyGradient


def treating(case: Case, truncation: Truncation) -> Case | None:
    """Another treatment of truncated responses."""
    if case.cut_share == 0 or case.scheme.truncation == truncation:
        return None
    return case.using(truncation=truncation)


def paying(case: Case, reward: Reward) -> Case | None:
    """Another reward, if it differs from what is paid wherever a response ends."""
    if reward.truncated is not None and case.cut_share == 0:
        return None
    return case.paying(reward)


def unpriced(case: Case) -> Case | None:
    """No linear penalty of length."""
    return case.priced(0.0) if case.price else None


def estimating(case: Case, estimator: Advantage, in_place_of: type[Advantage]) -> Case | None:
    """Another estimator for one of a kind, where groups are large enough for it."""
    fits = type(case.scheme.advantage) is in_place_of and case.scheme.group_size >= estimator.least_group_size
    return case.using(advantage=estimator) if fits else None


def whitening(case: Case) -> Case | None:
    """Token advantages whitened over the step, or no longer."""
    advantage = case.scheme.advantage
    if isinstance(advantage, Whitened):
        return case.using(advantage=advantage.inner)
    gae = advantage.token_level
    return None if gae is None or gae.adaptive else case.using(advantage=Whitened(inner=gae))


def aggregating(case: Case, rule: Aggregation) -> Case | None:
    """Another aggregation; a sum over tokens differs from one over a constant by a factor only."""
    alike = (ConstantNormalizer, SequenceMeanTokenSum) if isinstance(rule, ConstantNormalizer) else (type(rule),)
    return None if type(case.scheme.aggregation) in alike else case.using(aggregation=rule)


def changing_gae(case: Case, **changes: Any) -> Case | None:
    """GAE with another λ or critic, whitened if the scheme's is."""
    gae = case.scheme.advantage.token_level
    if gae is None or gae.adaptive or all(getattr(gae, name) == value for name, value in changes.items()):
        return None
    return with_gae(case, **changes)


def without(case: Case, kind: type[KL] | type[Entropy]) -> Case | None:
    """No penalty of a kind, where it has one."""
    kept = tuple(each for each in case.scheme.penalties if not isinstance(each, kind))
    gone = len(kept) < len(case.scheme.penalties) and (kind is Entropy or (case.kl is not None and case.kl.coefficient))
    return case.using(penalties=kept) if gone else None


def keeping_equal_groups(case: Case) -> Case | None:
    """Groups of equal rewards stay in the step."""
    return None if case.scheme.dynamic_sampling == "none" else case.using(dynamic_sampling="none")


def unclipped(case: Case) -> Case | None:
    """Ratios without a clip, off policy."""
    plain = (PolicyGradient, ImportanceWeight)
    return None if case.old is None or isinstance(case.scheme.surrogate, plain) else case.using(
        surrogate=ImportanceWeight())


def with_half_the_cap(case: Case) -> Case | None:
    """The subject cut at half its cap."""
    cap = case.max_tokens // 2
    return case.recapped(cap) if cap >= 1 else None


def in_time(case: Case) -> Case | None:
    """Groups with a response beyond half the cap dropped, or nothing late where something is."""
    if case.scheme.selection is not None:
        return case.using(selection=None)
    cap = case.max_tokens // 2
    return case.using(selection=Deadline(tokens=cap)) if cap >= 1 else None


REWARDS = (Reward(), Reward(incorrect=-1.0), Reward(incorrect=-1.0, truncated=0.0), Reward(truncated=-1.0))
RULES = (SequenceMeanTokenMean(), TokenMean(), ConstantNormalizer())
CHANGES: tuple[tuple[str, Callable[[Case], Case | None]], ...] = (
    ("truncated responses kept", partial(treating, truncation="keep")),
    ("truncated responses masked", partial(treating, truncation="mask")),
    ("truncated responses removed", partial(treating, truncation="remove")),
    *((reward.text, partial(paying, reward=reward)) for reward in REWARDS),
    ("no penalty per token", unpriced),
    ("no std", partial(estimating, estimator=GroupMean(), in_place_of=GroupStandardized)),
    ("no std", partial(estimating, estimator=LeaveOneOut(), in_place_of=LeaveOneOutStandardized)),
    ("mean and std of the others alone",
     partial(estimating, estimator=LeaveOneOutStandardized(), in_place_of=GroupStandardized)),
    ("mean and std of the whole group",
     partial(estimating, estimator=GroupStandardized(), in_place_of=LeaveOneOutStandardized)),
    ("divided by the group's std", partial(estimating, estimator=GroupStandardized(), in_place_of=GroupMean)),
    ("{whitened} over the tokens of the step", whitening),
    ("equal groups stay", keeping_equal_groups),
    *((f"aggregation {rule.verl}", partial(aggregating, rule=rule)) for rule in RULES),
    ("λ = 1", partial(changing_gae, gae_lambda=1.0)),
    ("a critic that knows the path", partial(changing_gae, critic=Exact())),
    ("no KL", partial(without, kind=KL)),
    ("no entropy bonus", partial(without, kind=Entropy)),
    ("no clip", unclipped),
    ("{late}", in_time),
    ("cut at {cap} tokens", with_half_the_cap),
)
"""Words in the report, where ``{cap}`` stands for the cap of the case that is made and ``{late}`` for what is late in
it, and what each makes of a case; None if that is no change, or cannot be asked of it."""


def changed(case: Case) -> Iterator[tuple[str, Any]]:
    """Every change of a case in words, and the case of the same kind that it makes."""
    for words, change in CHANGES:
        other = change(case)
        if other is not None:
            whitened = "not whitened" if case.scheme.advantage.whitening is not None else "whitened"
            selection = other.scheme.selection
            late = "nothing is late" if selection is None else f"groups beyond {selection.tokens:,.0f} tokens dropped"
            yield words.format(cap=f"{other.max_tokens:,}", whitened=whitened, late=late), other


def estimated_by(case: Case, estimator: Advantage) -> Case:
    """Another estimator, whitened if the scheme's is."""
    whitened = case.scheme.advantage.whitening
    return case.using(advantage=estimator if whitened is None else replace(whitened, inner=estimator))


def with_gae(case: Case, **changes: Any) -> Case:
    """Another λ or critic, of any GAE; the same GAE where it is one already."""
    gae = case.scheme.advantage.token_level
    if gae is None:
        raise TypeError("a scheme without GAE has neither λ nor critic")
    settings = {"gae_lambda": gae.gae_lambda, "critic": gae.critic} | changes
    return estimated_by(case, GAE(gamma=gae.gamma, bootstrap_truncated=gae.bootstrap_truncated, **settings))
