"""Responses as they were drawn or logged: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lossim import _logs
from lossim._logs import Place, Reading
from lossim._support import checks
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray

__all__ = ["Place", "Reading", "Rollouts"]

_LARGEST = 2.0**53  # whole numbers beyond are not exact as floats

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]
Columns = Mapping[str, str | Sequence[str] | Mapping[str, float] | None]
Tokenizer = Callable[[str], Any]
OnError = Literal["raise", "report"]


@dataclass(frozen=True, eq=False, repr=False)
class Rollouts:
    """Sampled responses, one entry per response in every array.

    Attributes:
        lengths: tokens, the stop token included; whole numbers ≥ 1.
        rewards: task reward, finite.
        prompt_ids: which prompt a response answers; equal ids in one step form a group.
        truncated: cut at ``max_tokens`` without a stop token; None if unknown.
        correct: graded correct; None if unknown.
        classes: index of the prompt class; None if unknown.
        steps: training step; None if unknown.
        kl: Σ log π/π_ref over the response's tokens, nats, finite; None if unknown.
        class_names: names that ``classes`` indexes; None if they have none.
        reading: how the responses were read from files; None if they were not.

    Raises:
        ValueError: arrays of different lengths, a length below 1, a reward that is not finite, class names that are
            not unique or too few.

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
    class_names: tuple[str, ...] | None = None
    reading: Reading | None = None

    def __init__(self, lengths: ArrayLike, rewards: ArrayLike, prompt_ids: ArrayLike,
                 truncated: ArrayLike | None = None, correct: ArrayLike | None = None,
                 classes: ArrayLike | None = None, steps: ArrayLike | None = None, kl: ArrayLike | None = None,
                 class_names: Sequence[str] | None = None, reading: Reading | None = None) -> None:
        length = checks.number_array("lengths", lengths, ndim=1, low=1.0, high=_LARGEST)
        if (length != np.floor(length)).any():
            first = int(np.flatnonzero(length != np.floor(length))[0])
            checks.fail(f"lengths[{first}]", float(length[first]), "must be a whole number of tokens")
        columns: dict[str, Any] = {
            "lengths": length.astype(np.int64), "rewards": checks.number_array("rewards", rewards, ndim=1),
            "prompt_ids": _ids(prompt_ids), "truncated": _booleans("truncated", truncated),
            "correct": _booleans("correct", correct), "classes": _wholes("classes", classes),
            "steps": _wholes("steps", steps), "kl": None if kl is None else checks.number_array("kl", kl, ndim=1)}
        for name, column in columns.items():
            if column is not None and column.shape != length.shape:
                checks.fail(name, column.shape, f"must have one entry per response, {length.shape}")
        if reading is not None and not isinstance(reading, Reading):
            checks.fail("reading", reading, "must be a Reading or None", error=TypeError)
        self._set(columns, _names(class_names, columns["classes"]), reading)

    def _set(self, columns: Mapping[str, NDArray[Any] | None], class_names: tuple[str, ...] | None,
             reading: Reading | None) -> None:
        for name in _COLUMNS:
            object.__setattr__(self, name, columns.get(name))
        object.__setattr__(self, "class_names", class_names)
        object.__setattr__(self, "reading", reading)

    @classmethod
    def _of(cls, columns: Mapping[str, NDArray[Any] | None], class_names: tuple[str, ...] | None,
            reading: Reading | None) -> Self:
        """From columns that are known to be good, without a copy."""
        rollouts = object.__new__(cls)
        rollouts._set(columns, class_names, reading)
        return rollouts

    @classmethod
    def read(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
             max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False) -> Self:
        """Read a log; the suffix tells its format: .jsonl, .ndjson, .csv, .tsv (.gz may follow these), .parquet.

        One response per row. Columns with the usual names are recognised, those of TRL's tables of completions
        and of verl's dumps among them; whatever was chosen without being told is in ``reading.choices``. A reward in
        several columns (TRL's reward functions) is their sum, in which null and nan count 0 unless all are.

        A length is found, in this order: in a column of lengths, which count the stop token; in a column of token
        ids; in a column of text by the ``tokenizer``, plus 1 for the stop token, which text does not hold, unless
        the text alone has ``max_tokens`` tokens.

        ``truncated`` comes from a column of booleans or of reasons ("length", "stop"); without one it is length ≥
        ``max_tokens`` (of text alone, where that is tokenized), and unknown without ``max_tokens``.

        Prompts are numbered from 0 by content (ids, text or messages), classes in the order of their names. 1 and 1.0
        are one id, 1 and "1" are two; CSV holds text, in which "1" and "1.0" stay two.
        Beyond 2,000,000 rows the columns live in unnamed temporary files instead of memory.

        Args:
            path: a file, several, or a folder, whose logs are read in natural order (2.jsonl before 10.jsonl).
            columns: the log's column for any of ``length``, ``tokens``, ``text``, ``reward`` (one, a list that is
                summed, or a mapping from column to weight), ``prompt``, ``truncated``, ``correct``, ``class``,
                ``step``, ``kl``; None for a field that is not to be read.
            tokenizer: from text to a number of tokens, or to token ids; it must add no special tokens.
            max_tokens: the cap on lengths; a longer response is a bad row.
            on_error: ``"raise"`` at the first bad row, or ``"report"``: leave bad rows out and count them in
                ``reading``.
            progress: report rows on stderr.

        Raises:
            ValueError: for a bad row (missing, not a number, not finite, a length below 1 or not whole, not JSON,
                ragged CSV, not UTF-8), named by file, line, field and value; for a file that cannot be read (in CSV
                a quote that is never closed and takes in the lines after it), a column that is not there, and a log
                in which no row is good.
            FileNotFoundError: for a path that is not there.
            ImportError: for Parquet without pyarrow (``lossim[logs]``).

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
        return cls._read(None, path, columns, tokenizer, max_tokens, on_error, progress)

    @classmethod
    def from_jsonl(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                   max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False) -> Self:
        """`read` for JSON Lines under any name, gzipped or not: one object per line; a blank line is no row.

        Of a key that an object holds twice the last value counts, as `json.loads` has it; that is not looked for.
        """
        return cls._read("jsonl", path, columns, tokenizer, max_tokens, on_error, progress)

    @classmethod
    def from_csv(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                 max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False) -> Self:
        """`read` for CSV under any name, gzipped or not: the first row names the columns; .tsv has tabs.

        A field with nothing in it is missing, a prompt's too; the text of a response may be empty. Text in quotes may
        run over several lines: a bad row says how many it takes in, since a stray quote may have put good ones there.
        """
        return cls._read("csv", path, columns, tokenizer, max_tokens, on_error, progress)

    @classmethod
    def from_parquet(cls, path: Paths, *, columns: Columns | None = None, tokenizer: Tokenizer | None = None,
                     max_tokens: int | None = None, on_error: OnError = "raise", progress: bool = False) -> Self:
        """`read` for Parquet under any name; needs pyarrow (``lossim[logs]``). The row number stands for the line."""
        return cls._read("parquet", path, columns, tokenizer, max_tokens, on_error, progress)

    @classmethod
    def _read(cls, kind: str | None, path: Paths, columns: Columns | None, tokenizer: Tokenizer | None,
              max_tokens: int | None, on_error: str, progress: bool) -> Self:
        return cls._of(*_logs.read(path, kind, columns, tokenizer, max_tokens, on_error, progress))

    def by_group(self) -> Rollouts:
        """The same responses with every group (same step, same prompt) in one run, steps ascending.

        Within a step, groups are in the order of their prompt ids; within a group, responses keep their order.
        Returns itself if steps ascend and every group is one run already.

        >>> Rollouts(lengths=[3, 5, 4], rewards=[1, 0, 1], prompt_ids=["a", "b", "a"]).by_group().lengths
        array([3, 4, 5])
        """
        columns = {name: getattr(self, name) for name in _COLUMNS if getattr(self, name) is not None}
        steps = None if self.steps is None else _codes(self.steps, -2**31)
        ordered = _logs.gather_groups(columns, _codes(self.prompt_ids, 0), steps)
        return self if ordered is None else self._of(ordered, self.class_names, self.reading)

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        mean = f", mean length {self.lengths.mean():.4g}" if len(self) else ""
        return f"Rollouts({len(self):,} responses to {self._prompts():,} prompts{mean})"

    def __str__(self) -> str:
        return repr(self) + (f"\n{self.reading}" if self.reading is not None else "")

    def _prompts(self) -> int:
        """Number of different prompts."""
        if self.reading is None:
            return len(np.unique(self.prompt_ids))
        seen = np.zeros(int(self.prompt_ids.max()) + 1, dtype=np.bool_)  # numbered from 0
        for start in range(0, len(self), _logs.CHUNK):
            seen[self.prompt_ids[start:start + _logs.CHUNK]] = True
        return int(np.count_nonzero(seen))


_COLUMNS = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes", "steps", "kl")


def _codes(ids: NDArray[Any], low: int) -> IntArray:
    """The ids if they are whole numbers from low to 2**31 - 1, their ranks otherwise."""
    if ids.dtype.kind in "iu" and (not ids.size or (ids.min() >= low and ids.max() < 2**31)):
        return ids
    return np.unique(ids, return_inverse=True)[1].astype(np.int32)


def _names(given: Any, classes: IntArray | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names: tuple[str, ...] = checks.members("class_names", given, str, "strings")
    if len(set(names)) < len(names):
        checks.fail("class_names", names, "must be different")
    if classes is None:
        checks.fail("class_names", names, "cannot be given without classes, which index them")
    if classes.size and not 0 <= classes.min() <= classes.max() < len(names):
        checks.fail("classes", [int(classes.min()), int(classes.max())],
                    f"must index the {len(names)} class names, from 0 (the least and the largest are shown)")
    return names


def _ids(given: ArrayLike) -> NDArray[Any]:
    """Ids of any kind that can be told apart."""
    try:
        ids = np.asarray(given)
    except ValueError:
        checks.fail("prompt_ids", given, "must hold one id per response")
    if ids.dtype.kind not in "biufUS" or (ids.dtype.kind == "f" and np.isnan(ids).any()):
        checks.fail("prompt_ids", given, "must be numbers or strings, none of them nan")
    return ids


def _wholes(name: str, given: ArrayLike | None) -> IntArray | None:
    if given is None:
        return None
    numbers = checks.number_array(name, given, low=-_LARGEST, high=_LARGEST)
    if (numbers % 1).any():
        checks.fail(name, float(numbers[numbers % 1 > 0][0]), "must be whole numbers")
    return numbers.astype(np.int64)


def _booleans(name: str, given: ArrayLike | None) -> BoolArray | None:
    if given is None:
        return None
    numbers = checks.number_array(name, given, fix="leave it out where it is not known")
    if not np.isin(numbers, (0.0, 1.0)).all():
        checks.fail(name, float(numbers[~np.isin(numbers, (0.0, 1.0))][0]), "must be True or False (or 1 and 0)")
    return numbers.astype(np.bool_)


# --- what a log leaves open, settled ----------------------------------------------------------------------

CHUNK = 1 << 20
"""Responses looked at at once: a log may be larger than memory."""


def check(rollouts: Rollouts) -> None:
    """Rollouts, and at least one response."""
    if not isinstance(rollouts, Rollouts):
        checks.fail("rollouts", rollouts, "must be Rollouts", "for example Rollouts.read('log.jsonl')", TypeError)
    if not len(rollouts):
        checks.fail("rollouts", rollouts, "must hold at least one response")


def levels(rollouts: Rollouts, most: int = 3) -> FloatArray:
    """The different rewards, increasing, up to so many of them."""
    found: FloatArray = np.zeros(0)
    for at in range(0, len(rollouts), CHUNK):
        found = np.unique(np.concatenate([found, rollouts.rewards[at:at + CHUNK]]))[:most]
        if len(found) == most:
            break
    return found


def grades(rollouts: Rollouts, notes: list[str], above: float | None = None) -> BoolArray | None:
    """Which responses are correct: as logged, else those paid more than ``above``, else the better paid of two rewards.

    None if nothing says.
    """
    if rollouts.correct is not None:
        if above is not None:
            checks.fail("correct_above", above, "is for logs without grades, and this one has them", "leave it out")
        return rollouts.correct
    if above is not None:
        notes.append(f"grades are read off the rewards: above {above:g} is correct")
        return np.asarray(rollouts.rewards > above)
    paid = levels(rollouts)
    if len(paid) != 2:
        return None
    notes.append(f"grades are read off the rewards: {paid[1]:g} is correct, {paid[0]:g} is not")
    return np.asarray(rollouts.rewards > paid[0])


def cuts(rollouts: Rollouts, max_tokens: int | None, notes: list[str]) -> tuple[BoolArray | None, int]:
    """Which responses were cut (None for none), and the cap."""
    longest = int(rollouts.lengths.max())
    if max_tokens is not None and longest > checks.whole("max_tokens", max_tokens):
        checks.fail("max_tokens", max_tokens, f"must be at least the longest response, {longest:,} tokens",
                    "leave those responses out, or give the cap they were drawn under")
    cut = rollouts.truncated
    if cut is None and max_tokens is None:
        notes.append(f"max_tokens is the longest response, {longest:,} tokens, and none is taken to be truncated: the "
                     "log does not say, and max_tokens= was not given")
        return None, longest
    if cut is None:
        assert max_tokens is not None
        cut = np.asarray(rollouts.lengths >= max_tokens)
        notes.append(f"a response of max_tokens, {max_tokens:,} tokens, is taken to be truncated "
                     f"({cut.sum():,} of {len(cut):,} are): the log does not say")
        return cut, max_tokens
    at = [np.unique(rollouts.lengths[i:i + CHUNK][cut[i:i + CHUNK]]) for i in range(0, len(cut), CHUNK)]
    where = np.unique(np.concatenate(at))
    if not len(where):
        if max_tokens is None:
            notes.append(f"max_tokens is the longest response, {longest:,} tokens: none was truncated, and max_tokens= "
                         "was not given")
        return cut, longest if max_tokens is None else max_tokens
    if len(where) > 1:
        checks.fail("lengths of truncated responses", [int(where[0]), int(where[-1])], "must all be max_tokens (two of "
                    "them are shown)", "take the responses of each cap separately, or mark as truncated only those cut "
                    "at max_tokens")
    if max_tokens not in (None, int(where[0])):
        checks.fail("max_tokens", max_tokens, f"must be the length of the truncated responses, {where[0]}",
                    f"leave it out, or pass max_tokens={where[0]}")
    if longest > where[0]:
        checks.fail("max_tokens", int(where[0]), "(the length of the truncated responses) must be at least the longest "
                    f"response, {longest:,} tokens", "check which responses are truncated")
    return cut, int(where[0])
