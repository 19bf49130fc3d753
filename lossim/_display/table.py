"""Tidy tables: columns by name, each of one kind, as they go to data frames and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Columns", "packed", "tidy", "unpacked"]

Columns = Mapping[str, Any]
"""Columns by name, arrays or lists of one length."""
_KINDS = {"b": "flag", "i": "whole", "u": "whole", "f": "number"}
_ARRAYS: dict[str, Any] = {"flag": np.bool_, "whole": np.int64, "number": np.float64}


def tidy(columns: Columns) -> dict[str, Any]:
    """The columns, each one array of flags, of whole numbers or of numbers, or a list of texts.

    None is NaN among numbers, and stays None among texts.

    >>> tidy({"path": ["right", None], "tokens": [1.5, None]})
    {'path': ['right', None], 'tokens': array([1.5, nan])}
    """
    return {name: _column(values) for name, values in columns.items()}


def _column(values: Sequence[Any]) -> Any:
    """One column."""
    array = np.asarray(values) if len(values) else np.zeros(0)
    if array.dtype.kind == "O" and all(each is None or isinstance(each, (int, float)) for each in array.tolist()):
        array = array.astype(np.float64)
    kind = _KINDS.get(array.dtype.kind)
    if kind is None:
        return [None if each is None else str(each) for each in array.tolist()]
    return array.astype(_ARRAYS[kind])


def packed(columns: Columns) -> dict[str, Any]:
    """Tidy columns as strict JSON has them: null for NaN, "inf" and "-inf" for what is infinite."""
    made = {}
    for name, values in columns.items():
        if isinstance(values, list):
            made[name] = {"kind": "text", "values": values}
            continue
        kind = _KINDS[values.dtype.kind]
        listed = values.tolist()
        if kind == "number":
            listed = [each if np.isfinite(each) else None if np.isnan(each) else str(each) for each in listed]
        made[name] = {"kind": kind, "values": listed}
    return made


def unpacked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Tidy columns from what `packed` made of them.

    >>> unpacked(packed(tidy({"low": [-np.inf, np.nan, 1.0]})))
    {'low': array([-inf,  nan,   1.])}
    """
    return {name: each["values"] if each["kind"] == "text" else
            np.array([np.nan if value is None else float(value) if isinstance(value, str) else value
                      for value in each["values"]], dtype=_ARRAYS[each["kind"]])
            for name, each in given.items()}
