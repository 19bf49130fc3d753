"""The drift of mean length alone, of one policy or of many at once: the numbers of ``drift`` that a verdict needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossim._display import MEANT, SURE, Bar, Page, Result, Section, assumed, bars, changing, doubted
from lossim._engine.drift import drift
from lossim._engine.headline import Headline
from lossim._engine.headlines import headlines
from lossim._engine.over_critics import critic_doubt
from lossim._engine.over_kernels import KernelLengths, checked_family, family_of
from lossim._engine.over_schemes import scheme_doubts
from lossim._engine.report import describe_scheme, kernel_doubt
from lossim._engine.side_by_side import takes
from lossim._model import Coordinates, Kernels
from lossim._support import checks
from lossim._support.doubts import Doubt, range_over, undecided_by
from lossim._support.plain import plain
from lossim._support.text import Sections
from lossim._support.types import NoClosedForm
from lossim._support.verdicts import STEP, over_doubts, unless
from lossim.estimates import Estimate
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["LengthDrift", "length_drift", "length_drifts"]

Given = Kernels | Sequence[Coordinates] | None
"""Kernels as a user gives them."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LengthDrift(Result):
    """What one expected step of a scheme does to mean length, and nothing else: see :func:`length_drift`.

    Attributes:
        length: dE[T]/dη, tokens per unit step along the update.
        length_per_kl: tokens in a step of 0.01 nats of KL per response; NaN if nothing moves.
        doubts: what is not known, and ``length_per_kl`` under each thing that it may be, as in :class:`~lossim.Drift`.
        notes: what was assumed or approximated, as far as mean length alone asks for it.
    """

    length: Estimate
    length_per_kl: Estimate
    doubts: tuple[Doubt, ...]
    notes: tuple[str, ...]
    scheme: Scheme = field(repr=False)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest ``length_per_kl`` over all doubts, the number itself among them; tokens."""
        return range_over(float(self.length_per_kl), self.doubts)

    @property
    def decided(self) -> bool:
        """Whether the sign hangs on nothing that is not known."""
        return self.scheme.entropy is None and not undecided_by(self.doubts)

    @property
    def verdict(self) -> str:
        """Which way mean length goes, and how many tokens in a step of 0.01 nats, in a few words."""
        size = float(self.length_per_kl)
        low, high = self.range
        if self.scheme.entropy is not None:
            said = "undecided: entropy also acts on content"
        elif undecided_by(self.doubts):
            said = over_doubts(undecided_by(self.doubts), self.range)
        elif np.isnan(size):
            said = "nothing moves"
        elif abs(float(self.length)) <= float(self.length.error):
            said = "no drift of mean length"
        else:
            between = f" ({low:+.3g} to {high:+.3g})" if low != high else ""
            said = f"responses get {'longer' if size > 0 else 'shorter'}, {size:+.3g}{between} {STEP}"
        return said + unless(self.doubts)

    def sections(self) -> Sections:
        """The line that it prints."""
        return {"verdict": [f"{self.scheme.name}: {self.verdict}"]}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN)."""
        return {"scheme": describe_scheme(self.scheme), "verdict": self.verdict, "length": self.length.to_dict(),
                "length_per_kl": self.length_per_kl.to_dict(), "decided": self.decided,
                "doubts": [doubt.to_dict() for doubt in self.doubts], "range": plain(np.array(self.range)),
                "notes": list(self.notes)}

    def _page(self) -> Page:
        number = float(self.length_per_kl)
        low, high = self.range
        lines = [Bar(label="as given", value=number, low=low, high=high)]
        lines += [Bar(label=doubt.unknown, value=number, low=doubt.range[0], high=doubt.range[1])
                  for doubt in self.doubts]
        ask = "ls.drift(scheme, policy) says through which paths and tokens, and what it buys."
        return self._paged(self.scheme.name, Section(title=SURE, parts=(
            bars("The drift of mean length, and what it hangs on", lines, MEANT), doubted(number, self.doubts))),
            changing(self.doubts, ask), assumed(self.notes, {"scheme": " · ".join(self.scheme.slots)}))

    def _columns(self) -> dict[str, Any]:
        low, high = self.range
        return {"scheme": [self.scheme.name], "length": [float(self.length)],
                "length_per_kl": [float(self.length_per_kl)], "low": [low], "high": [high], "decided": [self.decided]}


