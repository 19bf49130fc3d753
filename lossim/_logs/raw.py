"""Raw columns, as the formats give them: what their entries are, and prompts and classes by number."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._logs.paths import number_of, summed
from lossim._support.types import BoolArray, FloatArray, IntArray

BEYOND_FLOATS = 2**1024 - 2**970  # the least whole number that no float is near
DEEP = ""  # the content of what is nested too deep to be written: no content is empty
PAYS = {"true": True, "false": False}  # truth values as CSV writes them
PLAIN = {int, float, str, bool, type(None)}
VERL_KEY = re.compile(r"(.+)_[0-9]+_[0-9]+", re.DOTALL)  # verl's name of a row: {group}_{sample}_{part}


@dataclass(frozen=True, eq=False, repr=False)
class Coded:
    """A column by indices into values; -1 where there is none."""

    codes: IntArray
    values: list[Any] | NDArray[Any]


Column = list[Any] | NDArray[Any] | Coded
"""A column of one chunk: plain objects, numbers or booleans that are all there, or values by their indices.

Functions that make something of it also say where there is something else; of where there is nothing they need not.
"""


def plain(value: Any) -> Any:
    """A value as JSON has it, where arrays and numpy's scalars stand for lists and numbers."""
    if type(value) in PLAIN:
        return value
    if hasattr(value, "tolist"):
        held = value.tolist()
        return plain(held) if isinstance(held, list) else held
    if isinstance(value, Mapping):
        return {name: plain(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return list(value) if set(map(type, value)) <= PLAIN else [plain(held) for held in value]
    return value


def entry(raw: Column, row: int) -> Any:
    """What is there, as a plain value."""
    if isinstance(raw, Coded):
        return None if raw.codes[row] < 0 else entry(raw.values, raw.codes[row])
    return raw[row].item() if isinstance(raw, np.ndarray) else raw[row]


def listed(raw: Column) -> list[Any]:
    """All entries as plain values."""
    if isinstance(raw, Coded):
        return [entry(raw, row) for row in range(len(raw.codes))]
    return list(raw.tolist()) if isinstance(raw, np.ndarray) else raw


def missing(raw: Column) -> BoolArray:
    """Where there is nothing."""
    if isinstance(raw, Coded):
        return raw.codes < 0
    if isinstance(raw, np.ndarray) or type(None) not in set(map(type, raw)):
        return np.zeros(len(raw), np.bool_)
    return np.array([value is None for value in raw], dtype=np.bool_)


def numbers(raw: Column) -> tuple[FloatArray, BoolArray]:
    """Values, and where there is something that is no number, nor text that is one (nothing at all counts as nan)."""
    if isinstance(raw, np.ndarray):
        return raw.astype(np.float64), np.full(len(raw), raw.dtype.kind == "b")
    if isinstance(raw, Coded):
        values, bad = numbers(raw.values)
        return np.where(raw.codes < 0, math.nan, values[raw.codes]), bad[raw.codes]
    bad = np.zeros(len(raw), np.bool_)
    held = raw
    if not set(map(type, raw)) <= {int, float, type(None)}:
        raw = [number_of(value) if type(value) is str else value for value in raw]
        bad = np.array([was is not None and type(value) not in (int, float)
                        for was, value in zip(held, raw, strict=True)], dtype=np.bool_)
        raw = [None if wrong else value for value, wrong in zip(raw, bad, strict=True)]
    try:
        return np.array(raw, dtype=np.float64), bad
    except OverflowError:
        return np.array([math.inf if type(value) is int and abs(value) >= BEYOND_FLOATS else value for value in raw],
                        dtype=np.float64), bad


def paid(raw: Column) -> tuple[FloatArray, BoolArray, int, int]:
    """`numbers`, where true is 1 and false 0, and numbers in a list are added up; and how often either was so."""
    if isinstance(raw, np.ndarray) and raw.dtype.kind == "b":
        return raw.astype(np.float64), np.zeros(len(raw), np.bool_), len(raw), 0
    if isinstance(raw, Coded):
        values, bad, truths, sums = paid(raw.values)
        return np.where(raw.codes < 0, math.nan, values[raw.codes]), bad[raw.codes], truths, sums
    if isinstance(raw, np.ndarray) or set(map(type, raw)) <= {int, float, type(None)}:  # the common case, fast
        return *numbers(raw), 0, 0
    lists = [type(value) is list for value in raw]
    held = [summed(value, joins=False) if of and value else value for value, of in zip(raw, lists, strict=True)]
    said = [PAYS.get(value.strip().lower()) if type(value) is str else value for value in held]
    given = [float(one) if isinstance(one, bool) else value for one, value in zip(said, held, strict=True)]
    return *numbers(given), sum(isinstance(one, bool) for one in said), sum(lists)


def truths(raw: Column, words: Mapping[str, bool]) -> tuple[BoolArray, BoolArray]:
    """Values, and where there is something that is neither true nor false; ``words`` are known in any case."""
    if isinstance(raw, np.ndarray):
        return raw == 1, (raw != 0) & (raw != 1)
    if isinstance(raw, Coded):
        values, bad = truths(raw.values, words)
        return values[raw.codes], bad[raw.codes]
    if set(map(type, raw)) == {bool}:  # the common case, fast
        return np.array(raw, dtype=np.bool_), np.zeros(len(raw), np.bool_)
    said = [_truth(value, words) for value in raw]
    return np.array([one is True for one in said], np.bool_), np.array([one is None for one in said], np.bool_)


def _truth(value: Any, words: Mapping[str, bool]) -> bool | None:
    """True, false, or None for what is neither."""
    if isinstance(value, dict):  # as SGLang writes why it stopped
        value = value.get("type")
    if isinstance(value, str):
        return words.get(value.lower())
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def count_ids(raw: Column) -> tuple[FloatArray, BoolArray]:
    """Number of token ids in each row, and where there is something else; Parquet counts for itself."""
    if not isinstance(raw, list):
        return numbers(raw)
    counts = [len(value) if type(value) is list else math.nan for value in raw]
    bad = [type(value) is not list or not set(map(type, value)) <= {int} for value in raw]
    return np.array(counts, np.float64), np.array(bad, np.bool_)


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


def _content(value: Any) -> str:
    """Chat messages and other nested values as text, whatever the order of their keys."""
    try:
        return json.dumps(value, sort_keys=True, default=repr)
    except RecursionError:
        return DEEP


def different(raw: Column, fits: Callable[[Any], bool]) -> tuple[Coded, BoolArray]:
    """The different values, and where there is something that does not fit."""
    found = raw if isinstance(raw, Coded) else coded(listed(raw))
    misfits = np.zeros(len(found.values) + 1, np.bool_)  # the last is that of -1
    if isinstance(found.values, list):  # whole numbers fit
        misfits[:-1] = [not fits(value) or (isinstance(value, (list, dict)) and _content(value) == DEEP)
                        for value in found.values]
    return found, misfits[found.codes]


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

    def absorbed(self, others: Prompts) -> IntArray:
        """The numbers here of prompts that were numbered apart, by their number there: new ones in that order."""
        wholes = others._known[np.argsort(others._codes)]
        if not others._digests:
            return self._wholes(wholes)
        table = np.empty(len(others), np.int32)
        keys: dict[int, bytes | int] = {code: digest for digest, code in others._digests.items()}
        keys |= dict(zip(others._codes.tolist(), others._known.tolist(), strict=True))
        for code in range(len(others)):
            key = keys[code]
            if isinstance(key, bytes):
                table[code] = self._digests.setdefault(key, len(self))
            else:
                table[code] = self._wholes(np.array([key], np.int64))[0]
        return table

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
