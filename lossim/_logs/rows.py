"""Chunks of raw rows to checked arrays; a row that breaks a rule is found, with the rule and the value."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossim._logs import raw
from lossim._logs.groups import COUNTERS, of_file, of_step
from lossim._logs.masks import count_masks
from lossim._logs.names import OPTIONAL, Plan
from lossim._logs.reading import EMPTY, Flaw, Place
from lossim._logs.texts import count_texts
from lossim._logs.tokenizing import ByCharacters, Counts
from lossim._support.checks import shown
from lossim._support.text import Phrase, Way, argument
from lossim._support.types import BoolArray, FloatArray, IntArray

LARGEST = 2**31 - 1  # of lengths and steps: they are kept in 4 bytes
RETOKENIZED = 0.1  # a text may come back from a tokenizer longer than max_tokens by this share; more is another cap's
CUT = ("length", "max_tokens", "max_length", "max_new_tokens", "truncated")
ENDED = ("stop", "eos", "eos_token", "stop_sequence", "stop_token", "end", "end_turn", "tool_calls", "tool_use")
WORDS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
REASONS = WORDS | dict.fromkeys(CUT, True) | dict.fromkeys(ENDED, False)
PLACES = 20  # of bad rows that are listed
PADDING = re.compile(r"pad[0-9a-f]{32}_[0-9]+_[0-9]+")  # verl's name of a row that answers no prompt
PADDED = "is padding that verl added to its batch"
LEFT_OUT = (PADDED, EMPTY)  # rows that are no responses, and no errors

class Head(NamedTuple):
    """The first rows of a file, the first of them that cannot be read, and its columns where all rows have the same."""

    rows: list[dict[str, Any]]
    problem: str = ""
    names: tuple[str, ...] | None = None


Chunk = tuple[NDArray[np.int64], dict[tuple[str, str], raw.Column], dict[int, Flaw]]
"""Rows as they were read: line numbers, raw columns by field and name, and what could not be read at all."""


@dataclass(eq=False, repr=False)
class Tally:
    """What is carried from chunk to chunk: rows so far, prompts and classes by number, how often what was assumed."""

    plan: Plan
    counter: Counts  # of the tokens of texts, if the plan takes lengths from these
    max_tokens: int | None
    strict: bool
    rows: int = 0
    kept: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    places: list[Place] = field(default_factory=list)
    prompts: raw.Prompts = field(default_factory=raw.Prompts)
    classes: dict[str, int] = field(default_factory=dict)
    aside: dict[str, str] = field(default_factory=dict)  # fields whose columns hold something else, and what it broke
    steps: dict[str, int] = field(default_factory=dict)  # those in names of files, where no column has them
    apart: bool = False  # whether prompts of two files are two, whatever their ids
    counted_zero: int = 0
    truths: int = 0  # rewards that are true or false, and lists of numbers
    sums: int = 0
    retokenized: int = 0
    others: int = 0  # tokens that are not the policy's, and responses that have some
    mixed: int = 0
    stopped: int = 0
    marked: int = 0

    @property
    def estimated(self) -> bool:
        """Whether lengths are estimated."""
        return self.plan.way == "text" and isinstance(self.counter, ByCharacters)

    @property
    def fresh(self) -> Tally:
        """A tally of nothing, of the same question."""
        return Tally(self.plan, self.counter, self.max_tokens, self.strict, steps=self.steps, apart=self.apart)

    @property
    def over_files(self) -> bool:
        """Whether what is read of a file hangs on those before it: verl's groups of a step are told apart by count."""
        return "row key" in self.plan.sources and self.plan.sources["prompt"] == ("input",)

    def absorb(self, other: Tally, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Take in the tally of the next rows, and give their arrays the numbers that prompts and classes have here."""
        for name in ("rows", "kept", "counted_zero", "truths", "sums", "retokenized", "others", "mixed", "stopped",
                     "marked"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.skipped += other.skipped
        self.places += other.places[:PLACES - len(self.places)]
        self.aside = other.aside | self.aside
        numbered = {"prompt_ids": self.prompts.absorbed(other.prompts),
                    "classes": raw.class_numbers(list(other.classes), self.classes)}
        return {name: numbered[name][array] if name in numbered else array for name, array in arrays.items()}

    def saw(self, others: FloatArray | IntArray) -> None:
        """Tokens of others in each response that is kept."""
        self.others += int(others.sum())
        self.mixed += int(np.count_nonzero(others))


class _Flaws:
    """The first broken rule of each row."""

    def __init__(self, chunk: Chunk, tally: Tally) -> None:
        self.lines, self.columns, broken = chunk
        self.tally = tally
        self.sources = tally.plan.sources
        self.good = np.ones(len(self.lines), dtype=np.bool_)
        self.found: list[tuple[str, str, IntArray, Callable[[int], str]]] = []
        for row, flaw in broken.items():
            self.add("row", flaw.rule, np.array([row]), lambda row: str(broken[row]))

    def add(self, name: str, rule: str, rows: IntArray, message: Callable[[int], str]) -> None:
        """Rows that break a rule, as far as they broke none before."""
        rows = rows[self.good[rows]]
        if rows.size:
            self.good[rows] = False
            self.found.append((name, rule, rows, message))

    def where(self, bad: BoolArray, name: str, rule: str, said: Callable[[int], Any] | None = None) -> None:
        """Rows where ``name`` breaks the rule; ``said`` gives the value if it is not simply what the log holds."""
        columns = self.sources[name]

        def message(row: int) -> str:
            held = {column: raw.entry(self.columns[name, column], row) for column in columns}
            value: Any = held if len(columns) > 1 else held[columns[0]]
            if said is not None:
                value = said(row)
            return f"{rule}, got {shown(value)}" + ("" if columns == (name,) else f" ({', '.join(map(repr, columns))})")

        self.add(name, rule, np.flatnonzero(bad), message)

    def read(self, name: str, rule: str, of: Callable[..., tuple[Any, BoolArray]], *options: Any) -> Any:
        """What ``of`` makes of a field's column, None without one; rows of nothing, or of another thing, are bad."""
        if name not in self.sources:
            return None
        column = self.columns[name, self.sources[name][0]]
        self.where(raw.missing(column), name, "is missing")
        values, bad = of(column, *options)
        self.where(bad, name, rule)
        return values

    def count(self, file: str) -> None:
        """Add the chunk to the tally; raise at its first bad row if told so.

        Padding, which verl writes, and lists without responses are left out without being errors.
        """
        def place(row: int, i: int) -> Place:
            name, _, _, message = self.found[i]
            return Place(file, int(self.lines[row]), name, message(row))

        tally = self.tally
        rows = sorted((int(row), i) for i, (_, _, many, _) in enumerate(self.found) for row in many[:PLACES])
        errors = [one for one in rows if self.found[one[1]][1] not in LEFT_OUT]
        if errors and tally.strict:
            error = place(*errors[0])
            fix = ["; mend the row, or pass ", argument("on_error", "report"), " to leave such rows out and count them"]
            if error.field in OPTIONAL:
                unread = Way("unread", f"columns={{{error.field!r}: None}}", error.field)
                fix += [", or ", unread, " to leave the column unread"]
            raise ValueError(Phrase(str(error), *fix))
        tally.rows += len(self.lines)
        tally.kept += int(np.count_nonzero(self.good))
        for name, rule, many, _ in self.found:
            tally.skipped[f"{name} {rule}"] += len(many)
        tally.places += [place(*one) for one in rows[:PLACES - len(tally.places)]]


def check(chunk: Chunk, tally: Tally, file: str) -> dict[str, NDArray[Any]]:
    """Arrays of the good rows; the others are counted, or the first of them is an error."""
    flaws = _Flaws(chunk, tally)
    sources = flaws.sources
    keys = raw.listed(flaws.columns.get(("row key", "uid"), []))
    padding = [isinstance(key, str) and PADDING.fullmatch(key) is not None for key in keys]
    flaws.add("row", PADDED, np.flatnonzero(padding), lambda row: PADDED)

    cut = flaws.read("truncated", "must be true, false, or a reason like 'length' or 'stop'", raw.truths, REASONS)
    lengths = _lengths(flaws, cut)
    columns: dict[str, Any] = {"lengths": lengths.own, "truncated": lengths.cut, "rewards": _reward(flaws)}
    columns["correct"] = flaws.read("correct", "must be true or false (or 1 and 0)", raw.truths, WORDS)
    if "step" in sources:
        columns["steps"] = _whole("step", flaws, _number("step", flaws), -LARGEST, LARGEST)
    elif file in tally.steps:
        columns["steps"] = np.full(len(flaws.good), tally.steps[file], np.int32)
    if "kl" in sources:
        columns["kl"] = _number("kl", flaws)
    if "answered" in sources:
        columns["answered"] = _answered(flaws, lengths.own)
    if "target" in sources:
        columns["targets"] = _number("target", flaws)
        flaws.where(columns["targets"] < 1, "target", "must be at least 1 token")

    # prompts and classes, told apart
    if lengths.prompts is not None:
        flaws.columns["prompt", sources["prompt"][0]] = lengths.prompts
    prompts = flaws.read("prompt", "must be text, messages or a finite number", raw.different,
                         lambda one: type(one) is not bool and (type(one) is not float or math.isfinite(one)))
    if keys and sources["prompt"] == ("input",):
        texts = [text if good else None for text, good in zip(raw.listed(prompts), flaws.good, strict=True)]
        steps = columns["steps"].tolist() if "steps" in columns else [0] * len(keys)
        prompts = raw.coded(list(map(tally.prompts.told_apart, texts, keys, steps)))
    if tally.apart:
        prompts = of_file(prompts, file)
    elif "steps" in columns and sources["prompt"][0] in COUNTERS:
        prompts = of_step(prompts, columns["steps"], flaws.good)
    classes, paths = (flaws.read(name, "must be text or a whole number", raw.different,
                                 lambda one: type(one) in (str, int) or (type(one) is float and one.is_integer()))
                      for name in ("class", "path"))

    # the rows that are left; prompts and classes are numbered by these alone
    flaws.count(file)
    left = slice(None) if flaws.good.all() else flaws.good
    arrays = {name: column[left] for name, column in columns.items() if column is not None}
    arrays["prompt_ids"] = raw.encode(prompts, tally.prompts.numbers, flaws.good)
    if classes is not None:
        arrays["classes"] = raw.encode(classes, partial(raw.class_numbers, names=tally.classes), flaws.good)
    if paths is not None:
        names: dict[str, int] = {}
        number = raw.encode(paths, partial(raw.class_numbers, names=names), flaws.good)
        arrays["path_names"] = np.array(list(names), dtype=np.str_)[number]
    return arrays


def _number(name: str, flaws: _Flaws) -> FloatArray:
    """Finite numbers."""
    values: FloatArray = flaws.read(name, "must be a number", raw.numbers)
    flaws.where(~np.isfinite(values), name, "must be finite")
    return values


def _answered(flaws: _Flaws, lengths: IntArray) -> FloatArray:
    """Where the answer is there, nan where there is none: the one field in which nothing is no flaw.

    A column that nobody named may be of something else: one value that is no position sets it aside, all rows stay.
    """
    column, = flaws.sources["answered"]
    held = flaws.columns["answered", column]
    values, bad = raw.numbers(held)
    with np.errstate(invalid="ignore"):
        rules = ((bad, "must be a number, or nothing where there is no answer"),
                 ((values < 1) | (values != np.floor(values)) & ~np.isnan(values),
                  "must be a position, a whole number from 1"),
                 (values > lengths, "must be at most the length"))
    for broken, rule in rules:
        if "answered" in flaws.tally.plan.asked:
            flaws.where(broken, "answered", rule)
        elif (broken & flaws.good).any():
            row = int(np.flatnonzero(broken & flaws.good)[0])
            flaws.tally.aside.setdefault("answered", f"{rule}, got {shown(raw.entry(held, row))}")
    return values


def _whole(name: str, flaws: _Flaws, values: FloatArray, low: int, most: int,
           said: Callable[[int], Any] | None = None) -> IntArray:
    """Whole numbers from ``low`` to ``most``, which below the largest that is kept is max_tokens."""
    cap = ", max_tokens" if most < LARGEST else ""
    with np.errstate(invalid="ignore"):
        flaws.where(values != np.floor(values), name, "must be a whole number", said)
        flaws.where(values < low, name, f"must be at least {low}", said)
        flaws.where(values > most, name, f"must be at most {most:,}{cap}", said)
    return np.where(flaws.good, values, 1.0).astype(np.int32)


class Lengths(NamedTuple):
    """Lengths of the policy's own tokens, what was truncated (None if nothing tells it), and the prompts before them
    where these are in one column with the responses."""

    own: IntArray
    cut: BoolArray | None
    prompts: list[Any] | None


def _lengths(flaws: _Flaws, cut: BoolArray | None) -> Lengths:
    """Lengths, by the way that the plan has: numbers, ids, masks or texts; what was cut as the log says, ``cut``, or
    by max_tokens."""
    way = flaws.tally.plan.way
    if way == "text":
        return _of_texts(flaws, cut)
    cap = flaws.tally.max_tokens
    prompts = None
    if way == "mask":
        values, whole, prompts = _of_masks(flaws)
    elif way == "tokens":
        values = whole = flaws.read(way, "must be a list of token ids, whole numbers", raw.count_ids)
    else:
        values = whole = _number(way, flaws)
    if cut is None and cap is not None:
        cut = whole >= cap
    shows = None if way == "length" else lambda row: int(values[row])
    return Lengths(_whole(way, flaws, values, 1, LARGEST if cap is None else cap, shows), cut, prompts)


def _of_masks(flaws: _Flaws) -> tuple[FloatArray, FloatArray, list[Any] | None]:
    """Tokens of the policy, those from its first to its last, and the ids before them where these are the prompt."""
    columns = [flaws.columns["mask", name] for name in flaws.sources["mask"]]
    for column in columns:
        flaws.where(raw.missing(column), "mask", "is missing")
    found = count_masks([raw.listed(column) for column in columns])
    flaws.where(found.bad, "mask", "must be a list of 0 and 1, one for each token")
    flaws.where(found.own == 0, "mask", "must have a 1: which tokens are the policy's is not told")
    flaws.tally.saw(np.where(flaws.good, found.others, 0))
    prompts = None
    if flaws.tally.plan.within:
        ids = raw.listed(flaws.columns["prompt", flaws.sources["prompt"][0]])
        prompts = [list(one[:n]) if isinstance(one, list) and n else None
                   for one, n in zip(ids, found.before.tolist(), strict=True)]
    return found.own.astype(np.float64), found.span.astype(np.float64), prompts


def _of_texts(flaws: _Flaws, cut: BoolArray | None) -> Lengths:
    """A text has its tokens, and one for the stop token where it was not cut.

    It need not come back as the tokens it was made of: a little more than max_tokens counts as that many, one that was
    cut, so says the log, as that many or more. What is estimated is held to max_tokens, and does not tell what was cut.
    """
    tally = flaws.tally
    cap = tally.max_tokens
    found = flaws.read("text", "must be text, or messages with a turn of the assistant that is text", count_texts,
                       tally.counter, flaws.good)
    values = found.own
    tally.saw(np.where(flaws.good, found.others, 0))
    tally.stopped += int(np.count_nonzero(found.stopped & flaws.good))
    tally.marked += int(np.count_nonzero(found.marked & flaws.good))
    stop = 1 if cut is None else 1 - cut
    if cap is not None:
        told = 0 if cut is None else stop  # tokens that the log itself says stand after the text
        over = values + (stop if tally.estimated else told) > cap
        if not tally.estimated:
            over &= values <= (1.0 + RETOKENIZED) * cap + 1.0
        tally.retokenized += int(np.count_nonzero(over & flaws.good))
        values = np.where(over, cap - (stop if tally.estimated else told), values)
        if cut is None and not tally.estimated:
            cut = values + found.others >= cap
    alone = 0 if cap is None else np.where(found.others > 0, 0, cap)  # what was cut has the cap's tokens if all are its
    values = np.where(False if cut is None else cut, np.maximum(values + found.ended, alone), values + 1)
    own = _whole("text", flaws, values, 1, LARGEST if cap is None else cap, lambda row: f"{values[row]:g} tokens")
    return Lengths(own, cut, [one or None for one in found.before] if tally.plan.within else None)


def _reward(flaws: _Flaws) -> FloatArray:
    """The reward: a column, or a weighted sum in which null or nan counts 0 unless all are."""
    columns = flaws.sources["reward"]
    weights = flaws.tally.plan.weights
    parts = []
    for column in columns:
        held = flaws.columns["reward", column]
        values, bad, truths, sums = raw.paid(held)
        flaws.tally.truths += truths
        flaws.tally.sums += sums
        if len(columns) == 1:
            flaws.where(raw.missing(held), "reward", "is missing")
        flaws.where(bad, "reward", "must be a number" if len(columns) == 1 else "must be made of numbers")
        parts.append(values)
    with np.errstate(invalid="ignore", over="ignore"):
        if len(columns) == 1:
            total = weights[0] * parts[0]
        else:
            unknown = [np.isnan(values) for values in parts]
            flaws.where(np.logical_and.reduce(unknown), "reward", "is missing or nan in all columns")
            total = np.zeros(len(flaws.good))
            for values, gone, weight in zip(parts, unknown, weights, strict=True):
                total += weight * np.where(gone, 0.0, values)
    flaws.where(~np.isfinite(total), "reward", "must be finite")
    if len(columns) > 1:
        flaws.tally.counted_zero += int(sum(np.count_nonzero(gone & flaws.good) for gone in unknown))
    return total
