"""The loss of padded tokens and its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossim._support import checks
from lossim._support.positions import blocks
from lossim._support.types import ArrayLike, BoolArray, FloatArray
from lossim.aggregation import FAINT, Aggregation
from lossim.schemes import Scheme
from lossim.surrogates import Surrogate
from lossim.tokens._advantages import credited, from_outside
from lossim.tokens._batch import Batch


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenLoss:
    """A loss to be minimised, of one batch.

    Attributes:
        name: of the scheme.
        loss: the number.
        terms: its parts, ``"policy"`` and, with a KL in the loss, ``"kl"`` (coefficient included); they add up to it.
        gradient: d loss / d log_prob, [response, t]; 0 outside the loss.
        advantages: [response, t].
        weights: of each response's tokens in the loss, [response]; 0 out of it.
        mask: tokens in the loss, [response, t].
        clip_fraction: share of the tokens with A ≠ 0 in the loss at which the surrogate has no slope.
    """

    name: str
    loss: float
    terms: dict[str, float]
    gradient: FloatArray
    advantages: FloatArray
    weights: FloatArray
    mask: BoolArray
    clip_fraction: float

    def __repr__(self) -> str:
        terms = ", ".join(f"{name} {value:.4g}" for name, value in self.terms.items())
        return (f"{self.name}: loss {self.loss:.4g} ({terms}) over {int(self.mask.sum()):,} tokens in "
                f"{int(self.mask.any(axis=1).sum()):,} of {len(self.mask):,} responses; clipped "
                f"{100 * self.clip_fraction:.3g} %")


def loss(scheme: Scheme, batch: Batch, *, advantages: ArrayLike | None = None, weight: ArrayLike | None = None
         ) -> TokenLoss:
    """The loss of a scheme on a batch, Σ w·(-A·J) + β Σ w·k, and its gradient in the batch's ``log_prob``.

    w is the aggregation's weight, J the surrogate's objective, k the KL estimator; the gradient at a token is
    w·(-A·gain + β·dk/d log π). Advantages, ratios to the old policy and ``weight`` are constants of the
    differentiation, as in trainers. Of the scheme it reads advantage, surrogate, aggregation, penalties, truncation
    and ``dynamic_sampling="drop"``; the reward is the batch's, and so are the sizes of groups and step. Log ratios are
    not clamped, and no KL is capped (verl holds the former within ±20, k3 below 10).

    Groups with equal rewards that are dropped lose their KL in the loss too; ``"resample"`` does nothing here, where
    the batch is given.

    Args:
        scheme: any :class:`~lossim.Scheme` without an entropy term.
        batch: with ``log_prob``.
        advantages: [response] or [response, t], in place of the scheme's; then the scheme may not drop groups by
            their rewards, nor pay KL in the reward.
        weight: detached factor of the policy term of each token, [response, t], as from :func:`importance_weights`.

    Raises:
        ValueError: the scheme has an entropy term, which needs the whole vocabulary; the batch lacks something.

    Source: the trainers' own functions, see docs/presets.md for what was compared.

    >>> from lossim import schemes
    >>> batch = Batch(log_prob=[[-1.0, -1.5]], old_log_prob=[[-1.0, -1.0]], mask=[[1, 1]], reward=[1.0], group=[0])
    >>> loss(schemes.remax(greedy_reward=0.0), batch).loss
    2.5
    """
    checks.of_kind("scheme", scheme, Scheme, "a Scheme", "for example schemes.grpo()")
    if scheme.entropy is not None:
        checks.fail("penalties", scheme.penalties, "must hold no entropy term at the token level, which needs the "
                    "probabilities of the whole vocabulary", "leave it out")
    checks.of_kind("batch", batch, Batch, "a tokens.Batch", "build one from the trainer's arrays")
    if advantages is not None:
        for slot, moot in (("dynamic_sampling", scheme.dynamic_sampling == "drop"),
                           ("penalties", scheme.kl_in_reward is not None)):
            if moot:
                checks.fail(slot, getattr(scheme, slot), "must not act on rewards where advantages are given",
                            "put it into the advantages, and replace the slot")
    log_prob = batch.need("log_prob")
    advantage, kept, unequal = credited(scheme, batch, advantages)
    inside = kept & unequal[:, None] if scheme.dynamic_sampling == "drop" else kept  # denominators stay
    weights = _weights(scheme.aggregation, batch, kept, advantage) * inside.any(axis=1)
    detached = None if weight is None else from_outside("weight", weight, inside)
    kl = scheme.kl_in_loss
    held_to = batch.need("reference_log_prob") if kl is not None and kl.to == "reference" else None
    terms = {"policy": 0.0} if kl is None else {"policy": 0.0, "kl": 0.0}
    gradient = np.empty(inside.shape)
    moving = 0
    clipped = 0
    for rows in blocks(*inside.shape):
        mask = inside[rows]
        ratio = np.where(mask, batch.log_ratio[rows], 0.0)
        own = advantage[rows]
        factor = np.where(mask, weights[rows, None], 0.0)
        gain, objective = _surrogate(scheme.surrogate, own, ratio, log_prob[rows], mask)
        paid = factor * own if detached is None else factor * own * detached[rows]
        gradient[rows] = 0.0 - paid * gain
        terms["policy"] -= float(np.vdot(paid, objective))
        if kl is not None:
            held = ratio if held_to is None else np.where(mask, log_prob[rows] - held_to[rows], 0.0)
            gradient[rows] += kl.coefficient * factor * kl.slope(held, ratio)
            terms["kl"] += kl.coefficient * float(np.vdot(factor, kl.value(held, ratio)))
        moves = mask & (own != 0)
        moving += int(moves.sum())
        clipped += int((moves & (gain == 0)).sum())
    return TokenLoss(name=scheme.name, loss=sum(terms.values()), terms=terms, gradient=gradient, advantages=advantage,
                     weights=weights, mask=inside, clip_fraction=clipped / max(moving, 1))


def _weights(rule: Aggregation, batch: Batch, inside: BoolArray, advantage: FloatArray) -> FloatArray:
    """Weight of each response's tokens, [response], for groups of any sizes."""
    if rule.needs_max_tokens:
        batch.need("max_tokens")
    responses = len(inside)
    prompts = int(batch.group.max()) + 1
    length = inside.sum(axis=1).astype(np.float64)
    in_loss = length > 0
    length = np.maximum(length, 1.0)
    share = rule.scale(responses / prompts, prompts) / responses
    factor = share * rule.prefactor(length, batch.max_tokens or 1) * in_loss
    size = rule.size(length)
    if size is None:
        return factor
    if rule.by_sign:
        return _balanced(batch, length, in_loss, advantage.sum(axis=1) / length) / prompts
    by_prompt = np.bincount(batch.group, weights=size * in_loss)
    total = by_prompt[batch.group] if rule.within_group else np.full(responses, by_prompt.sum())
    return factor / np.where(total > 0, total, 1.0)


