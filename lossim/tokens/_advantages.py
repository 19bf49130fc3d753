"""Advantages of padded tokens."""

from __future__ import annotations

import numpy as np

from lossim._support import checks
from lossim._support.positions import blocks, discounted_sum
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import (
    GAE,
    Advantage,
    LengthAdaptive,
    Raw,
    ResponseAdvantage,
    ReturnToGo,
    Whitened,
)
from lossim.critics import Constant, Zero
from lossim.penalties import KL
from lossim.schemes import Scheme
from lossim.tokens._batch import Batch

__all__ = ["advantages", "by_group", "in_baseline", "loss_mask", "whiten"]


def advantages(given: Advantage | Scheme, batch: Batch) -> FloatArray:
    """A of each token, [response, t]; 0 outside the mask, and outside the loss for a scheme that masks truncated ones.

    * A response-level estimator takes R = Σ_t r_t of each response, and all its tokens get its A.
    * :class:`~lossim.advantages.GAE` is A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ V_{t+1} - V_t, over the tokens of the
      mask: a gap is passed over, and behind the last token V is 0 (or the value given there, for truncated responses
      with ``bootstrap_truncated``). Without ``values`` its critic must be a constant.
    * :class:`~lossim.advantages.Whitened` takes mean and variance over all tokens in the loss.

    A scheme adds its KL in the reward, -β·log π_old/π_ref of each token (``content_per_token`` is for the expectation
    level, where content has no tokens), and its treatment of truncated responses. ``values`` and ``baseline`` of the
    batch go before the critic of GAE and the baseline of Raw.

    Raises:
        ValueError: the batch lacks what the estimator reads; the message says what.

    >>> from lossim.advantages import GAE, LeaveOneOut
    >>> batch = Batch(mask=[[1, 1, 1], [1, 0, 0]], reward=[1.0, 0.0], group=[0, 0])
    >>> advantages(LeaveOneOut(), batch)
    array([[ 1.,  1.,  1.],
           [-1.,  0.,  0.]])
    >>> advantages(GAE(gae_lambda=0.5), batch)
    array([[0.25, 0.5 , 1.  ],
           [0.  , 0.  , 0.  ]])
    """
    if not isinstance(given, (Advantage, Scheme)):
        checks.fail("given", given, "must be an advantage estimator or a Scheme", "for example advantages.GroupMean()",
                    TypeError)
    estimator = given.advantage if isinstance(given, Scheme) else given
    kl = given.kl_in_reward if isinstance(given, Scheme) else None
    truncation = given.truncation if isinstance(given, Scheme) else "keep"
    compares = estimator.group_relative
    paid, inside = _kl_paid(batch, kl), loss_mask(batch, truncation, compares)
    inner = estimator.inner if isinstance(estimator, Whitened) else estimator
    if isinstance(inner, GAE):
        credit = _gae(inner, batch, batch.token_reward if paid is None else batch.token_reward + paid)
        if inside is not batch.mask:
            credit = np.where(inside, credit, 0.0)
    else:
        assert isinstance(inner, ResponseAdvantage)
        returns = batch.total if paid is None else batch.total + paid.sum(axis=1)
        credit = np.where(inside, _by_response(inner, batch, returns, in_baseline(batch, truncation))[:, None], 0.0)
    return whiten(estimator, credit, inside) if isinstance(estimator, Whitened) else credit


def _kl_paid(batch: Batch, kl: KL | None) -> FloatArray | None:
    """What KL in the reward pays each token."""
    if kl is None or kl.coefficient == 0:
        return None
    drawn = batch.need("log_prob") if batch.old_log_prob is None else batch.old_log_prob
    price = kl.coefficient * (drawn - batch.need("reference_log_prob"))  # content tokens bring their own KL
    return np.where(batch.mask, -price, 0.0)


def _cut(batch: Batch, reason: str) -> BoolArray:
    if batch.truncated is None:
        checks.fail("truncated", None, f"must be given for {reason}", "pass truncated= to tokens.Batch")
    return batch.truncated


def in_baseline(batch: Batch, truncation: str) -> BoolArray:
    """Responses that count in the baseline of their group."""
    if truncation != "remove":
        return np.ones(len(batch.mask), dtype=bool)
    return ~_cut(batch, f"truncation={truncation!r}")


def loss_mask(batch: Batch, truncation: str, compares: bool) -> BoolArray:
    """Tokens in the loss: without truncated responses, and without lone survivors of a group if those are removed."""
    if truncation == "keep":
        return batch.mask
    kept = ~_cut(batch, f"truncation={truncation!r}")
    if truncation == "remove" and compares:
        kept = kept & _enough_in_group(batch, kept)
    inside: BoolArray = batch.mask & kept[:, None]
    return inside


def _enough_in_group(batch: Batch, kept: BoolArray) -> BoolArray:
    """Responses whose group has two or more that are kept, or one response altogether."""
    number = np.bincount(batch.group, weights=kept)
    enough: BoolArray = (number >= np.minimum(np.bincount(batch.group), 2))[batch.group]
    return enough


