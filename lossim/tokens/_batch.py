"""Padded responses of one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._support import checks
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray

ROUNDING = 1e-6
"""Log probabilities up to this are taken for 0: sums in float32 leave that much."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Responses of one optimiser step, padded: [response, t]. What lies outside the mask is never read.

    Args:
        mask: which tokens were sampled from the policy; booleans or 0/1. Rows may be all 0, gaps are allowed.
        reward: task reward, [response] (paid at the last token of the mask; of a response without tokens it still
            counts in the baseline of its group) or [response, t]. Shapings come before: see ``Reward.values``.
        group: the prompt of each response, [response]: numbers or strings. Groups may differ in size.
        log_prob: log π of each token under the policy that is differentiated, in nats; only a loss needs it.
        old_log_prob: the same under the policy whose ratio the surrogate takes. None: on-policy, all ratios 1.
        rollout_log_prob: the same as the engine that sampled reported it, for :func:`importance_weights`.
        reference_log_prob: the same under the reference policy, for a KL.
        values: the critic's V before each token, [response, t]; with one more column, the value behind the last one.
        truncated: which responses were cut at the cap, [response], booleans or 0/1. None: unknown, which a scheme
            that treats them in its own way refuses.
        baseline: a fixed baseline of each response, [response], for ``advantages.Raw``: of ReMax, the reward of the
            greedy response.
        max_tokens: the cap, tokens; an aggregation that divides by it needs it.

    Raises:
        TypeError: what numpy cannot read as numbers.
        ValueError: shapes that do not fit; inside the mask, numbers that are not finite or log probabilities above
            1e-6 (below that they are taken for rounding, and for 0); a reward on a token outside the mask; a response
            longer than ``max_tokens``.

    >>> Batch(mask=[[1, 1, 0], [1, 0, 0]], reward=[1.0, 0.0], group=[7, 7])
    Batch(2 responses to 1 prompt, 3 tokens in 2 × 3)
    """

    mask: BoolArray
    reward: FloatArray
    group: IntArray
    log_prob: FloatArray | None
    old_log_prob: FloatArray | None
    rollout_log_prob: FloatArray | None
    reference_log_prob: FloatArray | None
    values: FloatArray | None
    truncated: BoolArray | None
    baseline: FloatArray | None
    max_tokens: int | None

    def __init__(self, *, mask: ArrayLike, reward: ArrayLike, group: ArrayLike, log_prob: ArrayLike | None = None,
                 old_log_prob: ArrayLike | None = None, rollout_log_prob: ArrayLike | None = None,
                 reference_log_prob: ArrayLike | None = None, values: ArrayLike | None = None,
                 truncated: ArrayLike | None = None, baseline: ArrayLike | None = None,
                 max_tokens: int | None = None) -> None:
        inside = _flags("mask", mask, 2, "a [response, t] array with at least one response and token")
        rows = len(inside)
        given: dict[str, Any] = {"mask": inside, "reward": _reward(reward, inside), "group": _groups(group, rows)}
        for name, value in (("log_prob", log_prob), ("old_log_prob", old_log_prob), ("values", values),
                            ("rollout_log_prob", rollout_log_prob), ("reference_log_prob", reference_log_prob)):
            given[name] = None if value is None else _tokens(name, value, inside)
        one_each = f"one entry for each of the {rows} responses"
        given["truncated"] = None if truncated is None else _flags("truncated", truncated, 1, one_each, (rows,))
        given["baseline"] = None if baseline is None else checks.number_array("baseline", baseline, ndim=1)
        if given["baseline"] is not None and given["baseline"].shape != (rows,):
            checks.fail("baseline", given["baseline"].shape, f"must have {one_each} (its shape is shown)")
        given["max_tokens"] = None if max_tokens is None else checks.whole("max_tokens", max_tokens)
        longest = int(inside.sum(axis=1).max())
        if max_tokens is not None and max_tokens < longest:
            checks.fail("max_tokens", max_tokens, f"must be at least {longest}, the length of the longest response")
        for name, value in given.items():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    @cached_property
    def length(self) -> FloatArray:
        """Tokens of each response, [response]."""
        return self.mask.sum(axis=1).astype(np.float64)

    @cached_property
    def total(self) -> FloatArray:
        """Task reward of each response, [response]."""
        return self.reward if self.reward.ndim == 1 else self.reward.sum(axis=1)

    @cached_property
    def token_reward(self) -> FloatArray:
        """Task reward of each token, [response, t]."""
        if self.reward.ndim == 2:
            return self.reward
        paid, held = np.zeros(self.mask.shape), self.mask.any(axis=1)
        paid[held, last_column(self.mask[held])] = self.reward[held]
        return paid

    @cached_property
    def log_ratio(self) -> FloatArray:
        """log π/π_old of each token, 0 on-policy and outside the mask."""
        if self.old_log_prob is None:
            return np.zeros(self.mask.shape)
        return self.need("log_prob") - self.old_log_prob

    @property
    def drawn_log_prob(self) -> FloatArray:
        """log π of each token under the policy that drew it."""
        return self.need("log_prob") if self.old_log_prob is None else self.old_log_prob

    def need(self, name: str, reason: str = "this") -> Any:
        """A field that may be missing, or an error that names it and says what it is needed for."""
        value = getattr(self, name)
        if value is None:
            checks.fail(name, None, f"must be given for {reason}", f"pass {name}= to tokens.Batch")
        return value

    def need_truncated(self, reason: str) -> BoolArray:
        """Which responses were cut, or an error that says for what this must be known."""
        cut: BoolArray = self.need("truncated", reason)
        return cut

    def __repr__(self) -> str:
        (rows, width), prompts = self.mask.shape, int(self.group.max()) + 1
        return (f"Batch({rows:,} response{'s' * (rows > 1)} to {prompts:,} prompt{'s' * (prompts > 1)}, "
                f"{int(self.length.sum()):,} tokens in {rows:,} × {width:,})")


def last_column(mask: BoolArray) -> IntArray:
    """The column of the last token of each row."""
    return mask.shape[1] - 1 - np.argmax(mask[:, ::-1], axis=1)


def _refuse(name: str, array: FloatArray, bad: BoolArray, rule: str, fix: str = "") -> None:
    """Fail with the first entry that is bad, if one is."""
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        checks.fail(f"{name}[{', '.join(map(str, first))}]", float(array[first]), rule, fix)


def _flags(name: str, value: ArrayLike, ndim: int, what: str, shape: tuple[int, ...] | None = None) -> BoolArray:
    """Booleans, or numbers 0 and 1, as booleans of their own."""
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        given: NDArray[Any] = value
    else:
        given = checks.floats(name, value)
        _refuse(name, given, (given != 0.0) & (given != 1.0), "must be 0 or 1")
    if given.ndim != ndim or not given.size or shape not in (None, given.shape):
        checks.fail(name, given.shape, f"must be {what} (its shape is shown)")
    return np.asarray(given != 0)


def _reward(reward: ArrayLike, inside: BoolArray) -> FloatArray:
    """Rewards as given, [response] or [response, t]."""
    paid, (rows, width) = checks.floats("reward", reward), inside.shape
    if paid.shape == (rows,):
        return finite("reward", paid, np.ones(rows, dtype=bool))
    if paid.shape != (rows, width):
        checks.fail("reward", paid.shape, f"must have shape [{rows}] or [{rows}, {width}], as the mask (its shape is "
                    "shown)")
    _refuse("reward", paid, ~inside & np.isfinite(paid) & (paid != 0.0), "must be 0 outside the mask, where nothing is "
           "read", "put it on the last token of the mask, or pay the response: reward of shape [response]")
    return finite("reward", paid, inside)


def finite(name: str, array: FloatArray, inside: BoolArray) -> FloatArray:
    """The array with 0 outside the mask."""
    held = np.where(inside, array, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(held.sum())  # one pass, where looking at each number takes three
    if suspect:
        _refuse(name, held, ~np.isfinite(held), "must be finite inside the mask")
    return held


def _tokens(name: str, value: ArrayLike, inside: BoolArray) -> FloatArray:
    plain = isinstance(value, np.ndarray) and value.dtype == np.float64  # is copied below
    array: FloatArray = np.asarray(value) if plain else checks.floats(name, value)
    rows, width = inside.shape
    shapes = ((rows, width), (rows, width + 1)) if name == "values" else ((rows, width),)
    if array.shape not in shapes:
        checks.fail(name, array.shape, "must have shape " + " or ".join(f"[{r}, {t}]" for r, t in shapes)
                    + ", as the mask (its shape is shown)")
    if array.shape[1] > width:  # what is behind the last token is read where a cut response bootstraps
        read = np.pad(inside, ((0, 0), (0, 1)))
        held = inside.any(axis=1)
        read[held, last_column(inside[held]) + 1] = True
        return finite(name, array, read)
    array = finite(name, array, inside)
    if name != "values" and array.max() > 0:
        largest = array.max()
        _refuse(name, array, (array == largest) & (largest > ROUNDING), "must be at most 0, a log probability",
               "if it is rounding, pass np.minimum(x, 0)")
        array = np.minimum(array, 0.0)
    return array


def _groups(group: ArrayLike, rows: int) -> IntArray:
    given: NDArray[Any] = np.asarray(group)
    if given.shape != (rows,):
        checks.fail("group", given.shape, f"must name the prompt of each of the {rows} responses (its shape is shown)")
    kinds = {type(each) for each in (group if isinstance(group, Sequence) else given.tolist())}
    named = given.dtype.kind in "US"
    if given.dtype.kind not in "biufUS" or (named and not kinds <= {str, bytes, np.str_, np.bytes_}):
        checks.fail("group", group, "must hold numbers or strings, one kind of them", error=TypeError)
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        checks.fail("group", group, "must hold no NaN or infinity")
    return np.unique(given, return_inverse=True)[1]
