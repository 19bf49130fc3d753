"""The file from which a killed sweep goes on: a header that says which sweep it is, then a line for each cell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from lossim._support import checks
from lossim._support.text import Note, code
from lossim._sweeping.cells import Answer
from lossim._sweeping.reading import Reading

__all__ = ["Store"]

FORMAT = "lossim sweep 1"


class Store:
    """Answers in a file of JSON lines, each line written as soon as it is known.

    Attributes:
        answers: those that the file had when it was opened, by cell.
        notes: what was found about the file.

    Raises:
        ValueError: the file is no store, or that of another sweep.
        FileNotFoundError: its folder does not exist.
    """

    def __init__(self, path: str | os.PathLike[str], pins: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.answers: dict[int, Answer] = {}
        self.notes: tuple[str, ...] = ()
        header = json.dumps({"format": FORMAT, **pins}) + "\n"
        if not self.path.parent.is_dir():
            checks.fail("store", str(path), "must lie in a folder that exists", error=FileNotFoundError)
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[:data.rfind(b"\n") + 1]
        if whole:
            self._read(whole, pins)
        elif not header.encode().startswith(data):  # all that a killed sweep could have left is a part of its header
            self._refuse("which it is not")
        if len(whole) < len(data):
            self.notes = (Note("store", "the last line of the store was not whole: what it was of is computed again"),)
            with self.path.open("rb+") as torn:
                torn.truncate(len(whole))
        self._file = self.path.open("ab")
        if not whole:
            self._file.write(header.encode())
            self._file.flush()

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep what was computed; cells that failed are not kept, and tried again."""
        lines = [json.dumps(_packed(answer.cell, answer.reading)) for answer in answers if answer.reading is not None]
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        self._file.close()

    def _read(self, data: bytes, pins: Mapping[str, str]) -> None:
        """The header and the answers."""
        rows = []
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                self._refuse(f"which line {number} is no part of")
        header = rows[0] if isinstance(rows[0], dict) else {}
        if header.pop("format", None) != FORMAT:
            self._refuse("which its first line does not say")
        for name in dict.fromkeys((*pins, *header)):
            mine, theirs = pins.get(name), header.get(name)
            if mine != theirs:
                self._refuse(f"which has another {name}: {theirs or 'none'} there, {mine or 'none'} here")
        self.answers = {answer.cell: answer for answer in map(_unpacked, rows[1:])}

    def _refuse(self, why: str) -> None:
        checks.fail("store", str(self.path), f"must be a new file or that of this sweep, {why}", "name another file")


def _packed(cell: int, reading: Reading) -> dict[str, Any]:
    """An answer as strict JSON has it, which has no NaN."""
    return {"cell": cell, "kind": reading.kind, "sign": reading.sign, "decided": reading.decided,
            "numbers": {name: _written(value) for name, value in reading.numbers.items()},
            "range": [_written(reading.low), _written(reading.high)],
            "notes": [[code(note), str(note), getattr(note, "value", "")] for note in reading.notes]}


def _unpacked(row: dict[str, Any]) -> Answer:
    low, high = map(float, row["range"])
    notes = tuple(Note(*note) if note[0] else note[1] for note in row["notes"])
    return Answer(cell=row["cell"], reading=Reading(
        kind=row["kind"], numbers={name: float(value) for name, value in row["numbers"].items()}, sign=row["sign"],
        decided=row["decided"], low=low, high=high, notes=notes))


def _written(value: float) -> float | str:
    """A number; what JSON has none for as text."""
    return float(value) if np.isfinite(value) else str(float(value))
