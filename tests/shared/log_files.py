"""Write a log in any format, read it, and look at its columns."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

import lossim as ls
from lossim._logs.names import ALIASES

__all__ = ["ALIASES", "COLUMNS", "read", "values", "write"]

COLUMNS = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes", "steps", "kl", "answered",
           "path_names")


def write(file: Path, rows: list[dict[str, Any]]) -> Path:
    """A log in the format that the file's name tells."""
    file.parent.mkdir(exist_ok=True)
    opened = gzip.open if file.suffix == ".gz" else open
    if ".parquet" in file.name:
        parquet.write_table(pa.Table.from_pylist(rows), file)
    elif ".jsonl" in file.name or ".ndjson" in file.name:
        with opened(file, "wt", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        with opened(file, "wt", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if ".tsv" in file.name else ",")
            table.writeheader()
            table.writerows(rows)
    return file


def values(rollouts: ls.Rollouts) -> dict[str, list[Any]]:
    found = {name: getattr(rollouts, name) for name in COLUMNS}
    return {name: column.tolist() for name, column in found.items() if column is not None}


def read(file: Path, rows: list[dict[str, Any]], **options: Any) -> ls.Rollouts:
    return ls.Rollouts.read(write(file, rows), **options)
