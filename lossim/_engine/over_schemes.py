"""The drift of mean length under each scheme that may be meant, where a scheme says what is not settled about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._engine.headline import headline_of
from lossim._engine.report import STANDARD_ERRORS, unsettled_notes
from lossim._engine.step import Step
from lossim._model import Directions
from lossim._support.doubts import NOBODY_KNOWS, SchemeDoubt
from lossim._support.text import Note
from lossim._support.types import NoClosedForm
from lossim.estimates import Estimate
from lossim.schemes import Scheme, Unsettled

__all__ = ["FIRST_STEP", "length_under", "scheme_doubts"]

NOISE = "it is not told from noise"
FIRST_STEP = dict.fromkeys(("ppo_epochs", "minibatches"), "a first step")
"""Slots that the first optimiser step on a rollout does not read, and what they do not bear on."""


def scheme_doubts(scheme: Scheme, own: Estimate, length: Callable[[Scheme], Estimate],
                  unread: Mapping[str, str] = FIRST_STEP) -> tuple[list[SchemeDoubt], list[Note]]:
    """A doubt for everything that is not settled about a scheme, and what there is to say of it.

    ``own`` is ``length_per_kl`` of the scheme as it is, NaN where it moves nothing or where noise hides it, and
    ``length`` gives that of another, all in tokens. ``unread`` are slots that this number does not hang on, with
    what they do not bear on.
    """
    doubts = [replace(_doubt(scheme, unsettled, own, length), idle=_idle(scheme, unsettled, unread))
              for unsettled in scheme.doubts]
    notes = [Note("not told", f"what happens if {doubt.called} is {name} is not told: {reason}") for doubt in doubts
             for name, reason in doubt.untold.items() if reason != NOBODY_KNOWS]
    return doubts, [*unsettled_notes(scheme), *notes]


def length_under(step: Step, directions: Directions) -> Callable[[Scheme], Estimate]:
    """Tokens in an expected step of 0.01 nats by the scheme that is told, on the policies of a step."""
    return lambda scheme: Estimate(value=headline_of(replace(step, scheme=scheme), directions).length_per_kl)


def _doubt(scheme: Scheme, unsettled: Unsettled, own: Estimate, length: Callable[[Scheme], Estimate]) -> SchemeDoubt:
    """The drift under each option of one doubt."""
    lengths = {}
    untold = {}
    noise = [_noise(own)]
    for name, slots in unsettled.options:
        lengths[name] = np.nan
        if slots is None:
            untold[name] = NOBODY_KNOWS
            continue
        try:
            found = _under(scheme, slots, own, length)
        except (NoClosedForm, ValueError) as reason:
            untold[name] = str(reason)
            continue
        lengths[name] = float(found)
        noise.append(_noise(found))
        if np.isnan(float(found)):
            untold[name] = NOISE
    return SchemeDoubt(unknown=unsettled.unknown, options=tuple(lengths), lengths=np.array(list(lengths.values())),
                       within=max(noise), now=float(own), untold=untold, settle=unsettled.settle)


def _idle(scheme: Scheme, unsettled: Unsettled, unread: Mapping[str, str]) -> dict[str, str]:
    """The options that change nothing but slots that are not read, with what they do not bear on."""
    found = {}
    for name, slots in unsettled.known:
        changed = [slot for slot, value in slots.items() if value != getattr(scheme, slot)]
        if changed and all(slot in unread for slot in changed):
            found[name] = " or ".join(dict.fromkeys(unread[slot] for slot in changed))
    return found


def _under(scheme: Scheme, slots: Any, own: Estimate, length: Callable[[Scheme], Estimate]) -> Estimate:
    """The drift of the scheme with other slots; its own where they are what it has."""
    other = replace(scheme, doubts=(), **slots)
    return own if other == scheme else length(other)


def _noise(length: Estimate) -> float:
    """What a number is not told from."""
    limit = float(length.error) if length.method == "large-batch limit" else 0.0
    return float(np.nan_to_num(STANDARD_ERRORS.get(length.method, 0.0) * np.nan_to_num(length.stderr) + limit))
