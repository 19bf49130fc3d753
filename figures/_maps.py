"""What the maps share: how a sweep is stored, read again and drawn for half a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import lossim as ls
from _style import Numbers, new_figure

LEFT_OUT = ("verdict", "provenance", "values", "notes")  # what the rest tells, or the settings and the caption
UNIT = "change of mean length\n(tokens per step of 0.01 nats)"


def stored(swept: ls.Sweep) -> Numbers:
    """A sweep as it is kept: its axes, the answer in every cell, its sign, whether it is decided, its range."""
    whole = swept.to_dict()
    kept = {name: value for name, value in whole.items() if name not in LEFT_OUT}
    return kept | {"values": {swept.answer: whole["values"][swept.answer]}}


def read(numbers: Numbers) -> ls.Sweep:
    """A sweep as it was kept."""
    return ls.Sweep.from_dict(numbers["sweep"] | {"provenance": {}, "notes": []})


def turns(numbers: Numbers) -> np.ndarray[Any, Any]:
    """Where the answer first crosses 0 along the last axis, for each value of the first; NaN where nowhere.

    Between two cells in proportion: to the logarithm on an axis that ends at five times its first value or more.
    """
    swept = read(numbers)
    place = np.array(list(swept.axes.values())[-1])
    log = bool(place[0] > 0) and place[-1] > 5 * place[0]
    place = np.log(place) if log else place
    found = np.full(swept.shape[0], np.nan)
    for number, row in enumerate(swept.values[swept.answer]):
        crossed = np.flatnonzero(row[:-1] * row[1:] < 0)
        if len(crossed):
            at = crossed[0]
            found[number] = place[at] + (place[at + 1] - place[at]) * row[at] / (row[at] - row[at + 1])
    return np.exp(found) if log else found


def draw_map(claim: str, numbers: Numbers, points: Mapping[str, tuple[Any, Any]]) -> tuple[Figure, Axes]:
    """The map of a stored sweep under its claim, the last axis across."""
    swept = read(numbers)
    up, across = swept.axes
    figure, (axes,) = new_figure(claim, 2.8)
    swept.map(across, up, points=points, ax=axes)
    axes.set_title("")
    there = axes.get_legend()
    assert there is not None
    figure.legend(handles=there.legend_handles, labels=["sign hangs on the kernel", "no drift"], ncols=2,
                  loc="outside lower left", handlelength=1.6)
    there.remove()
    figure.axes[-1].set_ylabel(UNIT)
    return figure, axes
