"""Closed forms for one geometric response: the facts about length drift that fit on a slide.

The response stops at each token with the same hazard p = logistic(z), q = 1 - p, and is never cut:
P(T = t) = p q^{t-1}. Training moves the one logit z that all positions share. Its score is q at the stop
token and -p at every other, 1 - pT in all, and

    dz/dη = E[ Σ_{t≤T} w(T) · Â_t · score_t ] ,    dE[T]/dη = dE[T]/dz · dz/dη ,    dE[T]/dz = -q/p .

η is the step along the expected update. z up means stop sooner: a positive logit drift shortens. ``hazard`` is p in
(0, 1], and ValueError is raised for any other. ``advantage`` is A, any real number: one constant for all responses, or
the mean of an advantage that does not depend on the length; in the two GAE rows A = R - v, reward minus the constant
critic, with γ = 1. All rows are linear in A.

All functions are vectorised: numbers or arrays that broadcast give a number or an array of the common shape.
Their relative error stays below 1e-14 for hazards from 1e-300 to 1 and any λ. The derivations are in
``docs/derivations.md``, sections 11 and 12.
"""

from __future__ import annotations

import numpy as np

from lossim._support import checks
from lossim._support.types import ArrayLike, FloatArray

__all__ = [
    "length_derivative", "length_drift", "logit_drift_gae_mean_over_tokens", "logit_drift_gae_token_sum",
    "logit_drift_length_penalty", "logit_drift_mean_over_tokens", "logit_drift_token_sum", "loss_of_length",
    "mean_length", "sign_flip_solve_rate"]

Numbers = float | FloatArray

SMALLEST_HAZARD = 1e-300
_SERIES = 0.3  # below this |x| the logarithm is expanded, above it nothing cancels
_TERMS = 36  # 0.3^36 < 1e-18


def mean_length(hazard: ArrayLike) -> Numbers:
    """Mean length E[T] = 1/p for a hazard p, in tokens; the stop token counts.

    >>> float(mean_length(0.02))
    50.0
    """
    return 1.0 / _hazard(hazard)


def length_derivative(hazard: ArrayLike) -> Numbers:
    """Change of the mean length with the stop logit, dE[T]/dz = -(1-p)/p, in tokens per unit of logit; ≤ 0.

    >>> float(length_derivative(0.02))
    -49.0
    """
    p = _hazard(hazard)
    return -(1.0 - p) / p


def length_drift(logit_drift: ArrayLike, hazard: ArrayLike) -> Numbers:
    """Drift of the mean length, dE[T]/dη = -(1-p)/p · dz/dη, in tokens per unit step.

    Args:
        logit_drift: dz/dη, from one of the ``logit_drift_*`` functions or a sum of them.

    Unsolvable prompts (advantage -1) of 50 tokens under a mean over tokens: longer at every step.

    >>> print(f"{length_drift(logit_drift_mean_over_tokens(0.02, advantage=-1.0), 0.02):.3f}")
    2.932
    """
    return _numbers("logit_drift", logit_drift) * length_derivative(hazard)


def logit_drift_token_sum(hazard: ArrayLike, *, advantage: ArrayLike = 1.0) -> Numbers:
    """Token sum, or any constant normaliser, λ = 1: dz/dη = A·E[1 - pT] = 0, in logits per unit step.

    The same advantage for every length is a baseline, and a baseline moves nothing.

    >>> float(logit_drift_token_sum(0.02, advantage=-1.0))
    0.0
    """
    return np.zeros(np.broadcast(_hazard(hazard), _numbers("advantage", advantage)).shape)[()]


def logit_drift_mean_over_tokens(hazard: ArrayLike, *, advantage: ArrayLike = 1.0) -> Numbers:
    """Mean over the response's tokens (weight 1/T), λ = 1, in logits per unit step.

    dz/dη = A·(E[1/T] - p) = A·(-p ln p / q - p)

    Has the sign of A: a negative advantage lengthens, a positive one shortens. 0 at p = 1.

    Source: the effect is the response-level length bias of DR_GRPO in ``lossim.references``.

    >>> print(f"{logit_drift_mean_over_tokens(0.02, advantage=-1.0):.6f}")
    -0.059837
    """
    p = _hazard(hazard)
    return _numbers("advantage", advantage) * p * _log_excess_of_hazard(p)


