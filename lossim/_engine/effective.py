"""Back from an update to the reward that it is REINFORCE on."""

from __future__ import annotations

import numpy as np

from lossim._model import CellArrays
from lossim._support.positions import backward_recurrence
from lossim._support.quotients import quotient
from lossim._support.types import FloatArray

FAINT = 1e-12
"""Chances of a position below which its effective reward is not told from rounding, where states change."""


def effective_reward(policy: CellArrays, stops: FloatArray) -> FloatArray:
    """The reward v(t) on which REINFORCE has this gradient: see :attr:`lossim.Drift.effective_reward`.

    With U_t = E[v | T >= t], from U_1 = 0:  U_{t+1} = U_t - g(t)/P(T > t),  v(t) = U_{t+1} + g(t) / (p(t)(1 - h(t))).
    See docs/derivations.md, section 5. Where responses change state, section 18.
    """
    values = np.empty_like(stops)
    here = np.empty_like(stops)  # U_t
    for cells in policy.layout.blocks:
        weight = policy.cell_weight[cells, None]
        stay = policy.stay[cells]
        pmf = policy.pmf[cells]
        g = quotient(stops[cells], weight)
        survives = policy.at_risk[cells] * stay
        spread = pmf * stay
        known = (spread > 0) & (weight > 0)
        with np.errstate(over="ignore", invalid="ignore"):  # far in the tail of an update on another policy's batch
            beyond = -np.cumsum(quotient(g, survives), axis=1)
            value = beyond + quotient(g, spread)
        certain = (pmf > 0) & (stay == 0) & (weight > 0)  # the last possible length: U_t = v there
        here[cells, 0] = 0.0
        here[cells, 1:] = beyond[:, :-1]
        value = np.where(known, value, np.where(certain, here[cells], np.nan))
        values[cells] = np.where(np.isfinite(value), value, np.nan)
    for (source, target), arrival in zip(policy.layout.moves.pairs, policy.arrival, strict=True):
        both = [source, target]
        weight = policy.cell_weight[source]
        if weight == 0:
            continue
        # Once done the values are known but for a level, while working from the last position on:
        # U_t = q(t) U_t(done) + (1 - q(t)) (U_{t+1} + g(t)/P(working, T > t)), and v(t) as above.
        survives = weight * policy.at_risk[source] * policy.stay[source]
        gain = quotient(stops[source], survives, above=FAINT)
        value = backward_recurrence(1.0 - arrival, arrival * here[target] + (1.0 - arrival) * gain)
        spread = weight * policy.pmf[source] * policy.stay[source]
        jump = quotient(stops[source], spread, nothing=np.nan, above=FAINT)
        values[source] = np.append(value[1:], 0.0) + jump
        # One level for both, by which the path has mean 0 but for what is cut.
        paid = policy.pmf[both] * np.nan_to_num(values[both])
        values[both] -= paid.sum() / max(float(policy.pmf[both].sum()), FAINT)
    return values
