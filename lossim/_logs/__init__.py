"""Logs of responses: files of JSON lines, CSV or Parquet to columns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._logs import csv, jsonl, parquet
from lossim._logs.files import find, natural, unreadable
from lossim._logs.names import Head, Plan
from lossim._logs.names import plan as plan_columns
from lossim._logs.reading import Place, Reading, Tally
from lossim._logs.rows import Rules, check
from lossim._logs.spool import CHUNK, Column, gather_groups
from lossim._logs.values import tokens_of
from lossim._support import checks

__all__ = ["CHUNK", "Place", "Reading", "gather_groups", "read"]

HEAD = 1000  # rows that tell the columns, of all files together
FORMATS: dict[str, Any] = {"jsonl": jsonl, "csv": csv, "parquet": parquet}
TYPES = {"lengths": np.int32, "rewards": np.float64, "prompt_ids": np.int32, "truncated": np.bool_,
         "correct": np.bool_, "classes": np.int32, "steps": np.int32, "kl": np.float64}
FIELDS = {"length": "lengths", "tokens": "lengths", "text": "lengths", "reward": "rewards", "prompt": "prompt_ids",
          "truncated": "truncated", "correct": "correct", "class": "classes", "step": "steps", "kl": "kl"}


def read(path: Any, kind: str | None, columns: Mapping[str, Any] | None, tokenizer: Callable[[str], Any] | None,
         max_tokens: int | None, on_error: str, progress: bool
         ) -> tuple[dict[str, NDArray[Any]], tuple[str, ...] | None, Reading]:
    """Columns of the rows that are good, the names of classes, and how it went; see `lossim.Rollouts.read`."""
    checks.choice("on_error", on_error, ("raise", "report"))
    checks.flag("progress", progress)
    if max_tokens is not None:
        max_tokens = checks.whole("max_tokens", max_tokens)
    if tokenizer is not None:
        _check_tokenizer(tokenizer)
    kind, files, notes = find(path, kind)
    reader = FORMATS[kind]
    heads = _heads(reader, files)
    where = str(files[0]) + (f" and {len(files) - 1} more" if len(files) > 1 else "")
    plan = plan_columns(_pooled(heads), columns, tokenizer, max_tokens, where)
    for file, head in heads.items():
        gone = next((name for name in plan.names if name not in head.samples), None)
        if head.fixed and head.samples and gone is not None:
            raise ValueError(f"{file}: has no column {gone!r}, which {files[0]} has; the files of one log must have "
                             "the same columns")
    rules = Rules(plan, tokenizer, max_tokens)
    tally = Tally(strict=on_error == "raise")
    told = {FIELDS[field] for field in plan.sources if field in FIELDS}
    told |= {"truncated"} if max_tokens is not None else set()
    spool = {name: Column(dtype) for name, dtype in TYPES.items() if name in told}
    again = parquet.repeats(files, "step") if plan.trl and kind == "parquet" else {}
    with ExitStack() as stack:
        for column in spool.values():
            stack.callback(column.close)
        for file in files:
            before = tally.rows
            if file in again:
                tally.repeat(str(file), again[file])
                continue
            for chunk in _chunks(reader, file, plan):
                arrays, found = check(chunk, rules, str(file))
                tally.count(len(chunk.lines), found)
                for name, column in spool.items():
                    column.append(arrays[name])
                if progress:
                    print(f"\r{tally.rows:,} rows read, {tally.kept:,} kept, in {file.name}", end="",
                          file=sys.stderr, flush=True)
            if tally.rows == before:
                notes.append(f"files: {file} holds no rows")
        if progress:
            print(file=sys.stderr)
        if not tally.kept:
            raise ValueError(f"{where}: no row can be used, of {tally.rows:,}: "
                             + "; ".join(f"{count:,} {reason}" for reason, count in tally.skipped.items())
                             + f"; the first is {tally.places[0]}")
        result = {name: column.array() for name, column in spool.items()}
    if rules.counted_zero:
        notes.append(f"reward: {rules.counted_zero:,} entries of the reward's columns are null or nan and count 0")
    if rules.retokenized:
        notes.append(f"length: {rules.retokenized:,} texts come to more than {max_tokens} tokens by the tokenizer, "
                     "max_tokens, and count as that many")
    names = _sort_classes(result, list(rules.classes.names)) if "classes" in result else None
    return result, names, Reading(files=tuple(map(str, files)), format=kind, rows=tally.rows, kept=tally.kept,
                                  skipped=tally.skipped, places=tuple(tally.places),
                                  choices=plan.choices + tuple(notes))


def _chunks(reader: Any, file: Path, plan: Plan) -> Any:
    """The chunks of a file; whatever keeps it from being read is said with its name."""
    with unreadable(file):
        yield from reader.chunks(file, plan)


def _heads(reader: Any, files: list[Path]) -> dict[Path, Head]:
    rows = max(HEAD // len(files), 32)
    heads: dict[Path, Head] = {}
    for file in files:
        with unreadable(file):
            heads[file] = reader.head(file, rows)
    if not any(values for head in heads.values() for values in head.samples.values()):
        more = f", nor do the {len(files) - 1} other files" if len(files) > 1 else ""
        problem = next((head.problem for head in heads.values() if head.problem), "")
        raise ValueError(f"{problem}; no row can be read" if problem
                         else f"{files[0]}: holds no rows, or empty ones{more}")
    return heads


def _pooled(heads: dict[Path, Head]) -> dict[str, list[Any]]:
    pooled: dict[str, list[Any]] = {}
    for head in heads.values():
        for name, values in head.samples.items():
            pooled.setdefault(name, []).extend(values)
    return pooled


def _check_tokenizer(tokenizer: Any) -> None:
    if not callable(tokenizer):
        checks.fail("tokenizer", tokenizer, "must be a function from text to a number of tokens or to token ids",
                    "for example tokenizer=lambda text: tok.encode(text, add_special_tokens=False)", TypeError)
    if extra := tokens_of(tokenizer, ""):
        checks.fail("tokenizer", extra, "must give no tokens for an empty text (it adds special tokens)",
                    "pass lambda text: tok.encode(text, add_special_tokens=False)")


def _sort_classes(columns: dict[str, NDArray[Any]], names: list[str]) -> tuple[str, ...]:
    """Classes numbered in the order of their names."""
    order = sorted(range(len(names)), key=lambda i: (natural(names[i]), names[i]))
    if order != list(range(len(names))):
        rank = np.empty(len(names), np.int32)
        rank[order] = np.arange(len(names))
        old = columns["classes"]
        with closing(Column(np.int32)) as renumbered:
            for start in range(0, len(old), CHUNK):
                renumbered.append(rank[old[start:start + CHUNK]])
            columns["classes"] = renumbered.array()
    return tuple(names[i] for i in order)