def by_group(batch: Batch, *columns: FloatArray) -> list[FloatArray]:
    """Each [response] column as [prompt, member], padded with 0; the last one tells members from padding."""
    order = np.argsort(batch.group, kind="stable")
    sizes = np.bincount(batch.group)
    member = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    at = batch.group[order], member
    tables = []
    for column in (*columns, np.ones(len(order))):
        table = np.zeros((len(sizes), int(sizes.max())))
        table[at] = column[order]
        tables.append(table)
    return tables


def _by_response(estimator: ResponseAdvantage, batch: Batch, returns: FloatArray, counted: BoolArray) -> FloatArray:
    """A of each response."""
    fixed = np.zeros(len(returns))
    inner = estimator.innermost
    if isinstance(inner, Raw):
        if batch.baseline is not None:
            fixed = batch.baseline
        elif isinstance(inner.baseline, tuple):
            checks.fail("baseline", inner.baseline, "must be one number here, where prompts have no classes",
                        "give the baseline of each response as baseline= of the batch")
        else:
            fixed = np.full(len(returns), inner.baseline)
    index = np.arange(len(returns), dtype=np.float64)
    paid, length, base, count, place, member = by_group(batch, returns, batch.length, fixed, counted.astype(np.float64),
                                                        index)
    credit = estimator.of_group(paid, count, length, base)
    credit = estimator.of_step(credit[None], paid[None], (count > 0)[None])[0]
    column = np.zeros(len(returns))
    column[place[member > 0].astype(np.int64)] = np.where(count > 0, credit, 0.0)[member > 0]
    return column


def _gae(gae: GAE, batch: Batch, reward: FloatArray) -> FloatArray:
    """GAE of each token, by blocks of responses that stay in the cache."""
    values = _values(gae, batch)
    if gae.bootstrap_truncated and values.shape[1] == batch.mask.shape[1]:
        checks.fail("values", values.shape, "must have one more column than the mask for bootstrap_truncated",
                    "its entry behind the last token is the value there")
    cut = _cut(batch, "bootstrap_truncated") if gae.bootstrap_truncated else None
    width = batch.mask.shape[1]
    credit: FloatArray = np.zeros(batch.mask.shape)
    for rows in blocks(*batch.mask.shape):
        mask, inside = batch.mask[rows], None
        paid, value = reward[rows], np.where(mask, values[rows, :width], 0.0)  # a reward is 0 outside the mask
        if not (mask[:, :-1] >= mask[:, 1:]).all():  # close the gaps
            inside = np.arange(width) < np.count_nonzero(mask, axis=1)[:, None]
            paid, value = _moved(paid, mask, inside), _moved(value, mask, inside)
        delta = paid - value
        value *= gae.gamma
        delta[:, :-1] += value[:, 1:]
        if cut is not None:
            ends = np.flatnonzero(cut[rows] & mask.any(axis=1))
            last = np.count_nonzero(mask[ends], axis=1) - 1
            behind = values[rows][ends, _last_column(mask[ends]) + 1]
            delta[ends, last] += gae.gamma * behind
        if isinstance(gae.gae_lambda, LengthAdaptive):
            length = np.count_nonzero(mask, axis=1)
            credit[rows] = _doubling(delta, gae.gamma * gae.gae_lambda(np.maximum(length, 1.0)))
        else:
            discounted_sum(delta, gae.gamma * gae.gae_lambda, out=credit[rows])
        if inside is not None:
            credit[rows] = _moved(credit[rows], inside, mask)
    return credit


def _moved(x: FloatArray, source: BoolArray, target: BoolArray) -> FloatArray:
    """The entries of ``x`` at ``source``, row by row, at ``target``; 0 elsewhere."""
    moved = np.zeros(x.shape)
    moved[target] = x[source]
    return moved


def _last_column(mask: BoolArray) -> FloatArray:
    last: FloatArray = mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)
    return last


def _values(gae: GAE, batch: Batch) -> FloatArray:
    if batch.values is not None and not isinstance(gae, ReturnToGo):
        return batch.values
    if not isinstance(gae.critic, (Zero, Constant)):
        checks.fail("values", None, f"must be given for the critic {gae.critic!r}, which reads a policy",
                    "pass values= to tokens.Batch")
    level = gae.critic.value if isinstance(gae.critic, Constant) else 0.0
    rows, width = batch.mask.shape
    return np.broadcast_to(level, (rows, width + 1))


def _doubling(x: FloatArray, discount: FloatArray) -> FloatArray:
    """y_t = x_t + discount · y_{t+1} with a discount for each row: after k rounds an entry sums 2^k terms."""
    total, factor, shift = x.copy(), discount[:, None], 1
    while shift < x.shape[1]:
        total[:, :-shift] += factor * total[:, shift:]
        shift, factor = 2 * shift, factor * factor
    return total


def whiten(whitened: Whitened, credit: FloatArray, inside: BoolArray) -> FloatArray:
    """(A - μ)·(σ² + eps)^-½ over the tokens inside, 0 outside."""
    tokens = np.array(inside.sum(), dtype=np.float64)
    many = np.maximum(tokens, 1.0)
    mean = credit.sum() / many
    centred = np.where(inside, credit - mean, 0.0)
    factor = whitened.factor(np.vdot(centred, centred) / many, np.vdot(credit, credit) / many, tokens, rounding=1e-26)
    return centred * factor
