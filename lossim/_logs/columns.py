"""From the files of a log to its columns: chosen by the first rows, checked chunk by chunk, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._logs import csv, jsonl, parquet
from lossim._logs.files import find, natural, unreadable
from lossim._logs.names import Head, Plan
from lossim._logs.names import plan as plan_columns
from lossim._logs.reading import Reading, Tally
from lossim._logs.rows import Chunk, Rules, check
from lossim._logs.values import tokens_of
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._support.types import IntArray

__all__ = ["read"]

HEAD = 1000  # rows that tell the columns, of all files together
READERS: dict[str, Any] = {"jsonl": jsonl, "csv": csv, "parquet": parquet}


def read(path: Any, kind: str | None, columns: Mapping[str, Any] | None, tokenizer: Callable[[str], Any] | None,
         max_tokens: int | None, on_error: str, progress: bool
         ) -> tuple[dict[str, NDArray[Any]], tuple[str, ...] | None, Reading]:
    """Columns of the rows that are good, the names of classes, and how it went; see `lossim.Rollouts.read`.

    Columns are compact: lengths, prompt ids, classes and steps take 4 bytes a row, rewards and KL 8, truth values 1.
    No row is kept as Python objects beyond its chunk.
    """
    checks.choice("on_error", on_error, ("raise", "report"))
    checks.flag("progress", progress)
    if max_tokens is not None:
        max_tokens = checks.whole("max_tokens", max_tokens)
    if tokenizer is not None:
        _check_tokenizer(tokenizer)

    # which files, and which of their columns
    kind, files, notes = find(path, kind)
    reader = READERS[kind]
    heads = _heads(reader, files)
    where = str(files[0]) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    plan = plan_columns(_pooled(heads), columns, tokenizer, max_tokens, where)
    _check_same_columns(heads, plan)
    repeats = parquet.repeats(files, "step") if plan.trl and kind == "parquet" else {}

    # the rows, chunk by chunk
    rules = Rules(plan, tokenizer, max_tokens)
    tally = Tally(strict=on_error == "raise")
    parts: dict[str, list[NDArray[Any]]] = {}
    with Progress(progress) as report:
        for file in files:
            if file in repeats:
                tally.repeat(str(file), repeats[file])
                continue
            before = tally.rows
            for chunk in _chunks(reader, file, plan):
                arrays, found = check(chunk, rules, str(file))
                tally.count(len(chunk.lines), found)
                for name, array in arrays.items():
                    parts.setdefault(name, []).append(array)
                report.say(f"{tally.rows:,} rows read, {tally.kept:,} kept, in {file.name}")
            if tally.rows == before:
                notes.append(Note("files", f"files: {file} holds no rows"))
    if not tally.kept:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in tally.skipped.items())
        raise ValueError(f"{where}: no row can be used, of {tally.rows:,}: {reasons}; the first is {tally.places[0]}")

    # what was kept, and what was assumed
    result = {name: np.concatenate(parts.pop(name)) for name in list(parts)}  # a column's parts go when it is whole
    names = None
    if "classes" in result:
        result["classes"], names = _sorted_classes(result["classes"], list(rules.classes.names))
    for column in result.values():
        column.setflags(write=False)
    if rules.counted_zero:
        notes.append(Note("reward", f"reward: {rules.counted_zero:,} entries of the reward's columns are null or nan "
                          "and count 0"))
    if rules.retokenized:
        notes.append(Note("length", f"length: {rules.retokenized:,} texts come to more than {max_tokens} tokens by the "
                          "tokenizer, max_tokens, and count as that many"))
    return result, names, Reading(files=tuple(map(str, files)), format=kind, rows=tally.rows, kept=tally.kept,
                                  skipped=tally.skipped, places=tuple(tally.places),
                                  choices=plan.choices + tuple(notes))


def _chunks(reader: Any, file: Path, plan: Plan) -> Iterator[Chunk]:
    """The chunks of a file; whatever keeps it from being read is said with its name."""
    with unreadable(file):
        yield from reader.chunks(file, plan)


def _heads(reader: Any, files: list[Path]) -> dict[Path, Head]:
    """The first rows of each file; without any there is nothing to read."""
    rows = max(HEAD // len(files), 32)
    heads: dict[Path, Head] = {}
    for file in files:
        with unreadable(file):
            heads[file] = reader.head(file, rows)
    if not any(values for head in heads.values() for values in head.samples.values()):
        problem = next((head.problem for head in heads.values() if head.problem), "")
        if problem:
            raise ValueError(f"{problem}; no row can be read")
        more = f", nor do the {len(files) - 1} other files" if len(files) > 1 else ""
        raise ValueError(f"{files[0]}: holds no rows, or empty ones{more}")
    return heads


def _pooled(heads: dict[Path, Head]) -> dict[str, list[Any]]:
    """The columns of all files, each with its values in their first rows."""
    pooled: dict[str, list[Any]] = {}
    for head in heads.values():
        for name, values in head.samples.items():
            pooled.setdefault(name, []).extend(values)
    return pooled


def _check_same_columns(heads: dict[Path, Head], plan: Plan) -> None:
    """The columns that are read must be in every file whose rows have the same columns throughout."""
    first = next(iter(heads))
    for file, head in heads.items():
        gone = next((name for name in plan.names if name not in head.samples), None)
        if head.fixed and head.samples and gone is not None:
            raise ValueError(f"{file}: has no column {gone!r}, which {first} has; the files of one log must have "
                             "the same columns")


def _check_tokenizer(tokenizer: Any) -> None:
    """A tokenizer must be a function, and add nothing of its own."""
    if not callable(tokenizer):
        checks.fail("tokenizer", tokenizer, "must be a function from text to a number of tokens or to token ids",
                    "for example tokenizer=lambda text: tok.encode(text, add_special_tokens=False)", TypeError)
    extra = tokens_of(tokenizer, "")
    if extra:
        checks.fail("tokenizer", extra, "must give no tokens for an empty text (it adds special tokens)",
                    "pass lambda text: tok.encode(text, add_special_tokens=False)")


def _sorted_classes(classes: IntArray, names: list[str]) -> tuple[IntArray, tuple[str, ...]]:
    """Classes numbered in the order of their names, and the names in that order."""
    order = sorted(range(len(names)), key=lambda i: (natural(names[i]), names[i]))
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names))
    return rank[classes], tuple(names[i] for i in order)
