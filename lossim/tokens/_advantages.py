"""Advantages of padded tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossim._engine import Groups, credit
from lossim._support import checks
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import Advantage, Whitened
from lossim.aggregation import TokenSum
from lossim.penalties import KL
from lossim.schemes import Scheme
from lossim.tokens._batch import Batch
from lossim.tokens._gae import token_gae
from lossim.tokens._padding import padding_of

__all__ = ["BatchCredit", "advantages", "batch_credit", "token_advantages", "whiten"]


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
    scheme = given if isinstance(given, Scheme) else _alone(given)
    return token_advantages(scheme, batch, batch_credit(scheme, batch))


def _alone(estimator: Advantage) -> Scheme:
    """A scheme that has this estimator, and else nothing that acts on the advantages of a batch."""
    return Scheme(advantage=estimator, aggregation=TokenSum(), group_size=estimator.least_group_size)


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchCredit:
    """What the groups of a batch say of its responses.

    Attributes:
        advantage: of each response, [response]; None where the estimator has one for each token.
        in_loss: tokens in the loss, [response, t].
        unequal: responses in groups with at least two different task rewards, [response].
        paid: what KL in the reward pays each token, [response, t]; None without.
    """

    advantage: FloatArray | None
    in_loss: BoolArray
    unequal: BoolArray
    paid: FloatArray | None


def batch_credit(scheme: Scheme, batch: Batch, *, with_advantages: bool = True) -> BatchCredit:
    """The credit of the responses, by group and step; without advantages where these are given from outside."""
    cut = np.zeros(len(batch.mask), dtype=bool)
    if scheme.truncation != "keep":
        cut = batch.need_truncated(f"truncation={scheme.truncation!r}")
    paid = _kl_paid(batch, scheme.kl_in_reward) if with_advantages else None
    estimator = scheme.advantage.response_level if with_advantages else None
    baseline = batch.baseline
    if baseline is None:
        baseline = np.zeros(len(cut)) if estimator is None else np.resize(estimator.fixed_baseline(None), len(cut))
    # One step of groups, [1, prompt, member], padded to the largest.
    padding = padding_of(batch.group)
    found = credit(scheme, estimator, Groups(
        task=padding.pad(batch.total),
        returns=padding.pad(batch.total if paid is None else batch.total + paid.sum(axis=1)),
        length=padding.pad(batch.length),
        member=padding.member,
        counted=padding.pad(~cut if scheme.truncation == "remove" else np.ones_like(cut)),
        in_loss=padding.pad(~cut),
        baseline=padding.pad(baseline)))
    return BatchCredit(
        advantage=None if found.advantage is None else padding.taken(found.advantage),
        in_loss=batch.mask & padding.taken(found.in_loss)[:, None],
        unequal=padding.taken(np.broadcast_to(found.unequal, padding.member.shape)), paid=paid)


def token_advantages(scheme: Scheme, batch: Batch, found: BatchCredit) -> FloatArray:
    """A of each token, [response, t], 0 outside the loss; whitened if the scheme says so."""
    inside = found.in_loss
    gae = scheme.advantage.token_level
    if gae is not None:
        reward = batch.token_reward if found.paid is None else batch.token_reward + found.paid
        advantage = np.where(inside, token_gae(gae, batch, reward), 0.0)
    elif found.advantage is not None:
        advantage = np.where(inside, found.advantage[:, None], 0.0)
    else:
        raise ValueError("the credit of the batch was taken without advantages")
    whitening = scheme.advantage.whitening
    return advantage if whitening is None else whiten(whitening, advantage, inside)


def _kl_paid(batch: Batch, kl: KL | None) -> FloatArray | None:
    """What KL in the reward pays each token."""
    if kl is None or kl.coefficient == 0:
        return None
    drawn = batch.need("log_prob") if batch.old_log_prob is None else batch.old_log_prob
    price = kl.coefficient * (drawn - batch.need("reference_log_prob"))  # content tokens bring their own KL
    return np.where(batch.mask, -price, 0.0)


def whiten(whitened: Whitened, advantage: FloatArray, inside: BoolArray) -> FloatArray:
    """(A - μ)·(σ² + eps)^-½ over the tokens inside, 0 outside."""
    tokens = np.array(inside.sum(), dtype=np.float64)
    many = np.maximum(tokens, 1.0)
    mean = advantage.sum() / many
    centred = np.where(inside, advantage - mean, 0.0)
    factor = whitened.factor(np.vdot(centred, centred) / many, np.vdot(advantage, advantage) / many, tokens,
                             rounding=1e-26)
    return centred * factor
