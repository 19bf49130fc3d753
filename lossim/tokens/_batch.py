"""Padded responses of one step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim import _check
from lossim._types import ArrayLike, BoolArray, FloatArray, IntArray

__all__ = ["Batch"]


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
        truncated: which responses were cut at the cap, [response]. None: unknown, which a scheme that treats them in
            its own way refuses.
        baseline: a fixed baseline of each response, [response], for ``advantages.Raw``: of ReMax, the reward of the
            greedy response.
        max_tokens: the cap, tokens, where an aggregation divides by it; None for the padded width.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite inside the mask.

    >>> Batch(mask=[[1, 1, 0], [1, 0, 0]], reward=[1.0, 0.0], group=[7, 7])
    Batch(2 responses to 1 prompts, 3 tokens in 2 × 3)
    """

    mask: BoolArray
    reward: FloatArray
    total: FloatArray
    group: IntArray
    log_prob: FloatArray | None
    old_log_prob: FloatArray | None
    rollout_log_prob: FloatArray | None
    reference_log_prob: FloatArray | None
    values: FloatArray | None
    truncated: BoolArray | None
    baseline: FloatArray | None
    max_tokens: int

    def __init__(self, *, mask: ArrayLike, reward: ArrayLike, group: ArrayLike, log_prob: ArrayLike | None = None,
                 old_log_prob: ArrayLike | None = None, rollout_log_prob: ArrayLike | None = None,
                 reference_log_prob: ArrayLike | None = None, values: ArrayLike | None = None,
                 truncated: ArrayLike | None = None, baseline: ArrayLike | None = None,
                 max_tokens: int | None = None) -> None:
        inside = _mask(mask)
        rows, width = inside.shape
        paid = _check.floats("reward", reward)
        if paid.shape not in ((rows,), (rows, width)):
            _check.fail("reward", paid.shape, f"must have shape [{rows}] or [{rows}, {width}], as the mask (its shape "
                        "is shown)")
        if paid.ndim == 1:
            total = _finite("reward", paid, np.ones(rows, dtype=bool))
            at_end = np.zeros(inside.shape)
            held = inside.any(axis=1)
            at_end[held, width - 1 - np.argmax(inside[held, ::-1], axis=1)] = paid[held]
            paid = at_end
        else:
            paid = _finite("reward", paid, inside)
            total = paid.sum(axis=1)
        given: dict[str, Any] = {"mask": inside, "reward": paid, "total": total, "group": _groups(group, rows)}
        for name, value in (("log_prob", log_prob), ("old_log_prob", old_log_prob), ("values", values),
                            ("rollout_log_prob", rollout_log_prob), ("reference_log_prob", reference_log_prob)):
            given[name] = None if value is None else _tokens(name, value, inside)
        given["truncated"] = None if truncated is None else _column("truncated", truncated, rows) != 0.0
        given["baseline"] = None if baseline is None else _column("baseline", baseline, rows)
        given["max_tokens"] = width if max_tokens is None else _check.whole("max_tokens", max_tokens)
        for name, value in given.items():
            object.__setattr__(self, name, value)

    @cached_property
    def length(self) -> FloatArray:
        """Tokens of each response, [response]."""
        length: FloatArray = self.mask.sum(axis=1).astype(np.float64)
        return length

    @cached_property
    def log_ratio(self) -> FloatArray:
        """log π/π_old of each token, 0 on-policy and outside the mask."""
        if self.old_log_prob is None:
            return np.zeros(self.mask.shape)
        ratio: FloatArray = self.need("log_prob") - self.old_log_prob
        return ratio

    def need(self, name: str) -> Any:
        """A field that may be missing, or an error that names it."""
        value = getattr(self, name)
        if value is None:
            _check.fail(name, None, "must be given for this", f"pass {name}= to tokens.Batch")
        return value

    def __repr__(self) -> str:
        rows, width = self.mask.shape
        return (f"Batch({rows:,} responses to {self.group.max(initial=-1) + 1:,} prompts, {int(self.length.sum()):,} "
                f"tokens in {rows:,} × {width:,})")


def _mask(mask: ArrayLike) -> BoolArray:
    given = np.asarray(mask)
    if given.ndim != 2 or not given.size:
        _check.fail("mask", given.shape, "must be a [response, t] array with at least one response and token (its "
                    "shape is shown)")
    if given.dtype == np.bool_:
        return given.copy()
    numbers = _check.floats("mask", given)
    bad = ~np.isin(numbers, (0.0, 1.0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        _check.fail(f"mask[{row}, {column}]", float(numbers[row, column]), "must be 0 or 1")
    inside: BoolArray = numbers == 1.0
    return inside


def _finite(name: str, array: FloatArray, inside: BoolArray) -> FloatArray:
    """The array with 0 outside the mask."""
    held = np.where(inside, array, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(held.sum())  # one pass, where looking at each number takes three
    if suspect and (bad := ~np.isfinite(held)).any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        _check.fail(f"{name}[{', '.join(map(str, first))}]", float(held[first]), "must be finite inside the mask")
    return held


def _tokens(name: str, value: ArrayLike, inside: BoolArray) -> FloatArray:
    plain = isinstance(value, np.ndarray) and value.dtype == np.float64  # is copied below
    array: FloatArray = np.asarray(value) if plain else _check.floats(name, value)
    rows, width = inside.shape
    shapes = ((rows, width), (rows, width + 1)) if name == "values" else ((rows, width),)
    if array.shape not in shapes:
        _check.fail(name, array.shape, "must have shape " + " or ".join(f"[{r}, {t}]" for r, t in shapes)
                    + ", as the mask (its shape is shown)")
    if array.shape[1] > width:
        return _check.number_array(name, array)
    array = _finite(name, array, inside)
    if name != "values" and array.max() > 0:
        row, column = np.argwhere(array > 0)[0]
        _check.fail(f"{name}[{row}, {column}]", float(array[row, column]), "must be at most 0, a log probability")
    return array


def _column(name: str, value: ArrayLike, rows: int) -> FloatArray:
    column = _check.number_array(name, value, ndim=1)
    if column.shape != (rows,):
        _check.fail(name, column.shape, f"must have one entry for each of the {rows} responses (its shape is shown)")
    return column


def _groups(group: ArrayLike, rows: int) -> IntArray:
    given: NDArray[Any] = np.asarray(group)
    if given.shape != (rows,):
        _check.fail("group", given.shape, f"must name the prompt of each of the {rows} responses (its shape is shown)")
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        _check.fail("group", given, "must hold no NaN or infinity")
    _, number = np.unique(given, return_inverse=True)
    index: IntArray = number
    return index
