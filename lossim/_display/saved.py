"""Results from files, which show themselves as they did when they were saved."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from lossim._display.page import Page
from lossim._display.result import Result
from lossim._display.store import FORMAT, SCHEMA, page_of
from lossim._display.table import Columns, unpacked
from lossim._support import checks
from lossim._support.text import Sections

__all__ = ["Saved", "load"]

_FIX = "give a file that the .save() of a result wrote"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Saved(Result):
    """A result from a file; see :func:`lossim.load`.

    It prints, shows, tabulates and reports as the result did that was saved. It holds no scheme and no policy: what
    it takes to compute the result again is in ``to_dict()["provenance"]``, as far as the result has it.

    Attributes:
        kind: the class of the result, "Drift" say.
        version: of the lossim that saved it.
    """

    kind: str
    version: str
    _shown: Page = field(repr=False)
    _table: dict[str, Any] = field(repr=False)
    _values: dict[str, Any] = field(repr=False)

    @property
    def verdict(self) -> str:
        """The first line of what it prints."""
        return self._shown.sentence

    def sections(self) -> Sections:
        """The lines that it prints, in one part."""
        return {"printed": self._shown.printed.split("\n")}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, as the result gave them."""
        return deepcopy(self._values)

    def _page(self) -> Page:
        return self._shown

    def _columns(self) -> Columns:
        return self._table


def load(path: str | PathLike[str]) -> Saved:
    """A result that was saved: what it printed, showed and held, without computing anything again.

    Nothing in the file is run, and a file whose pictures do more than draw is refused.

    Args:
        path: what the ``save`` of a result wrote; packed where it begins as a gzip file does.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no saved result, not whole, or of a newer form than this lossim knows.

    >>> import lossim as ls, tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "pace.json"
    ...     ls.pace(kl_per_step=1e-4).save(path)
    ...     saved = ls.load(path)
    >>> print(saved)
    0.0001 nats of KL a step, given
    >>> saved.kind, saved.to_dict()["per_step"]
    ('Pace', 0.0001)
    """
    made = _read(Path(checks.of_kind("path", path, (str, os.PathLike), "a path", _FIX)))
    schema = made.get("schema")
    if made.get("format") != FORMAT or not isinstance(schema, int):
        checks.fail("path", str(path), f"must be a saved result, with \"format\": \"{FORMAT}\"", _FIX)
    version = str(made.get("lossim"))
    if schema > SCHEMA:
        checks.fail("schema", schema, f"of {path} must be at most {SCHEMA}, which this lossim reads",
                    f"the file is of lossim {version}: install that or a later one")
    try:
        return Saved(kind=str(made["kind"]), version=version, _shown=page_of(str(made["kind"]), made["page"]),
                     _table=unpacked(made["columns"]), _values=dict(made["values"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as reason:
        checks.fail("path", str(path), f"must be a whole saved result, and a part of it is missing or wrong "
                    f"({type(reason).__name__}: {reason})", "save the result again")


def _read(path: Path) -> Mapping[str, Any]:
    """The JSON of a file."""
    if not path.is_file():
        checks.fail("path", str(path), "must be a file that exists", _FIX, FileNotFoundError)
    data = path.read_bytes()
    try:
        made = json.loads(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
    except (ValueError, EOFError, OSError, RecursionError, zlib.error) as reason:
        checks.fail("path", str(path), f"must hold whole JSON, and it does not ({reason})",
                    "if it was cut while it was written or copied, save or copy it again")
    if not isinstance(made, dict):
        checks.fail("path", str(path), "must be a saved result, and it holds another kind of JSON", _FIX)
    return made