def logit_drift_gae_token_sum(
        hazard: ArrayLike, gae_lambda: ArrayLike, *, advantage: ArrayLike = 1.0) -> Numbers:
    """GAE with a constant critic, token sum: dz/dη = A·q(1-λ)/(1-λq), in logits per unit step.

    The token k before the last sees λ^k A, so early go-on tokens are paid less than the stop token. It is
    what a length penalty of α = A·p(1-λ)/(1-λq) per token would do: a negative A is a bonus per token.

    Args:
        gae_lambda: λ in [0, 1]; 1 gives 0, as a token sum without GAE does.
        advantage: A = R - v, reward minus the critic's constant value.

    Source: GAE in ``lossim.references``.

    >>> print(f"{logit_drift_gae_token_sum(0.02, 0.95, advantage=-1.0):.6f}")
    -0.710145
    """
    p = _hazard(hazard)
    short = 1.0 - _numbers("gae_lambda", gae_lambda, 0.0, 1.0)
    positive = p + (1.0 - p) * short  # 1 - λq, as a sum of positive terms
    return _numbers("advantage", advantage) * (1.0 - p) * short / positive


def logit_drift_gae_mean_over_tokens(
        hazard: ArrayLike, gae_lambda: ArrayLike, *, advantage: ArrayLike = 1.0) -> Numbers:
    """GAE with a constant critic, mean over the response's tokens, in logits per unit step.

    dz/dη = A·(q M₀ - pλ/(1-λ)·(M₀ - M_λ)) with M₀ = -p ln p / q = E[1/T] and M_λ = -p ln(1-λq)/(λq), which is

    dz/dη = A·p·( (-ln p / q - 1) + (1 - ln(1+u)/u) ) ,    u = q(1-λ)/p .

    Both brackets are at least 0: the first is the drift of the mean over tokens alone, the second what λ < 1
    adds to it. The second form is the one evaluated; the first is 0/0 at λ = 1 and at λ = 0.

    Args:
        gae_lambda: λ in [0, 1]; 1 gives ``logit_drift_mean_over_tokens``, 0 gives A·q·M₀.
        advantage: A = R - v, reward minus the critic's constant value.

    Source: GAE in ``lossim.references``.

    >>> print(f"{logit_drift_gae_mean_over_tokens(0.02, 0.95, advantage=-1.0):.6f}")
    -0.069728
    """
    p = _hazard(hazard)
    short = 1.0 - _numbers("gae_lambda", gae_lambda, 0.0, 1.0)
    u = (1.0 - p) * short / p
    return _numbers("advantage", advantage) * p * (_log_excess_of_hazard(p) - _log_excess(-u, -np.log1p(u)))


def logit_drift_length_penalty(hazard: ArrayLike, *, coefficient: ArrayLike) -> Numbers:
    """Penalty -αT in the reward, token sum: dz/dη = -α·E[T(1 - pT)] = α q/p, in logits per unit step.

    Any baseline that does not depend on the response leaves it as it is.

    Args:
        coefficient: α, reward per token; negative for a bonus.

    >>> print(f"{logit_drift_length_penalty(0.02, coefficient=0.001):.6f}")
    0.049000
    """
    p = _hazard(hazard)
    return _numbers("coefficient", coefficient) * (1.0 - p) / p


