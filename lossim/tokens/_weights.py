"""Small functions beside the schemes: weights for rollout mismatch, DPPO's mask, GDPO's advantages."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from lossim._support import checks
from lossim._support.types import ArrayLike, FloatArray
from lossim.advantages import GroupStandardized, Whitened
from lossim.tokens._advantages import advantages as token_advantages
from lossim.tokens._advantages import whiten
from lossim.tokens._batch import Batch


def importance_weights(batch: Batch, *, level: Literal["token", "sequence", "geometric"] = "token", low: float = 0.0,
                       high: float = 2.0, outside: Literal["clip", "zero"] = "clip") -> FloatArray:
    """Detached weights [response, t] for what the sampling engine did otherwise than the trainer, ρ = π_old/π_rollout.

    ``level``: ρ of the token; of the response, Π_t ρ_t; or their geometric mean. Ratios outside [low, high] are put on
    the bound (truncated importance sampling, TIS) or given weight 0 (masked, at token level IcePop). Give the result
    to :func:`loss` as ``weight=``: it weighs the policy term alone, and no denominator changes. 0 outside the mask.

    verl: token and sequence, ``high`` 2; TRL: sequence, ``"zero"``, ``high`` 3; OpenRLHF's sequence level is the
    geometric mean, in [0.5, 5].

    Raises:
        ValueError: no ``rollout_log_prob``, or bounds that are not 0 ≤ low ≤ high.

    >>> batch = Batch(log_prob=[[-1.0, -1.0]], rollout_log_prob=[[-1.0, -2.0]], mask=[[1, 1]], reward=[1.0], group=[0])
    >>> importance_weights(batch)
    array([[1., 2.]])
    >>> importance_weights(batch, outside="zero")
    array([[1., 0.]])
    """
    checks.choice("level", level, ("token", "sequence", "geometric"))
    checks.choice("outside", outside, ("clip", "zero"))
    checks.at_least("low", low, 0.0)
    if not (isinstance(high, (int, float, np.floating)) and high >= low):
        checks.fail("high", high, f"must be at least low ({low:g})", "use math.inf for no upper bound")
    log_ratio = batch.drawn_log_prob - batch.need("rollout_log_prob")
    if level != "token":
        total = log_ratio.sum(axis=1, keepdims=True)
        total = total / np.maximum(batch.length, 1.0)[:, None] if level == "geometric" else total
        log_ratio = np.broadcast_to(total, log_ratio.shape)
    bounds = math.log(low) if low > 0 else -math.inf, math.log(high) if high > 0 else -math.inf
    inside = batch.mask if outside == "clip" else batch.mask & (log_ratio >= bounds[0]) & (log_ratio <= bounds[1])
    return np.where(inside, np.exp(np.clip(log_ratio, *bounds)), 0.0)


def dppo_mask(batch: Batch, advantages: ArrayLike, *, low: float = 0.2, high: float = 0.2,
              divergence: Literal["tv", "kl"] = "tv") -> FloatArray:
    """1 where DPPO lets a token move, else 0: in reach of the old policy in probability, not in ratio; [response, t].

    With p the probability of the sampled token: ``"tv"`` keeps A > 0 while p - p_old ≤ high and A ≤ 0 while
    p_old - p ≤ low; ``"kl"`` the same of the KL between the two as coins, and whatever moves back. DPPO is
    ``surrogates.CISPO(low=1.0, high=c - 1)`` with this mask as ``weight=`` of :func:`loss`; verl's c is 3 by default.

    Source: arXiv 2602.04879. verl adds 1e-8 to both complements inside the logarithm of ``"kl"``, and so does this.

    >>> batch = Batch(log_prob=np.log([[0.9, 0.5]]), old_log_prob=np.log([[0.5, 0.5]]), mask=[[1, 1]], reward=[1.0],
    ...               group=[0])
    >>> dppo_mask(batch, [1.0])
    array([[0., 1.]])
    """
    checks.choice("divergence", divergence, ("tv", "kl"))
    checks.at_least("low", low, 0.0)
    checks.at_least("high", high, 0.0)
    given = checks.floats("advantages", advantages)
    if given.shape not in (batch.mask.shape, batch.mask.shape[:1]):
        checks.fail("advantages", given.shape, f"must have shape {list(batch.mask.shape)}, as the mask (its shape is "
                    "shown)")
    given = given[:, None] if given.ndim == 1 else given
    log_new, log_old = batch.need("log_prob"), batch.need("old_log_prob")
    new, old = np.exp(log_new), np.exp(log_old)
    if divergence == "tv":
        keep = np.where(given > 0, new - old <= high, old - new <= low)
    else:
        apart = old * (log_old - log_new) + (1.0 - old) * np.log((1.0 - old + 1e-8) / (1.0 - new + 1e-8))
        keep = np.where(given > 0, (apart <= high) | (new <= old), (apart <= low) | (new >= old))
    return np.where(batch.mask & keep, 1.0, 0.0)


def gdpo(rewards: ArrayLike, batch: Batch, *, weights: ArrayLike | None = None, eps: float = 1e-6,
         over: Literal["tokens", "responses"] = "tokens") -> FloatArray:
    """GDPO's advantages [response, t]: each reward standardised within its group, then their sum over the batch.

    A = whitened Σ_k w_k (R_k - mean) / (std + eps). ``over="tokens"`` whitens over the tokens of the batch, as verl;
    ``"responses"`` subtracts the mean over responses and divides by their std + eps, as TRL (whose eps is 1e-4).

    Args:
        rewards: [response, component].
        weights: [component], 1 each unless given.

    Source: arXiv 2601.05242.

    >>> batch = Batch(mask=[[1], [1]], reward=[0.0, 0.0], group=[0, 0])
    >>> gdpo([[1.0, 0.0], [0.0, 1.0]], batch, weights=[2.0, 1.0], over="responses").round(3)
    array([[ 0.707],
           [-0.707]])
    """
    paid = checks.number_array("rewards", rewards, ndim=2)
    if paid.shape[0] != len(batch.mask) or not paid.shape[1]:
        checks.fail("rewards", paid.shape, f"must have shape [{len(batch.mask)}, components] (its shape is shown)")
    checks.at_least("eps", eps, 0.0)
    checks.choice("over", over, ("tokens", "responses"))
    share = np.ones(paid.shape[1]) if weights is None else checks.number_array("weights", weights, ndim=1)
    if share.shape != paid.shape[1:]:
        checks.fail("weights", share.shape, f"must have one entry for each of the {paid.shape[1]} rewards (its shape "
                    "is shown)")
    estimator = GroupStandardized(eps=eps)
    ones = np.ones((len(paid), 1), dtype=bool)
    scores = sum(w * token_advantages(estimator, Batch(mask=ones, reward=column, group=batch.group))
                 for w, column in zip(share, paid.T, strict=True))
    score: FloatArray = np.asarray(scores)
    if over == "responses":
        centred = score - score.mean()
        std = np.sqrt(np.vdot(centred, centred) / max(len(score) - 1, 1)) + eps
        return np.where(batch.mask, centred / std if std > 0 else 0.0, 0.0)
    return whiten(Whitened(inner=estimator), np.where(batch.mask, score, 0.0), batch.mask)
