"""The drift of mean length under each critic that may be meant, where nobody said which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lossim._support.doubts import Doubt
from lossim._support.text import Note
from lossim._support.types import NoClosedForm
from lossim.estimates import Estimate
from lossim.schemes import Scheme

__all__ = ["critic_doubt"]


def critic_doubt(scheme: Scheme, own: float, length: Callable[[Scheme], Estimate]) -> tuple[list[Doubt], list[Note]]:
    """Tokens under each critic that may be meant; nothing where one was given. And what there is to say instead.

    ``own`` are those under the critic that is assumed, NaN where they are not told from noise, and ``length`` gives
    those of another scheme.
    """
    critics = scheme.advantage.assumed_critics
    if not critics:
        return [], []
    (assumed, _), *others = critics
    lengths = {assumed: own}
    left_out = []
    for name, critic in others:
        try:
            lengths[name] = float(length(replace(scheme, advantage=scheme.advantage.with_critic(critic))))
        except (NoClosedForm, ValueError) as reason:
            left_out.append(Note("critic", f"no critic was given, and what one would do that is {name} is not told: "
                                 f"{reason}"))
    found = Doubt(unknown="critic", options=tuple(lengths), lengths=np.array(list(lengths.values())))
    return ([found] if len(lengths) > 1 else []), left_out
