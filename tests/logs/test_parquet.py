"""Parquet that is bad: nothing where something must be, and text that is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import lossim as ls


def test_bad_rows_of_parquet(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"prompt": ["a", None, "b", "c"], "response_length": [1, 2, 0, None],
                                  "reward": pa.array([0.0, 1.0, 2.0, 3.0], pa.float32())}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet:2: prompt is missing, got None"):
        ls.Rollouts.read(tmp_path)
    rollouts = ls.Rollouts.read(tmp_path, on_error="report")
    assert rollouts.reading is not None
    assert [str(place).partition("parquet:")[2] for place in rollouts.reading.places] == [
        "2: prompt is missing, got None", "3: length must be at least 1, got 0 ('response_length')",
        "4: length is missing, got None ('response_length')"]
    assert rollouts.prompt_ids.tolist() == [0]


def ill(*texts: bytes | None) -> pa.Array:
    """A column of text whose bytes are taken as they are."""
    return pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())


@pytest.mark.parametrize("field", ["prompt", "class", "completion", "note", "truncated", "messages"])
def test_parquet_of_bytes_that_are_no_text(tmp_path: Path, field: str) -> None:
    columns: dict[str, Any] = {"prompt": ["a", "b", "a", "c"], "length": [1, 2, 3, 4], "reward": [0.0] * 4}
    column = ill(b"stop", b"\xff", b"length", b"stop\xc3")
    if field == "messages":
        field, column = "prompt", pa.ListArray.from_arrays([0, 1, 2, 3, 4], column)
    parquet.write_table(pa.table(columns | {field: column}), tmp_path / "x.parquet")
    if field in ("note", "completion"):  # not read
        assert len(ls.Rollouts.read(tmp_path)) == 4
        return
    with pytest.raises(ValueError, match=r"x\.parquet:2: row is not UTF-8 text: invalid start byte at byte 0"):
        ls.Rollouts.read(tmp_path)
    rollouts = ls.Rollouts.read(tmp_path, on_error="report")
    assert rollouts.lengths.tolist() == [1, 3]
    assert rollouts.reading is not None
    assert [place.line for place in rollouts.reading.places] == [2, 4]


def test_parquet_whose_columns_have_no_names_in_text(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"prompt": [1], "length": [1], "reward": [0.5], "note": [0]}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(data.replace(b"note", b"\x80ote"))
    with pytest.raises(ValueError, match=r"x\.parquet: cannot be read as Parquet: 'utf-8' codec .* byte 0x80"):
        ls.Rollouts.read(tmp_path, on_error="report")
