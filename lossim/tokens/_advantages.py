"""Advantages of padded tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._engine import Groups, credit
from lossim._support import checks
from lossim._support.positions import blocks, discounted_sum
from lossim._support.types import ArrayLike, BoolArray, FloatArray
from lossim.advantages import GAE, Advantage, Whitened
from lossim.aggregation import TokenSum
from lossim.schemes import Scheme
from lossim.tokens._batch import Batch, finite, last_column


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
    checks.of_kind("given", given, (Advantage, Scheme), "an advantage estimator or a Scheme",
                   "for example advantages.GroupMean()")
    # An estimator alone: a scheme that has it, and else nothing that acts on the advantages of a batch.
    scheme = given if isinstance(given, Scheme) else Scheme(advantage=given, aggregation=TokenSum(),
                                                            group_size=given.least_group_size)
    return credited(scheme, batch)[0]


def credited(scheme: Scheme, batch: Batch, given: ArrayLike | None = None) -> tuple[FloatArray, BoolArray, BoolArray]:
    """Advantages of the tokens, or what is given in their place, and what the groups of the batch say.

    A [response, t], 0 outside the loss; tokens in the loss, [response, t]; responses in groups with at least two
    different task rewards, [response].
    """
    estimator = scheme.advantage.response_level if given is None else None
    rows = len(batch.mask)
    cut = np.zeros(rows, dtype=bool)
    if scheme.truncation != "keep":
        cut = batch.need_truncated(f"truncation={scheme.truncation!r}")

    late = np.zeros(rows, dtype=bool)
    if scheme.selection is not None and scheme.selection.drops == "response":  # groups are dropped before the batch
        late = ~scheme.selection.in_time(batch.length)

    # what KL in the reward pays each token; content tokens bring their own
    paid = None
    kl = scheme.kl_in_reward
    if given is None and kl is not None and kl.coefficient != 0:
        price = kl.coefficient * (batch.drawn_log_prob - batch.need("reference_log_prob"))
        paid = np.where(batch.mask, -price, 0.0)
    baseline = batch.baseline
    if baseline is None:
        baseline = np.zeros(rows) if estimator is None else np.resize(estimator.fixed_baseline(None), rows)

    # one step of groups side by side, [1, prompt, member], padded to the largest
    sizes = np.bincount(batch.group)
    order = np.argsort(batch.group, kind="stable")
    place = np.empty(rows, dtype=np.int64)
    place[order] = np.arange(rows) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    member = (np.arange(sizes.max()) < sizes[:, None])[None]

    def padded(column: NDArray[Any]) -> NDArray[Any]:
        table = np.zeros(member.shape, dtype=column.dtype)
        table[0, batch.group, place] = column
        return table

    found = credit(scheme, estimator, Groups(
        task=padded(batch.total), length=padded(batch.length), member=member,
        returns=padded(batch.total if paid is None else batch.total + paid.sum(axis=1)),
        counted=padded(~(cut | late) if scheme.truncation == "remove" else ~late), in_loss=padded(~(cut | late)),
        baseline=padded(baseline)))
    inside = batch.mask & found.in_loss[0, batch.group, place][:, None]
    unequal = found.unequal[0, batch.group, 0]

    if given is not None:
        return from_outside("advantages", given, inside), inside, unequal
    gae = scheme.advantage.token_level
    if gae is None:
        of_tokens = np.asarray(found.advantage)[0, batch.group, place][:, None]
    else:
        of_tokens = _gae(gae, batch, batch.token_reward if paid is None else batch.token_reward + paid)
    advantage = np.where(inside, of_tokens, 0.0)
    whitening = scheme.advantage.whitening
    return advantage if whitening is None else whiten(whitening, advantage, inside), inside, unequal


def from_outside(name: str, value: ArrayLike, inside: BoolArray) -> FloatArray:
    """Numbers from outside, [response] or [response, t], 0 outside the loss."""
    array = checks.floats(name, value)
    if array.shape == inside.shape[:1]:
        array = array[:, None]
    elif array.shape != inside.shape:
        checks.fail(name, array.shape, f"must have shape [{len(inside)}] or {list(inside.shape)}, as the mask (its "
                    "shape is shown)")
    return finite(name, array, inside)


def _gae(gae: GAE, batch: Batch, reward: FloatArray) -> FloatArray:
    """A_t = δ_t + γλ A_{t+1} with δ_t = r_t + γV_{t+1} - V_t over the tokens of the mask, 0 elsewhere; [response, t].

    By blocks of responses that stay in the cache. ``reward`` [response, t] is 0 outside the mask.
    """
    rows, width = batch.mask.shape
    values = batch.values if gae.reads_values else None
    if values is None:
        level = gae.critic.constant
        if level is None:
            checks.fail("values", None, f"must be given for the critic {gae.critic!r}, which reads a policy",
                        "pass values= to tokens.Batch")
        values = np.broadcast_to(level, (rows, width + 1))
    if gae.bootstrap_truncated and values.shape[1] == width:
        checks.fail("values", values.shape, "must have one more column than the mask for bootstrap_truncated",
                    "its entry behind the last token is the value there")
    cut = batch.need_truncated("bootstrap_truncated") if gae.bootstrap_truncated else None
    advantage = np.zeros(batch.mask.shape)
    for block in blocks(*batch.mask.shape):
        mask = batch.mask[block]
        paid = reward[block]
        value = np.where(mask, values[block, :width], 0.0)
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
            ends = np.flatnonzero(cut[block] & mask.any(axis=1))
            last = np.count_nonzero(mask[ends], axis=1) - 1
            delta[ends, last] += gae.gamma * values[block][ends, last_column(mask[ends]) + 1]
        # Their discounted sums.
        if gae.adaptive:
            length = np.maximum(np.count_nonzero(mask, axis=1), 1.0)
            advantage[block] = _doubling(delta, gae.discount_by_length(length))
        else:
            discounted_sum(delta, gae.discount, out=advantage[block])
        if closed is not None:
            advantage[block] = _moved(advantage[block], closed, mask)
    return advantage


def _moved(x: FloatArray, source: BoolArray, target: BoolArray) -> FloatArray:
    """The entries of ``x`` at ``source``, row by row, at ``target``; 0 elsewhere."""
    moved = np.zeros(x.shape)
    moved[target] = x[source]
    return moved


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


def whiten(whitened: Whitened, advantage: FloatArray, inside: BoolArray) -> FloatArray:
    """(A - μ)·(σ² + eps)^-½ over the tokens inside, 0 outside."""
    tokens = np.array(inside.sum(), dtype=np.float64)
    many = np.maximum(tokens, 1.0)
    mean = advantage.sum() / many
    centred = np.where(inside, advantage - mean, 0.0)
    factor = whitened.factor(np.vdot(centred, centred) / many, np.vdot(advantage, advantage) / many, tokens,
                             rounding=1e-26)
    return centred * factor
