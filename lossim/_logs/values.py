"""Raw columns, as the formats give them, and what their entries are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._logs.codes import Coded
from lossim._support import checks
from lossim._support.types import BoolArray, FloatArray

CUT = ("length", "max_tokens", "max_length", "max_new_tokens", "truncated")
ENDED = ("stop", "eos", "eos_token", "stop_sequence", "stop_token", "end", "end_turn", "tool_calls", "tool_use")
WORDS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
REASONS = WORDS | dict.fromkeys(CUT, True) | dict.fromkeys(ENDED, False)
BEYOND_FLOATS = 2**1024 - 2**970  # the least whole number that no float is near

Raw = list[Any] | NDArray[Any] | Coded
"""A column of one chunk: plain objects, numbers or booleans that are all there, or values by their indices."""


def entry(raw: Raw, row: int) -> Any:
    """What is there, as a plain value."""
    if isinstance(raw, Coded):
        return None if raw.codes[row] < 0 else entry(raw.values, raw.codes[row])
    return raw[row].item() if isinstance(raw, np.ndarray) else raw[row]


def listed(raw: Raw) -> list[Any]:
    """All entries as plain values."""
    if isinstance(raw, Coded):
        return [entry(raw, row) for row in range(len(raw.codes))]
    return list(raw.tolist()) if isinstance(raw, np.ndarray) else raw


def missing(raw: Raw) -> BoolArray:
    """Where there is nothing."""
    if isinstance(raw, Coded):
        return raw.codes < 0
    if isinstance(raw, np.ndarray) or type(None) not in set(map(type, raw)):
        return np.zeros(len(raw), np.bool_)
    return np.array([value is None for value in raw], dtype=np.bool_)


def numbers(raw: Raw) -> tuple[FloatArray, BoolArray]:
    """Values, and where there is something that is no number (nothing at all counts as nan)."""
    if isinstance(raw, np.ndarray):
        return raw.astype(np.float64), np.full(len(raw), raw.dtype.kind == "b")
    if isinstance(raw, Coded):
        values, bad = numbers(raw.values)
        return np.where(raw.codes < 0, math.nan, values[raw.codes]), bad[raw.codes]
    bad = np.zeros(len(raw), np.bool_)
    if not set(map(type, raw)) <= {int, float, type(None)}:
        bad = np.array([value is not None and type(value) not in (int, float) for value in raw], dtype=np.bool_)
        raw = [None if wrong else value for value, wrong in zip(raw, bad, strict=True)]
    try:
        return np.array(raw, dtype=np.float64), bad
    except OverflowError:
        held = [math.inf if type(value) is int and abs(value) >= BEYOND_FLOATS else value for value in raw]
        return np.array(held, dtype=np.float64), bad


def truths(raw: Raw, words: Mapping[str, bool]) -> tuple[BoolArray, BoolArray]:
    """Values, and where there is something that is neither true nor false; ``words`` are known in any case."""
    if isinstance(raw, np.ndarray):
        return raw == 1, (raw != 0) & (raw != 1)
    if isinstance(raw, Coded):
        values, bad = truths(raw.values, words)
        return values[raw.codes], bad[raw.codes]
    if set(map(type, raw)) == {bool}:  # the common case, fast
        return np.array(raw, dtype=np.bool_), np.zeros(len(raw), np.bool_)
    said = [_truth(value, words) for value in raw]
    return (np.array([one is True for one in said], dtype=np.bool_),
            np.array([one is None for one in said], dtype=np.bool_) & ~missing(raw))


def _truth(value: Any, words: Mapping[str, bool]) -> bool | None:
    """True, false, or None for what is neither."""
    if isinstance(value, dict):  # as SGLang writes why it stopped
        value = value.get("type")
    if isinstance(value, str):
        return words.get(value.lower())
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    return None


def count_ids(raw: Raw) -> tuple[FloatArray, BoolArray]:
    """Number of token ids in each row, and where there is something else; Parquet counts for itself."""
    if not isinstance(raw, list):
        return numbers(raw)
    counts = [len(value) if type(value) is list else math.nan for value in raw]
    bad = [value is not None and not (type(value) is list and set(map(type, value)) <= {int}) for value in raw]
    return np.array(counts, dtype=np.float64), np.array(bad, dtype=np.bool_)


def count_text(raw: Raw, tokenizer: Callable[[str], Any], good: BoolArray) -> tuple[FloatArray, BoolArray]:
    """Tokens of each text of a good row, and where there is something else."""
    held = listed(raw)
    counts = np.full(len(held), math.nan)
    bad = np.zeros(len(held), np.bool_)
    for i in np.flatnonzero(good):
        text = _text_of(held[i])
        if text is not None:
            counts[i] = tokens_of(tokenizer, text)
        else:
            bad[i] = held[i] is not None
    return counts, bad


def _text_of(value: Any) -> str | None:
    """The text of a response: itself, or what chat messages hold, one after the other."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        parts = [one.get("content") for one in value]
        if all(isinstance(part, str) for part in parts):
            return "".join(parts)
    return None


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
