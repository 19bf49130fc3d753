"""The drift of mean length under each critic that may be meant, where nobody said which."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._engine.headline import headline_of
from lossim._engine.readout import Directions
from lossim._engine.step import Step
from lossim._support.doubts import Doubt
from lossim._support.text import Note
from lossim._support.types import NoClosedForm
from lossim.critics import Critic

__all__ = ["critic_doubt"]

UNTOLD = Note("critic", "no critic was given: V = 0 is assumed, and what another would do has no closed form here")


def critic_doubt(step: Step, directions: Directions, own: float) -> tuple[list[Doubt], list[Note]]:
    """Tokens under each critic that may be meant; nothing where one was given. And what there is to say instead.

    ``own`` are those under the critic that is assumed; NaN where it moves nothing.
    """
    gae = step.token_level
    if gae is None or not gae.critic.alternatives:
        return [], []
    names, critics = zip(*gae.critic.alternatives, strict=True)
    assumed = gae.critic.constant
    try:
        lengths = [np.nan_to_num(own) if critic.constant is not None and critic.constant == assumed
                   else _length_per_kl(step, directions, critic) for critic in critics]
    except NoClosedForm:
        return [], [UNTOLD]
    return [Doubt(unknown="critic", options=names, lengths=np.array(lengths))], []


def _length_per_kl(step: Step, directions: Directions, critic: Critic) -> float:
    """Tokens in an expected step of 0.01 nats; 0 where it is a rounding error."""
    advantage = step.scheme.advantage.with_critic(critic)
    return headline_of(replace(step, scheme=replace(step.scheme, advantage=advantage)), directions).length_per_kl
