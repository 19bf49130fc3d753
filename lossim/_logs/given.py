"""Columns of a log that are given in memory: what each must hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._support import checks
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray

_LARGEST = 2.0**53  # whole numbers beyond are not exact as floats


def given_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """The columns as arrays of their own, checked; those after the first three may be None."""
    columns = {name: COLUMNS[name](name, value) for name, value in given.items()
               if value is not None or name in ("lengths", "rewards", "prompt_ids")}
    for name, column in columns.items():
        if column.shape != columns["lengths"].shape:
            checks.fail(name, column.shape, f"must have one entry per response, {columns['lengths'].shape}")
    if "answered" in columns:
        beyond = np.flatnonzero(columns["answered"] > columns["lengths"])
        if beyond.size:
            checks.fail(f"answered[{beyond[0]}]", float(columns["answered"][beyond[0]]),
                        f"must be at most the length of its response, {columns['lengths'][beyond[0]]}",
                        "give NaN where a response has no answer")
    return dict.fromkeys(given) | columns


def given_names(given: Any, classes: IntArray | None) -> tuple[str, ...]:
    """Different names, one for each class that occurs."""
    names: tuple[str, ...] = checks.members("class_names", given, str, "strings")
    if len(set(names)) < len(names):
        checks.fail("class_names", names, "must be different")
    if classes is None:
        checks.fail("class_names", names, "cannot be given without classes, which index them")
    if classes.size and not 0 <= classes.min() <= classes.max() < len(names):
        checks.fail("classes", [int(classes.min()), int(classes.max())],
                    f"must index the {len(names)} class names, from 0 (the least and the largest are shown)")
    return names


def _lengths(name: str, given: ArrayLike) -> IntArray:
    """Whole numbers of tokens."""
    lengths = checks.number_array(name, given, ndim=1, low=1.0, high=_LARGEST)
    broken = np.flatnonzero(lengths % 1 > 0)
    if broken.size:
        checks.fail(f"{name}[{broken[0]}]", float(lengths[broken[0]]), "must be a whole number of tokens")
    return lengths.astype(np.int64)


def _ids(name: str, given: ArrayLike) -> NDArray[Any]:
    """Ids of any kind that can be told apart."""
    try:
        ids = np.asarray(given)
        if ids.dtype.kind in "OT":  # strings or numbers as objects, as frames hold them; of one kind, or 1 were "1"
            kinds = [kind for kind in (str, (bool, int, float)) if all(isinstance(each, kind) for each in ids.tolist())]
            ids = np.asarray(ids.tolist()) if kinds else ids
    except ValueError:
        checks.fail(name, given, "must hold one id per response")
    if ids.dtype.kind not in "biufUS" or (ids.dtype.kind == "f" and np.isnan(ids).any()):
        checks.fail(name, given, "must be numbers or strings, none of them nan or missing")
    return ids


def _positions(name: str, given: ArrayLike) -> FloatArray:
    """Whole numbers from 1, NaN where there is none."""
    try:
        positions = np.asarray(given, dtype=np.float64)  # None becomes NaN
    except (TypeError, ValueError):
        checks.fail(name, given, "must be numbers, NaN or None where there is no answer", error=TypeError)
    raw = np.asarray(given)
    if raw.dtype.kind in "bO" and any(isinstance(each, bool) for each in raw.ravel().tolist()):
        checks.fail(name, given, "must be positions, not whether there is an answer", "give NaN where there is none",
                    TypeError)
    held = np.where(np.isnan(positions), 1.0, positions)
    broken = held[(held < 1) | (held != np.floor(held))]
    if broken.size:
        checks.fail(name, float(broken[0]), "must be positions, whole numbers from 1", "give NaN where there is none")
    return positions.copy()


def _path_names(name: str, given: ArrayLike) -> NDArray[np.str_]:
    """Names, as text."""
    names = np.asarray(given)
    kind = names.dtype.kind if names.size else "U"  # of an empty list numpy makes floats
    if kind not in "UbiO" or not all(isinstance(each, str | int) for each in names.ravel().tolist()):
        checks.fail(name, given, "must be one name per response, text or whole numbers", error=TypeError)
    return names.astype(np.str_)


def _wholes(name: str, given: ArrayLike) -> IntArray:
    """Whole numbers."""
    numbers = checks.number_array(name, given, low=-_LARGEST, high=_LARGEST)
    broken = numbers[numbers % 1 > 0]
    if broken.size:
        checks.fail(name, float(broken[0]), "must be whole numbers")
    return numbers.astype(np.int64)


def _booleans(name: str, given: ArrayLike) -> BoolArray:
    """Truth values."""
    numbers = checks.number_array(name, given, fix="leave it out where it is not known")
    broken = numbers[~np.isin(numbers, (0.0, 1.0))]
    if broken.size:
        checks.fail(name, float(broken[0]), "must be True or False (or 1 and 0)")
    return numbers.astype(np.bool_)


_numbers = partial(checks.number_array, ndim=1)
COLUMNS: dict[str, Callable[[str, Any], NDArray[Any]]] = {
    "lengths": _lengths, "rewards": _numbers, "prompt_ids": _ids, "truncated": _booleans, "correct": _booleans,
    "classes": _wholes, "steps": _wholes, "kl": _numbers, "answered": _positions, "path_names": _path_names,
    "targets": partial(checks.number_array, ndim=1, low=1.0, fix="a target is a number of tokens")}
