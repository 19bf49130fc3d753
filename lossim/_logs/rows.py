"""Chunks of raw rows to checked arrays; a row that breaks a rule is found, with the rule and the value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lossim._logs.codes import Coded, Names, Prompts, coded, encode
from lossim._logs.names import WAYS, Plan
from lossim._logs.reading import PLACES, Flaw, Found, Place
from lossim._logs.values import REASONS, WORDS, Raw, count_ids, count_text, entry, listed, missing, numbers, truths
from lossim._logs.verl import Groups, is_padding
from lossim._support.checks import shown
from lossim._support.types import BoolArray, FloatArray, IntArray

__all__ = ["Chunk", "Rules", "check", "in_chunks"]

LARGEST = 2**31 - 1  # of lengths and steps: they are kept in 4 bytes
RETOKENIZED = 0.1
"""How much longer than max_tokens a text may come back from a tokenizer, as a share; beyond, it is another cap's."""
PADDING = "is padding that verl added to its batch"
BAD_REASON = "must be true, false, or a reason like 'length' or 'stop'"

Row = TypeVar("Row")


@dataclass(eq=False, repr=False)
class Chunk:
    """Rows as they were read: raw columns by field and name, line numbers, and what could not be read at all."""

    lines: IntArray
    columns: dict[tuple[str, str], Raw]
    broken: dict[int, Flaw] = field(default_factory=dict)


def in_chunks(rows: Iterable[tuple[int, int, Row]], most: int, largest: int
                   ) -> Iterator[tuple[list[int], list[Row]]]:
    """Line numbers and rows, of rows that come as (line, size, row): ``most`` at a time, or ``largest`` together."""
    numbers: list[int] = []
    held: list[Row] = []
    together = 0
    for number, size, row in rows:
        numbers.append(number)
        held.append(row)
        together += size
        if len(held) >= most or together >= largest:
            yield numbers, held
            numbers = []
            held = []
            together = 0
    if held:
        yield numbers, held


@dataclass(eq=False, repr=False)
class Rules:
    """What a reader carries from chunk to chunk: prompts and classes by number, and how often something was assumed."""

    plan: Plan
    tokenizer: Callable[[str], Any] | None
    max_tokens: int | None
    prompts: Prompts = field(default_factory=Prompts)
    classes: Names = field(default_factory=Names)
    groups: Groups = field(default_factory=Groups)
    counted_zero: int = 0
    retokenized: int = 0


class _Flaws:
    """The first broken rule of each row."""

    def __init__(self, chunk: Chunk, plan: Plan) -> None:
        self.chunk = chunk
        self.plan = plan
        self.good = np.ones(len(chunk.lines), dtype=np.bool_)
        self.found: list[tuple[str, str, IntArray, Callable[[int], str]]] = []
        for row, (rule, details) in chunk.broken.items():
            self.add("row", rule, np.array([row]), partial(_said, f": {details}" if details else ""))

    def add(self, name: str, rule: str, rows: IntArray, show: Callable[[int], str]) -> None:
        """Rows that break a rule, as far as they broke none before."""
        rows = rows[self.good[rows]]
        if rows.size:
            self.good[rows] = False
            self.found.append((name, rule, rows, show))

    def where(self, bad: BoolArray, name: str, rule: str, said: Callable[[int], Any] | None = None) -> None:
        """Rows where ``name`` breaks the rule; ``said`` gives the value if it is not simply what the log holds."""
        if not bad.any():
            return
        columns = self.plan.sources[name]

        def show(row: int) -> str:
            held = {column: entry(self.chunk.columns[name, column], row) for column in columns}
            value: Any = held if len(columns) > 1 else held[columns[0]]
            if said is not None:
                value = said(row)
            return f", got {shown(value)}" + ("" if columns == (name,) else f" ({', '.join(map(repr, columns))})")

        self.add(name, rule, np.flatnonzero(bad), show)

    def summary(self, file: str) -> Found:
        """How many rows broke which rule, and the first ones in the order of the file."""
        def place(row: int, i: int) -> Place:
            name, rule, _, show = self.found[i]
            return Place(file, int(self.chunk.lines[row]), name, rule + show(row))

        rows = sorted((int(row), i) for i, (_, _, many, _) in enumerate(self.found) for row in many[:PLACES])
        error = next((place(*one) for one in rows if self.found[one[1]][1] != PADDING), None)
        return Found([(name, rule, len(many)) for name, rule, many, _ in self.found],
                     [place(*one) for one in rows[:PLACES]], error)


