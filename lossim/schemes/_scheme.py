"""A scheme is what a trainer does with a batch: named slots."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from lossim._support import checks
from lossim.advantages import GAE, Advantage, ResponseAdvantage, Whitened
from lossim.aggregation import Aggregation
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward
from lossim.schemes._unsettled import Unsettled
from lossim.selection import Deadline
from lossim.surrogates import PolicyGradient, Surrogate

Truncation = Literal["keep", "mask", "remove"]
DynamicSampling = Literal["none", "drop", "resample"]


@dataclass(frozen=True, kw_only=True)
class Scheme(checks.Checked):
    """Everything between sampled responses and the update, one slot each.

    Attributes:
        reward: task reward of a response, with its length shaping.
        advantage: what tokens are credited with, see :mod:`lossim.advantages`.
        surrogate: what ratios to the policy that drew the batch do, see :mod:`lossim.surrogates`; nothing on-policy.
        aggregation: how token losses become one number, see :mod:`lossim.aggregation`.
        penalties: KL and entropy terms, see :mod:`lossim.penalties`; at most one KL per place and one entropy.
        truncation: what becomes of responses cut at max_tokens: ``"keep"``; ``"mask"`` (they stay in baseline and
            std, and leave the loss and its token counts); ``"remove"`` (they leave all three; a group left with
            fewer than two then contributes nothing under a group-relative advantage).
        dynamic_sampling: what becomes of groups whose task rewards are all equal: ``"none"``; ``"drop"`` (they
            contribute nothing, denominators unchanged); ``"resample"`` (replaced until the step is full).
        selection: which responses come too late to be trained on, see :mod:`lossim.selection`; None: all are.
        group_size: responses per prompt, G.
        prompts_per_step: prompts per optimiser step, P.
        minibatches: optimiser steps that share the responses of one rollout, each on prompts of its own; ``train``
            alone reads it.
        ppo_epochs: passes over a rollout; ``train`` alone reads it.
        name: shown in print.
        doubts: what is not settled about it, see :class:`lossim.schemes.Unsettled`; of no account where schemes are
            compared.

    >>> from lossim.advantages import GroupMean
    >>> from lossim.aggregation import TokenMean
    >>> Scheme(advantage=GroupMean(), aggregation=TokenMean(), group_size=8)
    Scheme 'custom': GroupMean · TokenMean [verl token-mean, TRL dapo] · reward 1 if correct, else 0 · 64 prompts × 8
    """

    reward: Reward = field(default_factory=Reward)
    advantage: Advantage
    surrogate: Surrogate = field(default_factory=PolicyGradient)
    aggregation: Aggregation
    penalties: tuple[KL | Entropy, ...] = ()
    truncation: Truncation = "keep"
    dynamic_sampling: DynamicSampling = "none"
    selection: Deadline | None = None
    group_size: int = 8
    prompts_per_step: int = 64
    minibatches: int = 1
    ppo_epochs: int = 1
    name: str = "custom"
    doubts: tuple[Unsettled, ...] = field(default=(), compare=False)
    _rules: ClassVar = {
        "truncation": (checks.choice, ("keep", "mask", "remove")),
        "dynamic_sampling": (checks.choice, ("none", "drop", "resample")),
        "name": (checks.text,),
        **dict.fromkeys(("group_size", "prompts_per_step", "minibatches", "ppo_epochs"), (checks.whole,)),
    }

    def __post_init__(self) -> None:
        # Each slot by itself.
        estimators = ResponseAdvantage, GAE, Whitened
        for slot, kind, module in (("reward", Reward, "rewards"), ("advantage", estimators, "advantages"),
                                   ("aggregation", Aggregation, "aggregation"), ("surrogate", Surrogate, "surrogates")):
            if not isinstance(getattr(self, slot), kind):
                checks.fail(slot, getattr(self, slot), f"must be an instance of {slot.capitalize()}",
                            f"see the module lossim.{module}", TypeError)
        penalties = checks.members("penalties", self.penalties, (KL, Entropy), "penalties.KL and penalties.Entropy",
                                   "write one as (KL(...),)")
        object.__setattr__(self, "penalties", penalties)
        places = [penalty.place if isinstance(penalty, KL) else "entropy" for penalty in penalties]
        if len(set(places)) < len(places):
            checks.fail("penalties", self.penalties, "must hold at most one KL per place and one entropy",
                        "add up their coefficients")
        if self.selection is not None:
            checks.of_kind("selection", self.selection, Deadline, "a selection.Deadline, or None",
                           "for example selection.Deadline(tokens=4096)")
        if self.surrogate.response_advantage and self.advantage.token_level is not None:
            checks.fail("surrogate", self.surrogate, "needs one advantage per response, which GAE has not",
                        "use surrogates.PPOClip() with GAE")
        signed = self.advantage.response_level is not None and self.advantage.whitening is None
        if self.aggregation.by_sign and not signed:
            checks.fail("aggregation", self.aggregation, "needs one advantage per response, not whitened, to read its "
                        "sign", "use aggregation.TokenMean(scope='group')")
        super().__post_init__()
        self._check_doubts()
        # Groups large enough for what compares their members.
        least = self.advantage.least_group_size
        if self.group_size < least:
            checks.fail("group_size", self.group_size, f"must be at least {least} for {short(self.advantage)}",
                        "use advantages.Raw() for single samples")
        if self.dynamic_sampling != "none" and self.group_size < 2:
            checks.fail("group_size", self.group_size, "must be at least 2 for dynamic sampling, which looks for "
                        "unequal rewards in a group", "use dynamic_sampling='none'")

    def _check_doubts(self) -> None:
        """Doubts are about slots that there are."""
        doubts = checks.members("doubts", self.doubts, Unsettled, "schemes.Unsettled", "write one as (Unsettled(...),)")
        object.__setattr__(self, "doubts", doubts)
        for doubt in doubts:
            slots = [slot.name for slot in fields(self) if slot.name not in _NO_SLOTS]
            for name in (name for _, replaced in doubt.known for name in replaced):
                checks.choice(f"a slot in the doubt about {doubt.unknown}", name, slots)

    @property
    def settled(self) -> Scheme:
        """The scheme as it is, without its doubts."""
        return replace(self, doubts=()) if self.doubts else self

    @cached_property
    def responses_per_step(self) -> int:
        """n = prompts_per_step · group_size."""
        return self.prompts_per_step * self.group_size

    @property
    def removes(self) -> bool:
        """Whether responses can be missing from baseline and loss where the rest of their group is there."""
        late = self.selection is not None and self.selection.drops == "response"
        return self.truncation == "remove" or late

    @property
    def replaces(self) -> bool:
        """Whether groups are drawn until the step is full of those that it takes."""
        late = self.selection is not None and self.selection.drops == "group"
        return self.dynamic_sampling == "resample" or late

    @cached_property
    def kl_in_reward(self) -> KL | None:
        """The KL term of the reward, if any."""
        return next((term for term in self.penalties if isinstance(term, KL) and term.place == "reward"), None)

    @cached_property
    def kl_in_loss(self) -> KL | None:
        """The KL term of the loss, if any."""
        return next((term for term in self.penalties if isinstance(term, KL) and term.place == "loss"), None)

    @cached_property
    def entropy(self) -> Entropy | None:
        """The entropy bonus, if any."""
        return next((term for term in self.penalties if isinstance(term, Entropy)), None)

    @property
    def slots(self) -> tuple[str, ...]:
        """What fills the slots, one text each; defaults that say nothing are left out."""
        said = [short(self.advantage)]
        if self.surrogate != PolicyGradient():
            said.append(short(self.surrogate))
        said.append(f"{short(self.aggregation)} [verl {self.aggregation.verl}, TRL {self.aggregation.trl}]")
        shaped = "" if self.reward.shaping is None else f", with {short(self.reward.shaping)}"
        said.append(self.reward.text + shaped)
        said += [short(penalty) for penalty in self.penalties]
        if self.truncation != "keep":
            said.append(f"truncated: {self.truncation}")
        if self.dynamic_sampling != "none":
            said.append(f"equal groups: {self.dynamic_sampling}")
        if self.selection is not None:
            said.append(short(self.selection))
        said.append(f"{self.prompts_per_step} prompts × {self.group_size}")
        if self.minibatches > 1 or self.ppo_epochs > 1:
            batches = "1 mini-batch" if self.minibatches == 1 else f"{self.minibatches} mini-batches"
            epochs = "1 epoch" if self.ppo_epochs == 1 else f"{self.ppo_epochs} epochs"
            said.append(f"{batches} × {epochs}")
        return tuple(said)

    def __str__(self) -> str:
        return "\n".join([f"Scheme {self.name!r}: " + " · ".join(self.slots), *(f"  {doubt}" for doubt in self.doubts)])

    __repr__ = __str__


_NO_SLOTS = ("name", "doubts")
"""Fields of a scheme that say nothing of what it does to a batch."""
_TELLING = ("gae_lambda", "critic", "alpha", "bins", "sharing", "class_sharing", "path_scale")
"""Fields that are printed also at their default."""


def short(value: object) -> str:
    """A value as printed beside others: its name, and of its fields the telling ones and those not at their default."""
    if isinstance(value, tuple):
        return f"({', '.join(short(item) for item in value)})"
    if isinstance(value, np.ndarray):
        return f"[{' × '.join(map(str, value.shape))}]"
    if hasattr(value, "dist") and hasattr(value, "kwds"):
        return _frozen_law(value)
    if hasattr(value, "logccdf"):  # one of the newer kind
        return str(value)
    if not is_dataclass(value) or isinstance(value, type):
        return getattr(value, "__name__", None) or repr(value)
    if type(value).__str__ is not object.__str__:  # it says itself how it prints
        return str(value)
    shown = []
    for slot in fields(value):
        given = getattr(value, slot.name)
        default = slot.default if slot.default_factory is MISSING else slot.default_factory()
        same = type(given) is type(default) and not isinstance(given, np.ndarray) and given == default
        if slot.repr and (slot.name in _TELLING or not same):
            shown.append(f"{slot.name}={short(given)}")
    name = type(value).__name__
    return f"{name}({', '.join(shown)})" if shown else name


def _frozen_law(law: Any) -> str:
    """A frozen distribution of scipy.stats by its name and its parameters, as it prints no more than an address."""
    given = [f"{x:g}" for x in law.args] + [f"{name}={x:g}" for name, x in law.kwds.items()]
    return f"{law.dist.name}({', '.join(given)})"


def compare(one: Scheme, other: Scheme) -> dict[str, tuple[object, object]]:
    """The slots in which two schemes differ, names and doubts aside.

    >>> from dataclasses import replace
    >>> from lossim.advantages import GroupMean
    >>> from lossim.aggregation import TokenMean
    >>> one = Scheme(advantage=GroupMean(), aggregation=TokenMean())
    >>> compare(one, replace(one, group_size=16))
    {'group_size': (8, 16)}
    """
    for name, scheme in (("one", one), ("other", other)):
        if not isinstance(scheme, Scheme):
            checks.fail(name, scheme, "must be a Scheme", "for example schemes.grpo()", TypeError)
    pairs = {slot.name: (getattr(one, slot.name), getattr(other, slot.name)) for slot in fields(Scheme)
             if slot.name not in _NO_SLOTS}
    return {name: (mine, theirs) for name, (mine, theirs) in pairs.items() if mine != theirs}