def sign_flip_solve_rate(
        value: ArrayLike, *, reward_correct: ArrayLike = 1.0, reward_incorrect: ArrayLike = 0.0) -> Numbers:
    """Solve rate at which the drift under a constant critic changes sign: (v - r₋)/(r₊ - r₋).

    With a solve rate s that does not depend on the length, the mean advantage is s·r₊ + (1-s)·r₋ - v: below
    the rate returned it is negative and lengthens (under 1/T or λ < 1), above it shortens. A rate outside
    (0, 1) is never crossed: the sign is the same for all prompts.

    Args:
        value: v, the critic's constant value, in units of reward.
        reward_correct: r₊, above ``reward_incorrect``.
        reward_incorrect: r₋.

    Raises:
        ValueError: unless r₊ > r₋.

    >>> float(sign_flip_solve_rate(0.0, reward_correct=1.0, reward_incorrect=-1.0))
    0.5
    >>> float(sign_flip_solve_rate(0.0))
    0.0
    """
    v, high, low = np.broadcast_arrays(_numbers("value", value), _numbers("reward_correct", reward_correct),
                                       _numbers("reward_incorrect", reward_incorrect))
    if np.any(high <= low):
        first = np.unravel_index(int(np.argmax(high <= low)), high.shape)
        checks.fail("reward_correct", float(high[first]),
                    f"must be above reward_incorrect, here {float(low[first]):g}", "swap the two")
    return (v - low) / (high - low)


def loss_of_length(length: ArrayLike, gae_lambda: ArrayLike, *, reward: ArrayLike = -1.0) -> Numbers:
    """Loss of one response as a function of its length: L(T) = -(R/T)·(1-λ^T)/(1-λ), in units of reward.

    What a trainer logs on policy (ratio 1) for a terminal reward R, a zero critic, γ = 1 and the mean over
    the response's T tokens: minus the mean of λ^{T-t}R. The longer the response, the more its reward is
    diluted. At λ = 1 it is -R for every length, and yet the gradient under 1/T moves length: a loss is not
    an objective.

    Args:
        length: T ≥ 1, tokens.
        gae_lambda: λ in [0, 1].
        reward: R, the reward at the last token.

    Source: CONCISE_REASONING in ``lossim.references``.

    >>> [round(float(loss), 4) for loss in loss_of_length([1, 10, 100], 0.95, reward=-1.0)]
    [1.0, 0.8025, 0.1988]
    """
    tokens = _numbers("length", length, 1.0, np.inf)
    factor = _numbers("gae_lambda", gae_lambda, 0.0, 1.0)
    one = factor == 1.0
    with np.errstate(divide="ignore"):  # ln 0 = -inf is what λ = 0 needs
        log_factor = np.log(factor)
    kept = np.where(one, tokens, -np.expm1(tokens * log_factor) / np.where(one, 1.0, 1.0 - factor))
    return -_numbers("reward", reward) * kept / tokens


def _log_excess_of_hazard(p: FloatArray) -> FloatArray:
    """-ln p / q - 1 ≥ 0 for a hazard p, q = 1 - p."""
    return _log_excess(1.0 - p, -np.log(p))


def _log_excess(x: FloatArray, minus_log: FloatArray) -> FloatArray:
    """-ln(1-x)/x - 1 = Σ_{k≥1} x^k/(k+1), from x < 1 and -ln(1-x); no cancellation near x = 0."""
    near = np.abs(x) < _SERIES
    small = np.where(near, x, 0.0)
    series = small * np.polynomial.polynomial.polyval(small, 1.0 / np.arange(2.0, _TERMS + 2.0))
    return np.where(near, series, minus_log / np.where(near, 1.0, x) - 1.0)


def _hazard(hazard: ArrayLike) -> FloatArray:
    return _numbers("hazard", hazard, SMALLEST_HAZARD, 1.0, "it is the chance to stop at each token, and 0 never stops")


def _numbers(name: str, value: ArrayLike, low: float = -np.inf, high: float = np.inf, fix: str = "") -> FloatArray:
    """Finite numbers in [low, high], as an array."""
    if isinstance(value, float | int):  # a message without brackets for a single number
        checks.in_interval(name, checks.finite(name, value), low, high, fix)
    return checks.number_array(name, value, low=low, high=high, fix=fix)
