"""Responses as they were drawn or logged: one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lossim import _logs
from lossim._logs import ByCharacters, Place, Reading
from lossim._support import checks
from lossim._support.numbering import numbered
from lossim._support.text import Note, Phrase, Way, argument
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray

__all__ = ["ByCharacters", "Place", "Reading", "Rollouts"]

NEEDED = (0.25, 0.5, 0.9)
"""Shares of a right response's length that may have been needed, where a log does not say: by an answer that is checked
and told again, one that is found half way, one that ends when it is found. A range to look at, not a measurement."""
_SLACK = 1e-9  # a share of a length this near a whole number is that number

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]
AnyLog = Any
"""A log as verbs take it: `Rollouts`, or what `Rollouts.read` takes: a path or several, or a table in memory."""
Columns = Mapping[str, str | Sequence[str] | Mapping[str, float] | None]
Tokenizer = Any
"""A function from text to ids or to their number, an object of `tokenizers` or `transformers`, a path or a name."""
OnError = Literal["raise", "report"]


@dataclass(frozen=True, eq=False, repr=False)
class Rollouts(_logs.Responses):
    """Sampled responses, one entry per response in every array.

    Attributes:
        lengths: tokens, the stop token included; whole numbers ≥ 1.
        rewards: task reward, finite.
        prompt_ids: which prompt a response answers; equal ids in one step form a group. Numbers, or strings of any
            kind (numpy's, objects, a column of a frame).
        truncated: cut at ``max_tokens`` without a stop token; None if unknown.
        correct: graded correct; None if unknown.
        classes: index of the prompt class; None if unknown.
        steps: training step; None if unknown.
        kl: Σ log π/π_ref over the response's tokens, nats, finite; None if unknown.
        answered: position at which the answer was there (the first correct one, the end of the thinking, a box), whole
            numbers from 1 to the length; NaN or None in it for a response without one; None if unknown.
        path_names: the path that each response took (short or long, with a tool or without), by name; None if unknown.
        targets: tokens that the prompt of each response asks for, at least 1, for rewards that pay by it
            (`lossim.rewards.TargetShaping`); None if unknown.
        class_names: names that ``classes`` indexes; None if they have none.
        reading: how the responses were read from files or a table; None if they were given as arrays.
        tokenized: how lengths were estimated from characters; None if they were not.

    Raises:
        ValueError: arrays of different lengths, a length below 1, a reward that is not finite, an answer beyond the end
            of its response, class names that are not unique or too few.

    >>> Rollouts(lengths=[3, 5], rewards=[1.0, 0.0], prompt_ids=[0, 0])
    Rollouts(2 responses to 1 prompts, mean length 4)
    """

    lengths: IntArray
    rewards: FloatArray
    prompt_ids: IntArray
    truncated: BoolArray | None = None
    correct: BoolArray | None = None
    classes: IntArray | None = None
    steps: IntArray | None = None
    kl: FloatArray | None = None
    answered: FloatArray | None = None
    path_names: NDArray[np.str_] | None = None
    targets: FloatArray | None = None
    class_names: tuple[str, ...] | None = None
    reading: Reading | None = None
    tokenized: ByCharacters | None = None

    def __init__(self, lengths: ArrayLike, rewards: ArrayLike, prompt_ids: ArrayLike,
                 truncated: ArrayLike | None = None, correct: ArrayLike | None = None,
                 classes: ArrayLike | None = None, steps: ArrayLike | None = None, kl: ArrayLike | None = None,
                 class_names: Sequence[str] | None = None, reading: Reading | None = None, *,
                 answered: ArrayLike | None = None, path_names: ArrayLike | None = None,
                 targets: ArrayLike | None = None, tokenized: ByCharacters | None = None,
                 _checked: bool = False) -> None:
        columns: dict[str, Any] = {
            "lengths": lengths, "rewards": rewards, "prompt_ids": prompt_ids, "truncated": truncated,
            "correct": correct, "classes": classes, "steps": steps, "kl": kl, "answered": answered,
            "path_names": path_names, "targets": targets}
        if not _checked:
            columns = _logs.given_columns(columns)
            if reading is not None and not isinstance(reading, Reading):
                checks.fail("reading", reading, "must be a Reading or None", error=TypeError)
            if tokenized is not None and not isinstance(tokenized, ByCharacters):
                checks.fail("tokenized", tokenized, "must be ByCharacters or None", error=TypeError)
            if class_names is not None:
                class_names = _logs.given_names(class_names, columns["classes"])
        rest = {"class_names": class_names, "reading": reading, "tokenized": tokenized}
        for name, value in {**columns, **rest}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def read(cls, path: Paths | Any, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
             max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False,
             rows: str | None = None, executor: Executor | None = None) -> Self:
        """Read a log: files whose suffix tells their format (.jsonl, .ndjson, .json, .csv, .tsv, and .gz, .bz2, .xz or
        .zst may follow these; .parquet, .arrow, .feather), folders of them, ``-``; or a table in memory.

        One response per row. Columns with the usual names are recognised, those of TRL's tables of completions
        and of verl's dumps among them; whatever was chosen without being told is in ``reading.choices``. A reward in
        several columns (TRL's reward functions) is their sum, in which null and nan count 0 unless all are.

        A length is found, in this order: in columns of loss masks, whose ones are the policy's own tokens; in a column
        of lengths, which count the stop token; in a column of token ids; in a column of text or chat messages by the
        ``tokenizer``, plus 1 for the stop token, which text does not hold, unless the text alone has ``max_tokens``
        tokens. Of messages the assistant's turns count, with their reasoning and their calls of tools; what tools and
        users said is reported. Without a tokenizer lengths are estimated, see :class:`~lossim.rollouts.ByCharacters`.

        ``truncated`` comes from a column of booleans or of reasons ("length", "stop"); without one it is length ≥
        ``max_tokens`` (of text alone, where that is tokenized), and unknown without ``max_tokens``.

        Prompts are numbered from 0 by content (ids, text or messages), classes in the order of their names. 1 and 1.0
        are one id, 1 and "1" are two; CSV holds text, in which "1" and "1.0" stay two.

        Rows are read a chunk at a time; the columns of all are kept in memory, 16 to 34 bytes a response.

        Args:
            path: a file, several, or a folder, whose logs are read in natural order (2.jsonl before 10.jsonl). Or a log
                in memory, under the same names of columns: a frame of pandas or polars, a pyarrow table or whatever
                else gives an Arrow stream, a Hugging Face dataset, a list of dicts, or a dict of arrays. pandas needs
                nothing but itself, the other frames pyarrow (``lossim[logs]``).
            columns: the log's column for any of ``mask`` (one or a list), ``length``, ``tokens``, ``text``, ``reward``
                (one, a list that is summed, or a mapping from column to weight), ``prompt``, ``truncated``,
                ``correct``, ``class``, ``step``, ``kl``, ``answered``, ``path``, ``target``; None for a field that is
                not to be read, and not to be held against the others.
            tokenizer: a tokenizer.json, a folder with one, a name in the Hugging Face cache (nothing is fetched), a
                tokenizer of `tokenizers` or `transformers`, or a function from text to token ids or to their number.
                Special tokens are not added; a function that adds them and cannot be told is refused.
            max_tokens: the cap on lengths; a longer response is a bad row.
            on_error: ``"raise"`` at the first bad row, or ``"report"``: leave bad rows out and count them in
                ``reading``.
            progress: report rows on stderr.
            executor: any :class:`concurrent.futures.Executor`, whose workers read the files side by side; the result is
                the same to the bit, whichever groups span files. What reads the files has to be picklable.

        Raises:
            ValueError: for ways to a length that say different things of one response (a padded width beside a mask,
                characters beside text); for a bad row (missing, not a number, not finite, a length below 1 or not
                whole, not JSON, ragged CSV, not UTF-8), named by file, line, field and value; for a file that cannot
                be read (in CSV a quote that is never closed and takes in the lines after it), a column that is not
                there, and a log in which no row is good.
            FileNotFoundError: for a path that is not there.
            ImportError: for Parquet without pyarrow, and a tokenizer.json without tokenizers (``lossim[logs]``).

        >>> import tempfile, pathlib
        >>> log = pathlib.Path(tempfile.mkdtemp()) / "run.jsonl"
        >>> _ = log.write_text('''{"prompt": "1+1", "response_length": 5, "score": 1.0, "step": 1}
        ... {"prompt": "1+1", "response_length": 0, "score": 0.0, "step": 1}
        ... {"prompt": "1+1", "response_length": 8, "score": 0.0, "step": 1}
        ... ''')
        >>> rollouts = Rollouts.read(log, max_tokens=8, on_error="report")
        >>> rollouts.lengths, rollouts.truncated
        (array([5, 8], dtype=int32), array([False,  True]))
        >>> print(rollouts)
        Rollouts(2 responses to 1 prompts, mean length 6.5)
        2 of 3 rows kept, from 1 file (...run.jsonl)
          left out  1  length must be at least 1
          first     ...run.jsonl:2: length must be at least 1, got 0 ('response_length')
          chosen    length: column 'response_length', the stop token counted
                    reward: column 'score'
                    truncated: where length is 8 tokens, max_tokens
        """
        found = _logs.read(None, path, columns, tokenizer, max_tokens, on_error, progress, rows, executor)
        return cls(**found, _checked=True)

    @classmethod
    def from_jsonl(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                   max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False,
                   rows: str | None = None) -> Self:
        """`read` for JSON Lines under any name, gzipped or not: one object per line; a blank line is no row.

        Of a key that an object holds twice the last value counts, as `json.loads` has it; that is not looked for.
        """
        found = _logs.read("jsonl", path, columns, tokenizer, max_tokens, on_error, progress, rows)
        return cls(**found, _checked=True)

    @classmethod
    def from_csv(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                 max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False,
                 rows: str | None = None) -> Self:
        """`read` for CSV under any name, gzipped or not: the first row names the columns; .tsv has tabs.

        A field with nothing in it is missing, a prompt's too; the text of a response may be empty. Text in quotes may
        run over several lines: a bad row says how many it takes in, since a stray quote may have put good ones there.
        """
        found = _logs.read("csv", path, columns, tokenizer, max_tokens, on_error, progress, rows)
        return cls(**found, _checked=True)

    @classmethod
    def from_parquet(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                     max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False,
                     rows: str | None = None) -> Self:
        """`read` for Parquet under any name; needs pyarrow (``lossim[logs]``). The row number stands for the line."""
        found = _logs.read("parquet", path, columns, tokenizer, max_tokens, on_error, progress, rows)
        return cls(**found, _checked=True)

    @classmethod
    def from_arrow(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                   max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False,
                   rows: str | None = None) -> Self:
        """`read` for Arrow files and streams under any name (Feather, Hugging Face datasets on disk); needs pyarrow."""
        found = _logs.read("arrow", path, columns, tokenizer, max_tokens, on_error, progress, rows)
        return cls(**found, _checked=True)

    @classmethod
    def from_json(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                  max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False,
                  rows: str | None = None) -> Self:
        """`read` for JSON under any name, packed or not: a list of objects, an object that holds one, objects one
        after the other, a table (``columns`` and ``data``), or columns.

        `from_jsonl` reads these too where a file begins so.
        """
        found = _logs.read("json", path, columns, tokenizer, max_tokens, on_error, progress, rows)
        return cls(**found, _checked=True)

    def by_group(self) -> Rollouts:
        """The same responses with every group (same step, same prompt) in one run, steps ascending.

        Within a step, groups are in the order of their prompt ids; within a group, responses keep their order.
        Returns itself if steps ascend and every group is one run already.

        >>> Rollouts(lengths=[3, 5, 4], rewards=[1, 0, 1], prompt_ids=["a", "b", "a"]).by_group().lengths
        array([3, 4, 5])
        """
        # one number for each group, ascending by step, then prompt
        group, prompts = numbered(self.prompt_ids)
        ascending = True
        if self.steps is not None:
            step, _ = numbered(self.steps)
            ascending = bool((step[1:] >= step[:-1]).all())
            group = step.astype(np.int64) * prompts + group

        order = np.argsort(group, kind="stable")
        if ascending and _runs(group) == _runs(group[order]):  # as many as there are groups
            return self
        columns = {name: getattr(self, name) for name in _logs.COLUMNS}
        ordered = {name: column[order] for name, column in columns.items() if column is not None}
        for column in ordered.values():
            column.setflags(write=False)
        return type(self)(**ordered, class_names=self.class_names, reading=self.reading, tokenized=self.tokenized,
                          _checked=True)

    def __len__(self) -> int:
        return len(self.lengths)


def _runs(numbers: IntArray) -> int:
    """How many runs of equal numbers there are, less one."""
    return int(np.count_nonzero(numbers[1:] != numbers[:-1]))


# --- what a log leaves open, settled ----------------------------------------------------------------------


def as_rollouts(subject: AnyLog, name: str = "rollouts", *, beside: str = "", executor: Executor | None = None
                ) -> Rollouts:
    """A log as every verb takes it, with at least one response; ``beside`` names what else a verb takes.

    Files are read by the ``executor``, if there is one.

    >>> as_rollouts([{"prompt": 0, "length": 3, "reward": 1.0}, {"prompt": 0, "length": 5, "reward": 0.0}])
    Rollouts(2 responses to 1 prompts, mean length 4)
    """
    if not isinstance(subject, Rollouts):
        if not _is_paths(subject) and _logs.table_of(subject) is None:
            kind = type(subject).__name__
            checks.fail(name, kind, f"must be {beside}Rollouts, or what Rollouts.read takes: a path, {_logs.TABLES} "
                        "(its type is shown)", error=TypeError)
        subject = Rollouts.read(subject, executor=executor)
    elif executor is not None:
        checks.fail("executor", executor, "is for a log in files, which it reads", "leave it out", TypeError)
    if not len(subject):
        checks.fail(name, subject, "must hold at least one response")
    return subject


def _is_paths(subject: Any) -> bool:
    """Whether these may be files."""
    several = isinstance(subject, Sequence) and bool(subject) and isinstance(subject[0], str | PathLike)
    return several or isinstance(subject, str | PathLike)


def reward_levels(rollouts: Rollouts, most: int = 3) -> list[float]:
    """The lowest rewards that differ, increasing, up to so many of them."""
    levels: list[float] = []
    left = rollouts.rewards
    while len(left) and len(levels) < most:
        levels.append(float(left.min()))
        left = left[left > levels[-1]]
    return levels


def settled_grades(rollouts: Rollouts, correct_above: float | None = None) -> tuple[BoolArray | None, list[Note]]:
    """Which responses are correct (None if nothing says), and notes on what was assumed.

    As logged, else those paid more than ``correct_above``, else the better paid where there are two rewards.
    """
    if rollouts.correct is not None:
        if correct_above is not None:
            checks.fail("correct_above", correct_above, "is for logs without grades, and this one has them",
                        "leave it out")
        return rollouts.correct, []
    if correct_above is not None:
        note = Note("grades", f"grades are read off the rewards: above {correct_above:g} is correct")
        return np.asarray(rollouts.rewards > correct_above), [note]
    levels = reward_levels(rollouts)
    if len(levels) != 2:
        return None, []
    low, high = levels
    note = Note("grades", f"grades are read off the rewards: {high:g} is correct, {low:g} is not")
    return np.asarray(rollouts.rewards > low), [note]


def answered_at(length: IntArray, share: float | FloatArray) -> IntArray:
    """The position at which an answer was there that took this share of a response's tokens, at least 1.

    >>> answered_at(np.array([1, 2, 10]), 0.5)
    array([1, 1, 5])
    """
    return np.maximum(np.ceil(share * length - _SLACK), 1).astype(np.int64)


def settled_cuts(rollouts: Rollouts, max_tokens: int | None = None) -> tuple[BoolArray | None, int, list[Note]]:
    """Which responses were cut (None for none), the cap, and notes on what was assumed.

    As logged, else those of ``max_tokens``. The cap is the length of the cut responses, else ``max_tokens``, else the
    longest length.
    """
    longest = int(rollouts.lengths.max())
    estimated = rollouts.tokenized is not None
    if max_tokens is not None and longest > checks.whole("max_tokens", max_tokens):
        checks.fail("max_tokens", max_tokens, f"must be at least the longest response, {longest:,} tokens",
                    "give it where the log is read: these are estimates, and are held to it there" if estimated else
                    "leave those responses out, or give the cap they were drawn under")
    cut = rollouts.truncated

    # the log does not say which responses were cut
    if cut is None:
        if max_tokens is None:
            note = Note("cuts unknown", f"max_tokens is the longest response, {longest:,} tokens, and none is taken to "
                        "be truncated: the log does not say, and max_tokens= was not given")
            return None, longest, [note]
        if estimated:
            note = Note("cuts unknown", "none is taken to be truncated: the log does not say, and lengths that are "
                        "estimated from characters do not tell it")
            return None, max_tokens, [note]
        cut = np.asarray(rollouts.lengths >= max_tokens)
        note = Note("cut by length", f"a response of max_tokens, {max_tokens:,} tokens, is taken to be truncated "
                    f"({cut.sum():,} of {len(cut):,} are): the log does not say")
        return cut, max_tokens, [note]

    # it says that none was
    cut_at = np.unique(rollouts.lengths[cut])
    if not len(cut_at):
        if max_tokens is not None:
            return cut, max_tokens, []
        note = Note("no cuts", f"max_tokens is the longest response, {longest:,} tokens: none was truncated, and "
                    "max_tokens= was not given")
        return cut, longest, [note]

    # it says which were: all at one length, which no response exceeds
    cap = int(cut_at[0])
    if len(cut_at) > 1:
        checks.fail("lengths of truncated responses", [cap, int(cut_at[-1])], "must all be max_tokens (two of "
                    "them are shown)", Phrase(
                        "take the responses of each cap separately, or mark as truncated only those cut at max_tokens; "
                        "where tools took a part of it, none counts as cut with ",
                        Way("unread", "columns={'truncated': None}", "truncated")))
    if max_tokens not in (None, cap):
        checks.fail("max_tokens", max_tokens, f"must be the length of the truncated responses, {cap}",
                    Phrase("leave it out, or pass ", argument("max_tokens", cap)))
    if longest > cap:
        checks.fail("max_tokens", cap, "(the length of the truncated responses) must be at least the longest "
                    f"response, {longest:,} tokens", "check which responses are truncated")
    return cut, cap, []
