"""Raw columns, as the formats give them, and what their entries are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._logs.codes import Coded
from lossim._support import checks
from lossim._support.types import BoolArray, FloatArray

__all__ = ["REASONS", "WORDS", "Numbers", "Raw", "count_ids", "count_text", "entry", "listed", "missing", "numbers",
           "truths"]

CUT = ("length", "max_tokens", "max_length", "max_new_tokens", "truncated")
ENDED = ("stop", "eos", "eos_token", "stop_sequence", "stop_token", "end", "end_turn", "tool_calls", "tool_use")
WORDS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
REASONS = WORDS | dict.fromkeys(CUT, True) | dict.fromkeys(ENDED, False)


@dataclass(frozen=True, eq=False, repr=False)
class Numbers:
    """A raw column of numbers or booleans; ``absent`` where there is none."""

    values: NDArray[Any]
    absent: BoolArray | None = None


Raw = list[Any] | Numbers | Coded
"""A column of one chunk: plain objects, numbers, or codes of its different values."""


def entry(raw: Raw, row: int) -> Any:
    """What is there, as a plain value."""
    if isinstance(raw, Coded):
        return None if raw.codes[row] < 0 else raw.values[raw.codes[row]]
    if isinstance(raw, Numbers):
        return None if raw.absent is not None and raw.absent[row] else raw.values[row].item()
    return raw[row]


def listed(raw: Raw) -> list[Any]:
    """All entries as plain values."""
    if isinstance(raw, list):
        return raw
    count = len(raw.codes) if isinstance(raw, Coded) else len(raw.values)
    return [entry(raw, row) for row in range(count)]


def missing(raw: Raw) -> BoolArray:
    """Where there is nothing."""
    if isinstance(raw, Coded):
        return raw.codes < 0
    if isinstance(raw, Numbers):
        return np.zeros(len(raw.values), np.bool_) if raw.absent is None else raw.absent
    if type(None) not in set(map(type, raw)):
        return np.zeros(len(raw), np.bool_)
    return np.array([value is None for value in raw], dtype=np.bool_)


def numbers(raw: Raw) -> tuple[FloatArray, BoolArray]:
    """Values, and where there is something that is no number (nothing at all counts as nan)."""
    if isinstance(raw, Numbers):
        values = raw.values.astype(np.float64)
        if raw.absent is not None:
            values = np.where(raw.absent, math.nan, values)
        return values, np.full(len(values), raw.values.dtype.kind == "b")
    held = listed(raw)
    no = np.zeros(len(held), np.bool_)
    if set(map(type, held)) <= {int, float}:
        try:
            return np.array(held, dtype=np.float64), no
        except OverflowError:  # a whole number beyond all floats
            pass
    values = np.full(len(held), math.nan)
    for i, value in enumerate(held):
        if type(value) is int or type(value) is float:
            try:
                values[i] = value
            except OverflowError:
                values[i] = math.inf
        else:
            no[i] = value is not None
    return values, no


def truths(raw: Raw, words: Mapping[str, bool]) -> tuple[BoolArray, BoolArray]:
    """Values, and where there is something that is neither true nor false; ``words`` are known in any case."""
    if isinstance(raw, Numbers):
        return raw.values == 1, (raw.values != 0) & (raw.values != 1)
    held = listed(raw)
    if set(map(type, held)) == {bool}:
        return np.array(held, dtype=np.bool_), np.zeros(len(held), np.bool_)
    known: dict[tuple[type, Any], bool | None] = {}
    said: list[bool | None] = []
    for value in held:
        if isinstance(value, dict):  # as SGLang writes why it stopped
            value = value.get("type")
        key = (type(value), value if isinstance(value, (str, bool, int, float)) else None)
        if key not in known:
            if len(known) >= 1000:  # texts of all kinds: none of them is a reason
                known.clear()
            known[key] = _truth(value, words)
        said.append(known[key])
    return (np.array([one is True for one in said], dtype=np.bool_),
            np.array([one is None for one in said], dtype=np.bool_) & ~missing(held))


def _truth(value: Any, words: Mapping[str, bool]) -> bool | None:
    """True, false, or None for what is neither."""
    if isinstance(value, str):
        return words.get(value.lower())
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def count_ids(raw: Raw) -> tuple[FloatArray, BoolArray]:
    """Number of token ids in each row, and where there is something else; Parquet counts for itself."""
    if isinstance(raw, Numbers):
        return numbers(raw)
    held = listed(raw)
    counts = [len(value) if type(value) is list else math.nan for value in held]
    bad = [value is not None and not (type(value) is list and set(map(type, value)) <= {int}) for value in held]
    return np.array(counts, dtype=np.float64), np.array(bad, dtype=np.bool_)


def text_of(value: Any) -> str | None:
    """The text of a response: itself, or what chat messages hold, one after the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        parts = [one.get("content") for one in value]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
    return None


def count_text(raw: Raw, tokenizer: Callable[[str], Any], good: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Tokens of each text of a good row, and where there is something else."""
    held = listed(raw)
    counts = np.full(len(held), math.nan)
    bad = np.zeros(len(held), np.bool_)
    for i in np.flatnonzero(good):
        text = text_of(held[i])
        if text is not None:
            counts[i] = tokens_of(tokenizer, text)
        else:
            bad[i] = held[i] is not None
    return counts, bad


def tokens_of(tokenizer: Callable[[str], Any], text: str) -> int:
    """What a tokenizer says of a text: a number, token ids, or a mapping that holds them as Hugging Face's do."""
    said = tokenizer(text)
    if isinstance(said, Mapping) and "input_ids" in said:
        said = said["input_ids"]
    if isinstance(said, Integral) and not isinstance(said, bool) and int(said) >= 0:
        return int(said)
    if isinstance(said, str) or not (isinstance(said, Sequence) or getattr(said, "ndim", 0) == 1):
        checks.fail("tokenizer", said, "must return a number of tokens or a sequence of token ids", error=TypeError)
    return len(said)
