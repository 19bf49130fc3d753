"""Ratios of two policies by the token's role, and where they are infinite."""

from __future__ import annotations

import numpy as np

from lossim._engine.measures import Roles
from lossim._model import CellArrays
from lossim._support.types import BoolArray


def log_ratio(mine: CellArrays, other: CellArrays, name: str) -> Roles:
    """log of mine over other's probability of stopping and of going on, with the path's at the first token."""
    if mine is other:
        return Roles(stop=np.zeros_like(mine.logits), go=np.zeros_like(mine.logits))
    with np.errstate(divide="ignore", invalid="ignore"):
        stop = np.where(mine.hazard > 0, mine.log_stop - other.log_stop, 0.0)
        go = np.where(mine.stay > 0, mine.log_stay - other.log_stay, 0.0)
        path = np.where(mine.probability > 0, np.log(mine.probability) - np.log(other.probability), 0.0)
    stop[:, 0] += path[mine.layout.path_of_cell]
    go[:, 0] += path[mine.layout.path_of_cell]
    infinite = ~(np.isfinite(stop) & np.isfinite(go))
    if infinite.any():
        raise ValueError(f"the ratio to {name} is infinite: the policy does what {name} never does (a hazard of 0 or "
                         f"1, or a path of probability 0){clash_at(mine, other, infinite)}")
    return Roles(stop=stop, go=go)


def clash_at(mine: CellArrays, other: CellArrays, where: BoolArray) -> str:
    """The first place where two policies differ in what they never do, and the way out."""
    place = ""
    if where.any():
        cell, t = (int(i) for i in np.argwhere(where)[0])
        place = (f": on {' / '.join(mine.cell_names[cell])} at position {t + 1} the hazards are "
                 f"{mine.hazard[cell, t]:.3g} and {other.hazard[cell, t]:.3g}")
    return place + ("; get one policy from the other by moved(...) with a move that does not overflow, or fit smooth "
                    "laws such as lengths.lognormal")
