"""Responses that a run writes into a folder: each row is read once, when it is there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

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
"""Files that are read when they have not changed from one look to the next, or at the last look."""


@dataclass
class Seen:
    """What is known of a file: its size and time at the last look, as far as it was read, and what it turned out to be.

    ``good``: it held responses; ``aside``: it does not.
    """

    size: int = -1
    time: int = -1
    read: int = 0
    taken: bool = False
    good: bool = False
    aside: bool = False


class Part(NamedTuple):
    """Rows of a step, and where in files of lines they begin; None where that cannot be told."""

    columns: dict[str, Any]
    begins: dict[Path, int] | None


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
        self.weighed = "reward" in (options.get("columns") or {})
        self._options = {"on_error": "report"} | options
        self._files: dict[Path, Seen] = {}
        self._held: dict[int, list[Part]] = {}
        self._table: Path | None = None
        self._done: set[int] = set()
        self._prompts = 0
        self._looks = 0
        self._quiet = True
        self._final = False

    def look(self, *, final: bool = False) -> list[tuple[int, dict[str, float]]]:
        """The steps that are whole since the last look, with their metrics, see :meth:`Watch.step`.

        The newest step is whole when a newer one is there, or when no file changed from one look to the next; with
        ``final`` it is taken as it is, and so are files that may still be written. Of what is there at the first look
        the last step alone is answered.
        """
        self._quiet, self._final = True, final
        self.watch.guarded(self._read)
        newest = max(self._held, default=None)
        whole = sorted(step for step in self._held if final or step != newest or self._quiet)
        answers = []
        first, self._looks = self._looks == 0, self._looks + 1
        for step in whole:
            *before, last = self._held.pop(step)
            for part in before:
                self.watch.keep(step, **part.columns)
            if first and step != whole[-1]:
                self.watch.keep(step, **last.columns)
                self.passed_over += 1
            else:
                answers.append((step, self.watch.step(step, **last.columns)))
        return answers

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Hold the rows that are new, by step."""
        for step in list(self._held):
            self._held[step] = [part for part in self._held[step] if not self._grew(part)]
            if not self._held[step]:
                del self._held[step]
        with TemporaryDirectory() as copies:
            pieces = list(self._pieces(Path(copies)))
            if pieces:
                self._take(Path(copies), pieces)

    def _take(self, copies: Path, pieces: list[Path]) -> None:
        """Read these files, or one by one those that cannot be read together; one without responses is left aside."""
        try:
            rollouts = Rollouts.read([str(copies / piece.relative_to(self.path)) for piece in pieces], **self._options)
        except (ValueError, OSError) as error:
            if len(pieces) > 1:
                for piece in pieces:
                    self.watch.guarded(lambda alone=piece: self._take(copies, [alone]))  # type: ignore[misc]
                return
            seen = self._files[pieces[0]]
            seen.aside = not seen.good
            raise ValueError(str(error).replace(str(copies), str(self.path))) from None
        reading = rollouts.reading
        if reading is not None:
            self.left_out += reading.rows - reading.kept
        steps = rollouts.steps if rollouts.steps is not None else np.full(len(rollouts), self._step_of(pieces))
        found = set(np.unique(steps).tolist()) - (self._done if self._table in pieces else set())
        for step in found:
            part = Part(self._rows(rollouts, steps == step), self._begins(copies, pieces, rollouts, steps == step))
            self._held.setdefault(step, []).append(part)
        self._prompts += int(rollouts.prompt_ids.max()) + 1
        for piece in pieces:
            self._files[piece].good = True
        tables = [piece for piece in pieces if piece.suffix in TABLES]
        if tables and found:
            self._table, self._done = tables[-1], found

    def _rows(self, rollouts: Rollouts, here: BoolArray) -> dict[str, Any]:
        """Columns of some rows; prompts of another look have other numbers."""
        columns = {name: getattr(rollouts, name) for name in COLUMNS} | {
            "prompt_ids": rollouts.prompt_ids + self._prompts}
        rows = {name: None if column is None else column[here] for name, column in columns.items()}
        return rows | {"tokenized": rollouts.tokenized}

    def _begins(self, copies: Path, pieces: list[Path], rollouts: Rollouts, here: BoolArray) -> dict[Path, int] | None:
        """Where the rows of a step begin in each file, if they are the last lines of each, one row a line."""
        reading = rollouts.reading
        files = {str(copies / piece.relative_to(self.path)): piece for piece in pieces}
        if reading is None or reading.kept < reading.rows or any(piece.suffix not in LINES for piece in pieces):
            return None
        begins, at = {}, 0
        for name in reading.files:
            lines = Path(name).read_bytes().splitlines(keepends=True)
            mine, at = np.flatnonzero(here[at:at + len(lines)]), at + len(lines)
            if len(mine) and len(lines) - mine[0] != len(mine):
                return None
            if len(mine):
                begins[files[name]] = self._files[files[name]].read - sum(map(len, lines[mine[0]:]))
        return begins if at == reading.rows else None

    def _grew(self, part: Part) -> bool:
        """Whether a file that rows are from goes on with more of their step, as it may: they are then read again.

        A group that is half there at one look is so one group.
        """
        files = part.begins or {}
        grew = any(file.exists() and file.stat().st_size > self._files[file].read for file in files)
        for file, begin in files.items() if grew else ():
            self._files[file].read = begin
        return grew

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
        if seen.aside or not (file.suffix in LINES or file.suffix in TABLES or OTHERS.search(file.name)):
            return False
        self._quiet &= same
        if file.suffix in LINES:
            seen.read = 0 if rewritten else seen.read
            return seen.read < now.st_size and self._copy_lines(file, copy, seen)
        if seen.taken:
            if not same:
                LOGGER.info("%s was written again, and is not read again", file)
            return False
        ready = _ends(file, TABLES[file.suffix]) if file.suffix in TABLES else same or self._final
        if not ready:
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