def _balanced(batch: Batch, length: FloatArray, in_loss: BoolArray, advantage: FloatArray) -> FloatArray:
    """n_s/G · 1/Σ_s T of each response in its group, [response]."""
    largest = np.zeros(int(batch.group.max()) + 1)
    np.maximum.at(largest, batch.group, np.abs(advantage))
    sign = np.sign(np.where(np.abs(advantage) > FAINT * largest[batch.group], advantage, 0.0)).astype(np.int64)
    alike = 3 * batch.group + sign + 1
    number = np.bincount(alike, weights=in_loss)[alike]
    tokens = np.bincount(alike, weights=length * in_loss)[alike]
    return in_loss * number / np.maximum(tokens, 1.0) / np.bincount(batch.group)[batch.group]


def _surrogate(surrogate: Surrogate, advantage: FloatArray, ratio: FloatArray, log_prob: FloatArray, inside: BoolArray
               ) -> tuple[FloatArray, FloatArray]:
    """Gain and objective J of each token."""
    length = np.maximum(inside.sum(axis=1, keepdims=True), 1).astype(np.float64)

    def of_sign(sign: int) -> tuple[FloatArray, FloatArray]:
        total = np.where(inside, surrogate.response_part(ratio, sign), 0.0).sum(axis=1, keepdims=True)
        gain = surrogate.token_gain(ratio, sign) * surrogate.response_gain(total, length, sign)
        if surrogate.weight:
            return gain, gain * log_prob
        return gain, surrogate.token_value(ratio, sign) * surrogate.response_value(total, length, sign)

    if not surrogate.signed:
        return of_sign(+1)
    (gain, objective), (gain_below, objective_below) = of_sign(+1), of_sign(-1)
    below = advantage < 0
    return np.where(below, gain_below, gain), np.where(below, objective_below, objective)
