"""GAE of padded tokens."""

from __future__ import annotations

import numpy as np

from lossim._support import checks
from lossim._support.positions import blocks, discounted_sum
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.advantages import GAE
from lossim.tokens._batch import Batch

__all__ = ["token_gae"]


def token_gae(gae: GAE, batch: Batch, reward: FloatArray) -> FloatArray:
    """A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γV_{t+1} - V_t over the tokens of the mask, 0 elsewhere; [response, t].

    By blocks of responses that stay in the cache. ``reward`` [response, t] is 0 outside the mask.
    """
    values = _values(gae, batch)
    width = batch.mask.shape[1]
    if gae.bootstrap_truncated and values.shape[1] == width:
        checks.fail("values", values.shape, "must have one more column than the mask for bootstrap_truncated",
                    "its entry behind the last token is the value there")
    cut = batch.need_truncated("bootstrap_truncated") if gae.bootstrap_truncated else None
    advantage = np.zeros(batch.mask.shape)
    for rows in blocks(*batch.mask.shape):
        mask = batch.mask[rows]
        paid = reward[rows]
        value = np.where(mask, values[rows, :width], 0.0)
        # Close the gaps of the mask, so that the next token stands in the next column.
        closed = None
        if not (mask[:, :-1] >= mask[:, 1:]).all():
            closed = np.arange(width) < np.count_nonzero(mask, axis=1)[:, None]
            paid = _moved(paid, mask, closed)
            value = _moved(value, mask, closed)
        # TD errors, with value 0 behind the last token, or what is given there for cut responses.
        delta = paid - value
        value *= gae.gamma
        delta[:, :-1] += value[:, 1:]
        if cut is not None:
            ends = np.flatnonzero(cut[rows] & mask.any(axis=1))
            last = np.count_nonzero(mask[ends], axis=1) - 1
            behind = values[rows][ends, _last_column(mask[ends]) + 1]
            delta[ends, last] += gae.gamma * behind
        # Their discounted sums.
        if gae.adaptive:
            length = np.maximum(np.count_nonzero(mask, axis=1), 1.0)
            advantage[rows] = _doubling(delta, gae.discount_by_length(length))
        else:
            discounted_sum(delta, gae.discount, out=advantage[rows])
        if closed is not None:
            advantage[rows] = _moved(advantage[rows], closed, mask)
    return advantage


def _values(gae: GAE, batch: Batch) -> FloatArray:
    """V before each token, [response, t], perhaps with one more column: those of the batch, or a constant critic's."""
    if batch.values is not None and gae.reads_values:
        return batch.values
    level = gae.critic.constant
    if level is None:
        checks.fail("values", None, f"must be given for the critic {gae.critic!r}, which reads a policy",
                    "pass values= to tokens.Batch")
    rows, width = batch.mask.shape
    return np.broadcast_to(level, (rows, width + 1))


def _moved(x: FloatArray, source: BoolArray, target: BoolArray) -> FloatArray:
    """The entries of ``x`` at ``source``, row by row, at ``target``; 0 elsewhere."""
    moved = np.zeros(x.shape)
    moved[target] = x[source]
    return moved


def _last_column(mask: BoolArray) -> IntArray:
    return mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)


def _doubling(x: FloatArray, discount: FloatArray) -> FloatArray:
    """y_t = x_t + discount · y_{t+1} with a discount for each row: after k rounds an entry sums 2^k terms."""
    total = x.copy()
    factor = discount[:, None]
    shift = 1
    while shift < x.shape[1]:
        total[:, :-shift] += factor * total[:, shift:]
        shift = 2 * shift
        factor = factor * factor
    return total
