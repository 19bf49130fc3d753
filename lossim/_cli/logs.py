"""Logs: how the command line has them read, and what it then says of them."""

from __future__ import annotations

import importlib
import os
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import reduce
from typing import Any

from lossim._cli.answers import given, progress
from lossim._support import checks
from lossim._support.text import code
from lossim.configs import ParsedConfig
from lossim.rollouts import Reading, Rollouts, reward_levels

__all__ = ["LOG_ONLY", "paths_of", "read_log", "reading_options"]

LOG_ONLY = ("column", "rows", "tokenizer", "format", "correct_above", "on_error", "paths", "needed", "replicates")
"""Arguments that are about a log."""


def read_log(args: Namespace, config: ParsedConfig | None) -> tuple[Rollouts, Reading, int | None, list[str]]:
    """A log, how it was read, its cap where that had to be said, and what there is to say of them."""
    tokenizer = None if args.tokenizer is None else _tokenizer(args.tokenizer)
    if args.correct_above is not None:
        checks.finite("--correct-above", args.correct_above)
    theirs = None if config is None else config.max_tokens
    known: int | None = args.max_tokens
    if known is None and tokenizer is not None:
        known = theirs  # text does not tell its length without the cap: the stop token is not in it
    columns = _columns(args.column)
    rollouts = _rollouts(args, columns, tokenizer, known)
    if rollouts.tokenized is not None and known is None and theirs is not None:
        known = theirs  # estimates are held to the cap
        rollouts = _rollouts(args, columns, tokenizer, known)
    reading = rollouts.reading
    assert reading is not None
    if args.correct_above is not None and rollouts.correct is not None:
        raise ValueError("--correct-above is for a log without grades, and this one has them; leave it out, or pass "
                         "them over with --column correct=")
    if known is None and rollouts.truncated is None and theirs is not None:
        longest = int(rollouts.lengths.max())
        if longest > theirs:
            raise ValueError(f"the config cuts responses at {theirs:,} tokens, and the log has one of {longest:,}; "
                             "give --max-tokens, the cap that the log was drawn under")
        known = theirs

    return rollouts, reading, known, _notes(args, config, known, columns, reading)


def reading_options(args: Namespace) -> dict[str, Any]:
    """Arguments of ``Rollouts.read``, as far as they were given."""
    tokenizer = None if args.tokenizer is None else _tokenizer(args.tokenizer)
    return given(columns=_columns(args.column), tokenizer=tokenizer, rows=args.rows, on_error=args.on_error)


def _rollouts(args: Namespace, columns: dict[str, Any] | None, tokenizer: Any, max_tokens: int | None) -> Rollouts:
    """A log as the arguments have it read."""
    reader = Rollouts.read if args.format is None else getattr(Rollouts, f"from_{args.format}")
    found: Rollouts = reader(args.log, columns=columns, tokenizer=tokenizer, max_tokens=max_tokens,
                             progress=progress(args), **given(on_error=args.on_error, rows=args.rows))
    return found


def _notes(args: Namespace, config: ParsedConfig | None, known: int | None, columns: dict[str, Any] | None,
           reading: Reading) -> list[str]:
    """What the log leaves open, and the config tells."""
    notes = []
    chosen = {code(choice) for choice in reading.choices}
    weights = [] if config is None else [entry.value for entry in config.approximated if entry.key == "reward_weights"]
    if weights and "reward sum" in chosen and "reward" not in (columns or {}):
        notes.append(f"the config weighs rewards by {weights[0]}, and the columns of the log are summed as they are; "
                     "weigh them with --column reward=WEIGHT*NAME")
    if known is not None and args.max_tokens is None and not chosen.isdisjoint(("cut by length", "cuts unknown")):
        notes.append(f"max_tokens is that of the config, {known:,}")
    return notes


def paths_of(args: Namespace, rollouts: Rollouts) -> tuple[Any, list[str]]:
    """How a log is divided into paths, and a note where that was chosen for it."""
    ungraded = rollouts.correct is None and args.correct_above is None
    if args.paths is None and ungraded and len(reward_levels(rollouts)) == 1:
        return "one", ["all rewards are equal and there are no grades: right and wrong responses share one path"]
    return args.paths or "outcome", []


def _columns(texts: Sequence[str] | None) -> dict[str, Any] | None:
    """``FIELD=NAME`` by field; rewards may be several, with weights."""
    if not texts:
        return None
    columns: dict[str, Any] = {}
    for text in texts:
        field, equals, name = text.partition("=")
        if not equals:
            checks.fail("--column", text, "must be FIELD=NAME", "for example length=completion_length")
        if field == "reward" and name:
            weight, _, column = name.partition("*")
            if column and re.fullmatch(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?", weight):
                columns.setdefault(field, {})[column] = float(weight)
            else:
                columns.setdefault(field, {})[name] = 1.0
        elif field in columns:
            checks.fail("--column", text, f"must give {field} once")
        else:
            columns[field] = name or None
    return columns


def _tokenizer(name: str) -> Any:
    """``module:name``, found from the current folder too; a file, a folder or a name is left to the reader."""
    module, colon, path = name.partition(":")
    if not colon or os.path.exists(name):
        return name
    if not (module and path):
        checks.fail("--tokenizer", name, "must be MODULE:NAME", "for example my_tokenizer:count")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ImportError(f"--tokenizer {name}: importing {module} raised {type(error).__name__}: {error}") from error
    try:
        tokenizer = reduce(getattr, path.split("."), found)
    except AttributeError:
        checks.fail("--tokenizer", name, f"must name something in {module}", checks.nearest(path, dir(found)))
    if not callable(tokenizer):
        if not hasattr(tokenizer, "encode"):
            checks.fail("--tokenizer", name, f"must name a function or a tokenizer, not {type(tokenizer).__name__}",
                        error=TypeError)
        return tokenizer

    def guarded(text: str, **options: Any) -> Any:
        try:
            return tokenizer(text, **options)
        except Exception as error:
            raise ValueError(f"--tokenizer {name} raised {type(error).__name__}: {error}, for {text[:60]!r}") from error

    return tokenizer if hasattr(tokenizer, "encode") else guarded
