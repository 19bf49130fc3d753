"""Responses that a run writes into a folder: each row is read once, when it is there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lossim._support import checks
from lossim._support.types import BoolArray
from lossim.live._watch import COLUMNS, LOGGER, Watch
from lossim.rollouts import Rollouts

LINES = (".jsonl", ".ndjson", ".jsonlines", ".json-lines")
"""Files that are written line by line."""
TABLES = {".parquet": b"PAR1", ".pq": b"PAR1"}
"""Files that end so when they are whole."""
OTHERS = re.compile(r"\.(json|csv|tsv|arrow|feather|ipc|jsonl|ndjson)(\.(gz|bz2|xz|zst))?$")
"""Files that are read when they have not changed from one look to the next."""


@dataclass
class Seen:
    """What is known of a file: its size and time at the last look, and as far as it was read."""

    size: int = -1
    time: int = -1
    read: int = 0
    taken: bool = False


class Folder:
    """A folder that a run writes responses into, as ``Rollouts.read`` reads them, and a watch that is told of them.

    Of files of JSON lines the bytes that are new are read, up to the last line that is whole; tables of Parquet when
    they are whole; others once, when they have not changed since the look before. Prompts of different looks are taken
    to be different ones, which point estimates do not hang on.

    Args:
        path: the folder.
        watch: what is told of each step.
        options: of :meth:`lossim.Rollouts.read`; rows that cannot be read are left out and counted, unless
            ``on_error`` says otherwise.

    Raises:
        FileNotFoundError: no such folder.

    >>> import lossim as ls, tempfile
    >>> place = Path(tempfile.mkdtemp())
    >>> def dump(step, lengths):
    ...     rows = ({"input": f"{i // 8}", "response_length": n, "score": float(n < 20), "step": step}
    ...             for i, n in enumerate(lengths))
    ...     _ = (place / f"{step}.jsonl").write_text("".join(json.dumps(row) + chr(10) for row in rows))
    >>> rng = np.random.default_rng(0)
    >>> folder = Folder(place, Watch(ls.schemes.grpo(), max_tokens=64, budget=None))
    >>> dump(1, rng.integers(5, 40, size=256).tolist())
    >>> [step for step, _ in folder.look()]  # the last step may still be written
    []
    >>> dump(2, rng.integers(5, 40, size=256).tolist())
    >>> [(step, found["lossim/responses"]) for step, found in folder.look()]
    [(1, 256.0)]
    >>> [(step, found["lossim/responses"]) for step, found in folder.look()]
    [(2, 512.0)]
    """

    def __init__(self, path: str | os.PathLike[str], watch: Watch, **options: Any) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            checks.fail("folder", str(path), "must be a folder that exists", error=FileNotFoundError)
        self.watch = watch
        self.left_out = 0
        self.passed_over = 0
        self._options = {"on_error": "report"} | options
        self._files: dict[Path, Seen] = {}
        self._held: dict[int, list[dict[str, Any]]] = {}
        self._table: Path | None = None
        self._done: set[int] = set()
        self._prompts = 0
        self._looks = 0

    def look(self, *, final: bool = False) -> list[tuple[int, dict[str, float]]]:
        """The steps that are whole since the last look, with their metrics, see :meth:`Watch.step`.

        The newest step is whole when a newer one is there, or when nothing came from one look to the next; with
        ``final`` it is taken as it is. Of what is there at the first look the last step alone is answered.
        """
        fresh = self.watch.guarded(self._read) or set()
        newest = max(self._held, default=None)
        whole = sorted(step for step in self._held if final or step != newest or step not in fresh)
        answers = []
        first, self._looks = self._looks == 0, self._looks + 1
        for step in whole:
            for columns in (parts := self._held.pop(step))[:-1]:
                self.watch.keep(step, **columns)
            if first and step != whole[-1]:
                self.watch.keep(step, **parts[-1])
                self.passed_over += 1
            else:
                answers.append((step, self.watch.step(step, **parts[-1])))
        return answers

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self) -> set[int]:
        """Hold the rows that are new, by step; the steps that have some."""
        with TemporaryDirectory() as copies:
            pieces = list(self._pieces(Path(copies)))
            if not pieces:
                return set()
            try:
                rollouts = Rollouts.read(copies, **self._options)
            except (ValueError, OSError) as error:
                raise ValueError(str(error).replace(copies, str(self.path))) from None
        reading = rollouts.reading
        if reading is not None:
            self.left_out += reading.rows - reading.kept
        steps = rollouts.steps if rollouts.steps is not None else np.full(len(rollouts), self._step_of(pieces))
        again = self._done if self._table in pieces else set()
        found = set(np.unique(steps).tolist()) - again
        for step in found:
            self._held.setdefault(step, []).append(self._rows(rollouts, steps == step))
        self._prompts += int(rollouts.prompt_ids.max()) + 1
        tables = [piece for piece in pieces if piece.suffix in TABLES]
        if tables:
            self._table, self._done = tables[-1], found
        return found

    def _rows(self, rollouts: Rollouts, here: BoolArray) -> dict[str, Any]:
        """Columns of some rows; prompts of another look have other numbers."""
        columns = {name: getattr(rollouts, name) for name in COLUMNS} | {
            "prompt_ids": rollouts.prompt_ids + self._prompts}
        rows = {name: None if column is None else column[here] for name, column in columns.items()}
        return rows | {"tokenized": rollouts.tokenized}

    def _step_of(self, pieces: list[Path]) -> int:
        """The step of rows that name none: the number in the file's name, or one more than before."""
        digits = re.findall("[0-9]{1,9}", pieces[-1].name.partition(".")[0]) if len(pieces) == 1 else []
        return int(digits[-1]) if digits else max(self._held, default=self._looks) + 1

    def _pieces(self, copies: Path) -> Iterator[Path]:
        """The files with something new in them, whose new parts are put under the same names into a folder of copies.

        Trainers write tables of one generation again under the next step, so the last table is read beside new ones.
        """
        new = []
        for place, below, names in os.walk(self.path):
            below[:] = [name for name in below if not name.startswith(".")]
            for name in names:
                file = Path(place) / name
                if not name.startswith(".") and self._copy(file, copies / file.relative_to(self.path)):
                    new.append(file)
        new.sort(key=lambda file: [int(part) if part.isdigit() else part for part in re.split("([0-9]+)", str(file))])
        tables = any(file.suffix in TABLES for file in new)
        if tables and self._table is not None and self._table not in new and self._table.exists():
            _link(self._table, copies / self._table.relative_to(self.path))
            new.insert(0, self._table)
        yield from new

    def _copy(self, file: Path, copy: Path) -> bool:
        """Put what is new in a file into its copy; whether there is something."""
        seen = self._files.setdefault(file, Seen())
        try:
            now = file.stat()
        except OSError:  # gone between two looks
            return False
        same = (seen.size, seen.time) == (now.st_size, now.st_mtime_ns)
        rewritten = now.st_size < seen.read
        seen.size, seen.time = now.st_size, now.st_mtime_ns
        if file.suffix in LINES:
            seen.read = 0 if rewritten else seen.read
            return seen.read < now.st_size and self._copy_lines(file, copy, seen)
        ready = file.suffix in TABLES or (OTHERS.search(file.name) is not None and same)
        if (seen.taken and same) or not ready or (file.suffix in TABLES and not _ends(file, TABLES[file.suffix])):
            return False
        if seen.taken:
            LOGGER.info("%s was written again, and is not read again", file)
            return False
        seen.taken = True
        _link(file, copy)
        return True

    def _copy_lines(self, file: Path, copy: Path, seen: Seen) -> bool:
        """Copy the lines that are whole and new."""
        with open(file, "rb") as opened:
            opened.seek(seen.read)
            text = opened.read()
        end = text.rfind(b"\n") + 1
        if _whole(text[end:]):
            end = len(text)
        seen.read += end
        if not text[:end].strip():
            return False
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(text[:end])
        return True


def _whole(line: bytes) -> bool:
    """Whether the last line is all there, though no newline ends it: no part of an object is one."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _ends(file: Path, mark: bytes) -> bool:
    """Whether a file ends so."""
    with open(file, "rb") as opened:
        opened.seek(max(file.stat().st_size - len(mark), 0))
        return opened.read() == mark


def _link(file: Path, copy: Path) -> None:
    """A file under another name."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.symlink_to(file.resolve())