def length_drift(scheme: Scheme, policy: Policy, *, kernels: Given = None) -> LengthDrift:
    """The expected effect of one step of ``scheme`` on mean length: :func:`lossim.drift` where nothing else is asked.

    Its numbers and doubts are those of ``drift``, to rounding. ``length_drift.many(scheme, policies)`` gives those of
    many policies at once, and :func:`lossim.sweep` asks it so: most schemes then read policies of one shape (the same
    classes, paths, grades, ``max_tokens`` and coordinates) side by side.

    Args:
        scheme: what the trainer does.
        policy: what responses are like.
        kernels: those that the sign is looked at under, as in ``drift``; ``[]`` for none.

    Raises:
        NoClosedForm: the expectation of a slot has no closed form.

    >>> import lossim as ls
    >>> policy = ls.policies.reasoning(accuracy=0.3, mean_right=1200, mean_wrong=900, premature=0.7, truncated=0.02,
    ...                                verbosity=200, max_tokens=8192)
    >>> ls.length_drift(ls.schemes.grpo(), policy)
    grpo: responses get longer, +71.5 (+49.7 to +92.1) tokens in a step of 0.01 nats
    """
    checks.of_kind("policy", policy, Policy, "a Policy", "for example policies.two_paths(...)")
    return length_drifts(scheme, [policy], kernels=kernels)[0]


def length_drifts(scheme: Scheme, policies: Sequence[Policy], *, kernels: Given = None) -> list[LengthDrift]:
    """The same of each policy, under one scheme; in their last digits they depend on what they are asked with."""
    checks.of_kind("scheme", scheme, Scheme, "a Scheme", "for example schemes.grpo()")
    asked = checks.members("policies", policies, Policy, "policies", "for example [policies.two_paths(...)]")
    family = checked_family(kernels)
    if not takes(scheme):  # statistics of a step and quadratures have errors of their own, which a drift knows
        return [_of_drift(scheme, policy, kernels) for policy in asked]
    found: dict[int, Headline] = {}
    alike: dict[Coordinates, list[int]] = {}
    for number, policy in enumerate(asked):
        alike.setdefault(policy.coordinates, []).append(number)
    for coordinates, numbers in alike.items():
        each = headlines(scheme, [asked[number] for number in numbers], kernels=family_of(family, coordinates))
        found |= zip(numbers, each, strict=True)
    others = _Others(policies=asked)
    return [_of_headline(scheme, found[number], others.of(number)) for number in range(len(asked))]


length_drift.many = length_drifts  # type: ignore[attr-defined]


class _Others:
    """What some policies do under other schemes, each asked for all of them when it is asked for first."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = policies
        self.found: list[tuple[Scheme, list[Estimate | Exception]]] = []

    def of(self, number: int) -> Callable[[Scheme], Estimate]:
        """Tokens in a step of 0.01 nats by the scheme that is told, of one of the policies."""
        def length(scheme: Scheme) -> Estimate:
            told = self._under(scheme)[number]
            if isinstance(told, Exception):
                raise told
            return told

        return length

    def _under(self, scheme: Scheme) -> list[Estimate | Exception]:
        for known, found in self.found:
            if known == scheme:
                return found
        found = _told_under(scheme, self.policies)
        self.found.append((scheme, found))
        return found


def _told_under(scheme: Scheme, policies: Sequence[Policy]) -> list[Estimate | Exception]:
    """Tokens of each policy, or why they are not told; where some are not, each is asked alone."""
    try:
        return [Estimate(value=each.length_per_kl) for each in headlines(scheme, policies)]
    except (NoClosedForm, ValueError) as reason:
        if len(policies) == 1:
            return [reason]
        return [told for policy in policies for told in _told_under(scheme, [policy])]


def _of_headline(scheme: Scheme, found: Headline, length_under: Callable[[Scheme], Estimate]) -> LengthDrift:
    """From what was read side by side."""
    length = Estimate(value=found.length, error=found.error)
    error = found.error * found.stretch
    per_kl = Estimate(value=found.length * found.stretch if found.nats > 0 else np.nan, error=error)
    told = Estimate(value=found.length_per_kl, error=error)
    kernel = []
    if len(found.over):
        over = KernelLengths(length=found.over, nats=found.over_nats, by_path=np.zeros((len(found.over), 0)))
        kernel = [kernel_doubt(over, length, per_kl)]
    critic, critic_notes = critic_doubt(scheme, float(told), length_under)
    unsettled, scheme_notes = scheme_doubts(scheme, told, length_under)
    notes = dict.fromkeys((*critic_notes, *found.notes, *scheme_notes))
    return LengthDrift(length=length, length_per_kl=per_kl, doubts=(*kernel, *critic, *unsettled),
                       notes=tuple(notes), scheme=scheme)


def _of_drift(scheme: Scheme, policy: Policy, kernels: Given) -> LengthDrift:
    """From a drift of its own."""
    found = drift(scheme, policy, kernels=kernels)
    return LengthDrift(length=found.length, length_per_kl=found.length_per_kl, doubts=found.doubts, notes=found.notes,
                       scheme=scheme)