def check(chunk: Chunk, rules: Rules, file: str) -> tuple[dict[str, NDArray[Any]], Found]:
    """Arrays of the good rows, and what was wrong with the others."""
    plan = rules.plan
    flaws = _Flaws(chunk, plan)
    if "row key" in plan.sources:
        padding = [is_padding(key) for key in _entries("row key", flaws)]
        flaws.add("row", PADDING, np.flatnonzero(padding), partial(_said, ""))

    # numbers and truth values
    arrays: dict[str, NDArray[Any]] = {}
    if "truncated" in plan.sources:
        arrays["truncated"] = _truth("truncated", flaws, REASONS, BAD_REASON)
    arrays |= _lengths(rules, flaws, arrays.get("truncated"))
    arrays["rewards"] = _reward(rules, flaws)
    if "correct" in plan.sources:
        arrays["correct"] = _truth("correct", flaws, WORDS, "must be true or false (or 1 and 0)")
    if "step" in plan.sources:
        arrays["steps"] = _whole("step", flaws, _number("step", flaws), -LARGEST)
    if "kl" in plan.sources:
        arrays["kl"] = _number("kl", flaws)

    # prompts and classes, told apart
    ids = _different("prompt", flaws, _is_prompt, "must be text, messages or a finite number")
    if ids is not None and "row key" in plan.sources and plan.sources["prompt"] == ("input",):
        prompts = [value if good else None for value, good in zip(_entries("prompt", flaws), flaws.good, strict=True)]
        steps = arrays["steps"] if "steps" in arrays else np.zeros(len(prompts), np.int32)
        ids = coded(rules.groups.told_apart(prompts, _entries("row key", flaws), steps.tolist()))
    classes = _different("class", flaws, _is_name, "must be text or a whole number")

    # the rows that are left; prompts and classes are numbered by these alone
    good = flaws.good
    if not good.all():
        arrays = {name: array[good] for name, array in arrays.items()}
    if ids is not None:
        arrays["prompt_ids"] = encode(ids, rules.prompts.numbers, good)
    if classes is not None:
        arrays["classes"] = encode(classes, rules.classes.numbers, good)
    return arrays, flaws.summary(file)


def _said(text: str, _: int) -> str:
    """What was wrong with a row, whatever its number."""
    return text


def _raw(name: str, flaws: _Flaws) -> Raw:
    """The column of a field that has one; rows where there is nothing are flawed."""
    raw = flaws.chunk.columns[name, flaws.plan.sources[name][0]]
    flaws.where(missing(raw), name, "is missing")
    return raw


def _entries(name: str, flaws: _Flaws) -> list[Any]:
    """The column of a field that has one, as plain values."""
    return listed(flaws.chunk.columns[name, flaws.plan.sources[name][0]])


def _truth(name: str, flaws: _Flaws, words: dict[str, bool], rule: str) -> BoolArray:
    """Truth values; words that are neither break the rule."""
    values, bad = truths(_raw(name, flaws), words)
    flaws.where(bad, name, rule)
    return values


def _number(name: str, flaws: _Flaws) -> FloatArray:
    """Finite numbers."""
    values, bad = numbers(_raw(name, flaws))
    flaws.where(bad, name, "must be a number")
    flaws.where(~np.isfinite(values), name, "must be finite")
    return values


def _whole(name: str, flaws: _Flaws, values: FloatArray, low: int, most: int = LARGEST,
           said: Callable[[int], Any] | None = None) -> IntArray:
    """Whole numbers from ``low`` to ``most``, which below the largest that is kept is max_tokens."""
    cap = ", max_tokens" if most < LARGEST else ""
    with np.errstate(invalid="ignore"):
        flaws.where(values != np.floor(values), name, "must be a whole number", said)
        flaws.where(values < low, name, f"must be at least {low}", said)
        flaws.where(values > most, name, f"must be at most {most:,}{cap}", said)
    return np.where(flaws.good, values, 1.0).astype(np.int32)


