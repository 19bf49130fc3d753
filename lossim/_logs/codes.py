"""Prompts and classes as numbers from 0: of what tells prompts apart, 16 bytes each are kept at most."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._support.types import BoolArray, IntArray

VERL_KEY = re.compile(r"(.+)_[0-9]+_[0-9]+", re.DOTALL)  # verl's name of a row: {group}_{sample}_{part}


@dataclass(frozen=True, eq=False, repr=False)
class Coded:
    """A raw column by indices into values; -1 where there is none."""

    codes: IntArray
    values: list[Any] | NDArray[Any]


def coded(values: list[Any]) -> Coded:
    """Values of any kind, the different ones in order of first appearance; 1 and 1.0 are one, 1 and "1" are two."""
    found: dict[Any, int] = {}
    kinds = set(map(type, values))
    if kinds == {str} or kinds == {int}:  # the common case, fast
        codes = [found.setdefault(value, len(found)) for value in values]
        return Coded(np.array(codes, np.int32), list(found))
    items: list[Any] = []
    codes = [-1] * len(values)
    for i, value in enumerate(values):
        if value is None:
            continue
        if type(value) is float and value.is_integer():
            value = int(value)
        content = value if isinstance(value, (str, int, float)) else _content(value)
        codes[i] = found.setdefault((type(value), content), len(found))
        if codes[i] == len(items):
            items.append(value)
    return Coded(np.array(codes, np.int32), items)


def encode(raw: Coded, numbers: Callable[[list[Any] | NDArray[np.int64]], IntArray], good: BoolArray) -> IntArray:
    """Codes of the good rows; ``numbers`` gives those of different values, in order of first appearance."""
    codes = raw.codes[good]
    used: IntArray = np.arange(len(raw.values))
    if len(codes) < len(raw.codes):  # values of bad rows are not to be numbered
        found, first = np.unique(codes, return_index=True)
        used = found[np.argsort(first)]
    table = np.zeros(len(raw.values), np.int32)
    table[used] = numbers(raw.values[used] if isinstance(raw.values, np.ndarray) else [raw.values[i] for i in used])
    return table[codes]


def _content(value: Any) -> str:
    """Chat messages and other nested values as text, whatever the order of their keys."""
    return json.dumps(value, sort_keys=True, default=repr)


def _digest(value: Any) -> bytes:
    """16 bytes that tell a value from others."""
    if isinstance(value, str):
        text = "s" + value
    elif isinstance(value, (int, float)):
        text = f"n{value!r}"
    else:
        text = "j" + _content(value)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class Prompts:
    """Prompts by number: equal content, equal number.

    Whole numbers are kept sorted with theirs, everything else by a digest of 128 bits.
    """

    def __init__(self) -> None:
        self._digests: dict[bytes, int] = {}
        self._known = np.empty(0, np.int64)  # whole numbers, ascending
        self._codes = np.empty(0, np.int32)  # and their numbers
        self._groups: dict[tuple[int, bytes], dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._digests) + len(self._known)

    def numbers(self, values: list[Any] | NDArray[np.int64]) -> IntArray:
        """Numbers of different values, new ones for those not seen before."""
        if isinstance(values, np.ndarray):
            return self._wholes(values)
        codes = np.empty(len(values), np.int32)
        whole = np.array([type(value) is int and -2**63 <= value < 2**63 for value in values], dtype=np.bool_)
        codes[whole] = self._wholes(np.array([values[i] for i in np.flatnonzero(whole)], np.int64))
        for i in np.flatnonzero(~whole):
            codes[i] = self._digests.setdefault(_digest(values[i]), len(self))
        return codes

    def _wholes(self, values: NDArray[np.int64]) -> IntArray:
        """Numbers of different whole numbers, which are kept ascending to be found by bisection."""
        order = np.argsort(values)  # sorted, they are found and put in faster
        ascending = values[order]
        place = np.searchsorted(self._known, ascending)
        seen = place < len(self._known)
        seen[seen] = self._known[place[seen]] == ascending[seen]
        codes = np.empty(len(values), np.int32)
        codes[order[seen]] = self._codes[place[seen]]
        new = np.sort(order[~seen])  # numbered as they came
        codes[new] = np.arange(len(self), len(self) + len(new))
        self._known = np.insert(self._known, place[~seen], ascending[~seen])
        self._codes = np.insert(self._codes, place[~seen], codes[order[~seen]])
        return codes

    def told_apart(self, prompt: Any, key: Any, step: int) -> Any:
        """The prompt of a row of verl's; a text that another group of the step has already comes with its number."""
        named = VERL_KEY.fullmatch(key) if isinstance(key, str) and isinstance(prompt, str) else None
        if named is None:
            return prompt
        groups = self._groups.setdefault((step, _digest(prompt)), {})
        number = groups.setdefault(named[1], len(groups))
        return [prompt, number] if number else prompt


def class_numbers(values: list[Any] | NDArray[np.int64], names: dict[str, int]) -> IntArray:
    """Numbers of prompt classes by their names, new ones for those not seen before: 1, 1.0 and "1" are one class."""
    texts = [str(int(value)) if isinstance(value, float) else str(value) for value in values]
    return np.array([names.setdefault(text, len(names)) for text in texts], dtype=np.int32)
