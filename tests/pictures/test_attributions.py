"""The waterfall: each bar starts where the last one ended, and what is undecided is hatched."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.patches import Rectangle

import lossim as ls
from lossim import schemes

START = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=30), wrong=ls.lengths.geometric(mean=50),
                              max_tokens=256)
PATH = [schemes.dr_grpo(), schemes.dapo(group_size=8, prompts_per_step=64)]


@pytest.mark.parametrize("subject", ["policy", "log"])
def test_bars_lead_from_drift_to_drift(subject: str) -> None:
    given = START if subject == "policy" else START.sample(np.random.default_rng(0), prompts=80, group_size=8)
    found = ls.attribute(PATH, given, relative_to=schemes.grpo())
    figure = found.plot()
    axes, = figure.axes
    bars = {round(bar.get_y() + bar.get_height() / 2): bar for bar in axes.patches if isinstance(bar, Rectangle)}
    labels = [text.get_text() for text in axes.get_yticklabels()]
    rows = [found.drifts[0]]
    for _, last, shares in found.legs:
        rows += [*shares, last]
    assert labels == [getattr(row, "change" if row in found.drifts else "name") for row in rows]
    level = 0.0
    for place, row in enumerate(rows):
        whole = row in found.drifts
        start, value = bars[place].get_x(), bars[place].get_width()
        assert value == pytest.approx(float(row.length_per_kl), abs=1e-12)
        assert start == pytest.approx(0.0 if whole else level, abs=1e-9)
        assert bool(bars[place].get_hatch()) == row.undecided
        level = start + value
    figure.canvas.draw()
    title = figure.get_suptitle()
    assert " ".join(title.split()).replace("−", "-") == " ".join(found.verdict.split())