def _lengths(rules: Rules, flaws: _Flaws, cut: BoolArray | None) -> dict[str, NDArray[Any]]:
    """Lengths, and truncation where only they tell it; ``cut`` is what the log says of truncation."""
    cap = rules.max_tokens
    most = LARGEST if cap is None else cap
    way = next(field for field in WAYS if field in rules.plan.sources)
    if way == "text":
        return _text_lengths(rules, flaws, cut)
    if way == "length":
        lengths = _whole(way, flaws, _number(way, flaws), 1, most)
    else:
        counts, bad = count_ids(_raw(way, flaws))
        flaws.where(bad, way, "must be a list of token ids, whole numbers")
        lengths = _whole(way, flaws, counts, 1, most, lambda row: int(counts[row]))
    if cut is None and cap is not None:
        return {"lengths": lengths, "truncated": lengths >= cap}
    return {"lengths": lengths}


def _text_lengths(rules: Rules, flaws: _Flaws, cut: BoolArray | None) -> dict[str, NDArray[Any]]:
    """Lengths of texts: their tokens, and one for the stop token where they were not cut.

    A text need not come back as the tokens it was made of: a little more than ``max_tokens`` counts as that many, and a
    text that was cut, so says the log, counts at least that many.
    """
    cap = rules.max_tokens
    assert rules.tokenizer is not None  # no plan is made for texts without one
    tokens, bad = count_text(_raw("text", flaws), rules.tokenizer, flaws.good)
    flaws.where(bad, "text", "must be text or messages that hold text")
    if cap is not None:
        stop = 0 if cut is None else ~cut  # tokens that the log itself says stand after the text
        over = (tokens + stop > cap) & (tokens <= (1.0 + RETOKENIZED) * cap + 1.0)
        rules.retokenized += int(np.count_nonzero(over & flaws.good))
        tokens = np.where(over, cap - stop, tokens)
    told: dict[str, NDArray[Any]] = {}
    if cut is None and cap is not None:
        told["truncated"] = tokens >= cap
        lengths = np.where(tokens >= cap, tokens, tokens + 1)
    elif cut is not None and cap is not None:
        lengths = np.where(cut, np.maximum(tokens, cap), tokens + 1)
    elif cut is not None:
        lengths = np.where(cut, tokens, tokens + 1)
    else:
        lengths = tokens + 1
    most = LARGEST if cap is None else cap
    return {"lengths": _whole("text", flaws, lengths, 1, most, lambda row: f"{lengths[row]:g} tokens"), **told}


def _reward(rules: Rules, flaws: _Flaws) -> FloatArray:
    """The reward: a column, or a weighted sum in which null or nan counts 0 unless all are."""
    columns = rules.plan.sources["reward"]
    weights = rules.plan.weights
    if len(columns) == 1:
        with np.errstate(invalid="ignore", over="ignore"):
            paid = weights[0] * _number("reward", flaws)
        flaws.where(~np.isfinite(paid), "reward", "must be finite")
        return paid
    parts = [numbers(flaws.chunk.columns["reward", column]) for column in columns]
    for _, bad in parts:
        flaws.where(bad, "reward", "must be made of numbers")
    unknown = [np.isnan(values) for values, _ in parts]
    flaws.where(np.logical_and.reduce(unknown), "reward", "is missing or nan in all columns")
    total = np.zeros(len(flaws.good))
    with np.errstate(invalid="ignore", over="ignore"):
        for (values, _), gone, weight in zip(parts, unknown, weights, strict=True):
            total += weight * np.where(gone, 0.0, values)
    flaws.where(~np.isfinite(total), "reward", "must be finite")
    rules.counted_zero += int(sum(np.count_nonzero(gone & flaws.good) for gone in unknown))
    return total


def _different(name: str, flaws: _Flaws, fits: Callable[[Any], bool], rule: str) -> Coded | None:
    """The different values of a column, if it is read; those that do not fit break the rule."""
    if name not in flaws.plan.sources:
        return None
    raw = _raw(name, flaws)
    if not isinstance(raw, Coded):
        raw = coded(listed(raw))
    flaws.where(raw.wrong(fits), name, rule)
    return raw


def _is_prompt(value: Any) -> bool:
    return not isinstance(value, bool) and (not isinstance(value, float) or math.isfinite(value))


def _is_name(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str) or whole or (isinstance(value, float) and value.is_integer())
