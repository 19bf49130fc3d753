"""Plain values: what strict JSON can hold, which has no numpy, no NaN and no infinity."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lossim._support import checks


def plain(value: Any) -> Any:
    """The value with lists for arrays and tuples, Python's numbers for numpy's, and None for NaN and ±inf.

    Lists, tuples and dicts are gone through, however deep; text, whole numbers, booleans and None stay. A TypeError
    for anything else.

    >>> plain({"rate": np.float64("nan"), "by_cell": np.array([1.0, np.inf]), "steps": (1, 2)})
    {'rate': None, 'by_cell': [1.0, None], 'steps': [1, 2]}
    """
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind in "biuU":
            return array.tolist()
        if array.dtype.kind != "f":  # objects, one by one: what JSON has no form for is refused there
            return plain(array.astype(object).tolist())
        listed = array.astype(np.float64).astype(object)
        listed[~np.isfinite(array)] = None
        return listed.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    checks.fail("value", value, "must be made of numbers, text, lists and dicts to become JSON", error=TypeError)
