"""From the files of a log to its columns: chosen by the first rows, checked chunk by chunk, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lossim._logs import agreement, memory, names, parquet
from lossim._logs.files import find, natural, steps_of
from lossim._logs.groups import COUNTERS, counts_anew, no_classes
from lossim._logs.log import READERS, Log, chosen
from lossim._logs.packing import File
from lossim._logs.reading import Place, Reading
from lossim._logs.rows import PLACES, Head, Tally, check
from lossim._logs.shape import Shape
from lossim._logs.tokenizing import ByCharacters, counter_of
from lossim._support import checks
from lossim._support.executors import checked_executor, in_order
from lossim._support.progress import Progress
from lossim._support.text import Note, Phrase, argument

REPEAT = "repeats the file before, under another step"


def read(kind: str | None, path: Any, columns: Mapping[str, Any] | None, tokenizer: Any, max_tokens: int | None,
         on_error: str, progress: bool, rows: str | None = None, executor: Executor | None = None) -> dict[str, Any]:
    """What `lossim.Rollouts` is made of: columns of the rows that are good, names of classes, and how it went.

    Columns are compact: lengths, prompt ids, classes and steps take 4 bytes a row, rewards and KL 8, truth values 1.
    No row is kept as Python objects beyond its chunk. An ``executor`` reads the files side by side.
    """
    checked_executor(executor)
    checks.choice("on_error", on_error, ("raise", "report"))
    checks.flag("progress", progress)
    if max_tokens is not None:
        max_tokens = checks.whole("max_tokens", max_tokens)
    if rows is not None:
        checks.text("rows", rows)
    counter = ByCharacters(max_tokens=max_tokens) if tokenizer is None else counter_of(tokenizer)
    given = names.asked(columns)
    table = memory.table_of(path) if kind is None else None
    there: AbstractContextManager[tuple[Mapping[str, list[Any]], list[Note]]] = (
        find(path, kind) if table is None else nullcontext(({table[0]: [table[1]]}, [])))
    with there as (found, notes):
        log = chosen(found, given, rows, notes)
        plan = names.plan(log.rows, given, tokenizer, max_tokens, log.where, log.shape.outer)
        agreement.hold({file: log.inside(file) for file in log.heads}, plan, counter)
        steps = {} if "step" in plan.sources or "step" in given else steps_of(log.heads)
        apart = "step" not in plan.sources and not steps and counts_anew(
            plan.held(log.inside(file), plan.sources["prompt"][0]) for file in log.heads)
        tally = Tally(plan, counter, max_tokens, strict=on_error == "raise", steps=steps, apart=apart)
        return _read(log, tally, progress, executor)


def _read(log: Log, tally: Tally, progress: bool, executor: Executor | None) -> dict[str, Any]:
    """The columns of a log whose files, shape and plan are known."""
    files, notes, plan = list(log.heads), log.notes, tally.plan
    shape = log.shape.limited(plan.roots)
    if not shape.steps:
        _check_columns(log.heads, plan)

    # the rows, file by file
    parts: dict[str, list[NDArray[Any]]] = {}
    repeats = parquet.repeats(files, "step") if plan.trl and log.kind == "parquet" and len(files) > 1 else {}
    side_by_side = executor is not None and len(files) > 1 and not tally.over_files
    tasks = [_Task(file=file, kind=log.kind, shape=shape, tally=tally.fresh)
             for file in files if side_by_side and file not in repeats]
    apart = in_order(_rows_of, tasks, executor)
    with Progress(progress) as report:
        for file in files:
            if file in repeats:
                rows = repeats[file]
                tally.rows += rows
                tally.skipped[f"row {REPEAT}"] += rows
                if len(tally.places) < PLACES:
                    tally.places.append(Place(str(file), 1, "row", f"{REPEAT}, as all {rows:,} rows of this file do"))
                continue
            before = tally.rows
            for arrays in (tally.absorb(*next(apart)),) if side_by_side else _chunks(file, log.kind, shape, tally):
                for name, array in arrays.items():
                    parts.setdefault(name, []).append(array)
                report.say(f"{tally.rows:,} rows read, {tally.kept:,} kept, in {file.name}")
            if tally.rows == before:
                notes.append(Note("files", f"files: {file} holds no rows"))
    if not tally.kept:
        reasons = "; ".join(f"{count:,} {reason}" for reason, count in tally.skipped.items())
        raise ValueError(f"{log.where}: no row can be used, of {tally.rows:,}: {reasons}; the first is "
                         f"{tally.places[0]}")

    # what was kept, and what was assumed
    result: dict[str, Any] = {name: np.concatenate(parts.pop(name)) for name in list(parts)}  # parts go one by one
    classes = sorted(tally.classes, key=lambda name: (natural(name), name))
    if "classes" in result:  # numbered in the order of their names
        rank = np.argsort([tally.classes[name] for name in classes]).astype(np.int32)
        result["classes"] = rank[result["classes"]]
    choices = [*log.shape.notes(), *plan.choices]
    if "classes" in result and "class" not in plan.asked:
        left = no_classes(result["classes"], result["prompt_ids"], plan.sources["class"][0])
        if left is not None:
            del result["classes"]
            classes = []
            choices = [choice for choice in choices if choice.code != "class"]
            notes.append(left)
    for column in result.values():
        column.setflags(write=False)
    for name, why in tally.aside.items():
        result.pop(name, None)
        column, = plan.sources[name]
        choices = [choice for choice in choices if choice.code != name]
        notes.append(Note("set aside", f"not read: {column!r}, which may not be {name}{names.MEANING.get(name, '')}: "
                          f"one {why}; {names.COLUMN[name].replace('...', repr(column))} insists on it"))
    if tally.steps:
        choices = [choice for choice in choices if choice.code != "step"]
        first, second, *_ = dict.fromkeys(tally.steps.values())
        notes.append(Note("step", f"step: in the names of files or folders ({first}, {second}, ...)"))
    counter = plan.sources["prompt"][0]
    if tally.apart:
        notes.append(Note("prompt", f"prompt: {counter!r} counts anew in each file, and is not taken across files"))
    elif counter in COUNTERS and "steps" in result:
        notes.append(Note("prompt", f"prompt: {counter!r} counts the groups of a step, and is not taken across steps"))
    if tally.estimated and tally.max_tokens is None:
        notes += _one_cap(result)
    if tally.counted_zero:
        notes.append(Note("reward", f"reward: {tally.counted_zero:,} entries of the reward's columns are null or nan "
                          "and count 0"))
    if tally.truths and all(choice.code != "grade pays" for choice in choices):
        notes.append(Note("reward", f"reward: {tally.truths:,} are true or false; true pays 1, false 0"))
    if tally.sums:
        notes.append(Note("reward", f"reward: {tally.sums:,} are lists of numbers, which are added up"))
    notes += _of_lengths(tally)
    reading = Reading(files=tuple(map(str, files)), format=log.kind if isinstance(files[0], File) else "table",
                      rows=tally.rows, kept=tally.kept, skipped=dict(tally.skipped), places=tuple(tally.places),
                      choices=tuple(choices + notes))
    return result | {"class_names": tuple(classes) or None, "reading": reading,
                     "tokenized": tally.counter if tally.estimated else None}


class _Task(NamedTuple):
    """A file to be read by itself, and the tally to begin with."""

    file: File
    kind: str
    shape: Shape
    tally: Tally


def _rows_of(task: _Task) -> tuple[Tally, dict[str, NDArray[Any]]]:
    """The tally and the columns of one file."""
    parts: dict[str, list[NDArray[Any]]] = {}
    for arrays in _chunks(task.file, task.kind, task.shape, task.tally):
        for name, array in arrays.items():
            parts.setdefault(name, []).append(array)
    return task.tally, {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _chunks(file: File, kind: str, shape: Shape, tally: Tally) -> Iterator[dict[str, NDArray[Any]]]:
    """The columns of a file, some rows at a time."""
    for chunk in READERS[kind][1](file, tally.plan, shape):
        yield check(chunk, tally, str(file))


def _one_cap(result: dict[str, Any]) -> list[Note]:
    """Hold estimated lengths to one cap, where the log says what was cut and nobody at how many tokens."""
    cut = result.get("truncated")
    if cut is None or not cut.any():
        return []
    cap = int(np.median(result["lengths"][cut]))
    over = int(np.count_nonzero(result["lengths"][~cut] > cap))
    result["lengths"] = np.where(cut, cap, np.minimum(result["lengths"], cap)).astype(np.int32)
    result["lengths"].setflags(write=False)
    more = f", and {over:,} others that come to more count as that many" if over else ""
    return [Note("length", Phrase(f"length: the cap is taken to be {cap:,} tokens, the median of what was cut{more}; ",
                                  argument("max_tokens"), " says it"))]


def _of_lengths(tally: Tally) -> list[Note]:
    """What there is to say of the tokens that were counted, and of those that were not."""
    notes = []

    def say(code: str, text: str) -> None:
        notes.append(Note(code, text))

    by = "estimate" if tally.estimated else "tokenizer"
    if tally.retokenized:
        say("length", f"length: {tally.retokenized:,} texts come to more than {tally.max_tokens} tokens by the {by}, "
            "max_tokens, and count as that many")
    if isinstance(tally.counter, ByCharacters) and tally.estimated:
        say("estimated", f"length: about {tally.counter.characters_per_token:g} characters a token are assumed "
            f"({tally.counter.low:g} to {tally.counter.high:g} are usual): no tokenizer was given")
    if tally.others:
        say("others", f"length: {tally.others:,} tokens of others, in {tally.mixed:,} responses, are not counted: "
            "tools and users wrote them")
    if tally.stopped:
        say("stop", f"length: {tally.stopped:,} texts end in a stop token or padding, which counts once")
    if tally.marked:
        say("turns", f"length: {tally.marked:,} of {tally.kept:,} texts hold turns of tools or users that cannot be "
            "told from the policy's, and count as its own")
    return notes


def _check_columns(heads: Mapping[File, Head], plan: names.Plan) -> None:
    """Tables of one log have the same columns; rows of JSON may leave one out."""
    first = next(iter(heads))
    for file, head in heads.items():
        names_there = plan.roots if head.names is None or not head.rows else head.names
        gone = next((name for name in sorted(plan.roots) if name not in names_there), None)
        if gone is not None:
            raise ValueError(f"{file}: has no column {gone!r}, which {first} has; the files of one log must have "
                             "the same columns")
