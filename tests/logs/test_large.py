"""Logs of any size: chunks, columns on disk, and how much memory that takes."""

from __future__ import annotations

import gc
import json
import os
import pickle
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import lossim as ls
from log_files import values, write
from sizes import chunks_of, fields_up_to, in_memory_up_to, pieces_of

TRACKED = ("lengths", "rewards", "prompt_ids", "truncated", "classes", "steps")


def log(rows: int, prompts: int) -> list[dict[str, Any]]:
    """Rows whose groups are scattered, every seventh of them bad."""
    rng = np.random.default_rng(rows)
    return [{"prompt": f"p{rng.integers(prompts)}", "length": int(rng.integers(1, 9)) if i % 7 else 0,
             "reward": float(rng.normal()), "truncated": bool(rng.integers(2)), "class": int(rng.integers(3)),
             "step": int(rng.integers(3))} for i in range(rows)]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_chunks_and_columns_on_disk_change_nothing(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, rows: int) -> None:
    file = write(tmp_path / f"log.{suffix}", log(200, 30))
    plain = ls.Rollouts.read(file, on_error="report")
    chunks_of(monkeypatch, rows)
    in_memory_up_to(monkeypatch, 50)
    spooled = ls.Rollouts.read(file, on_error="report")
    assert values(spooled) == values(plain)
    assert (spooled.reading, spooled.class_names) == (plain.reading, plain.class_names)
    assert str(spooled) == str(plain)
    assert isinstance(spooled.lengths.base, np.memmap)
    assert values(pickle.loads(pickle.dumps(spooled))) == values(plain)
    grouped = spooled.by_group()
    assert isinstance(grouped.lengths.base, np.memmap)
    monkeypatch.undo()
    assert values(grouped) == values(plain.by_group())


def test_rows_of_many_bytes_are_handled_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces_of(monkeypatch, 300)
    rows = [{"prompt": "p" * 100, "length": i + 1, "reward": 0.0} for i in range(10)]
    for suffix in ("jsonl", "csv"):
        assert ls.Rollouts.read(write(tmp_path / f"log.{suffix}", rows)).lengths.tolist() == list(range(1, 11))


def test_a_field_that_never_ends_is_a_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields_up_to(monkeypatch, 50)
    (tmp_path / "log.csv").write_text('prompt,length,reward\na,1,0\n"b,' + "x" * 60 + "\nc,2,0\n")
    rollouts = ls.Rollouts.read(tmp_path, on_error="report")
    assert rollouts.lengths.tolist() == [1, 2]
    assert rollouts.reading is not None
    assert "field larger than field limit" in rollouts.reading.places[0].message
    (tmp_path / "log.csv").write_text('prompt,length,reward\na,1,0\n"b,2,0\n' + "c,2,0\n" * 20)
    with pytest.raises(ValueError, match=r"log\.csv: a quote opened in line 3 is not closed within 50 characters"):
        ls.Rollouts.read(tmp_path, on_error="report")


def test_files_on_disk_have_no_name_and_go_with_the_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("tells what is mapped only where there is /proc")
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    in_memory_up_to(monkeypatch, 50)
    file = write(tmp_path / "log.jsonl", log(200, 30))

    def mapped() -> int:
        gc.collect()
        return maps.read_text().count(str(tmp_path / "spool"))

    gc.collect()
    opened = len(os.listdir("/proc/self/fd"))
    rollouts = ls.Rollouts.read(file, on_error="report")
    grouped = rollouts.by_group()
    assert mapped() == 2 * len(TRACKED)
    assert list((tmp_path / "spool").iterdir()) == []
    lengths = rollouts.lengths
    del rollouts, grouped
    assert mapped() == 1
    assert lengths.sum() > 0
    del lengths
    assert mapped() == 0
    assert len(os.listdir("/proc/self/fd")) <= opened


def peak(call: Any) -> tuple[Any, float]:
    """What a call returns, and the largest memory in MiB that Python and numpy held in it."""
    gc.collect()
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_memory_grows_with_groups_and_not_with_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory_up_to(monkeypatch, 100_000)
    rows, prompts = 2_000_000, 50_000
    rng = np.random.default_rng(0)
    columns = {"prompt": rng.integers(0, prompts, rows) << 40, "length": rng.integers(1, 4096, rows),
               "reward": rng.random(rows), "truncated": rng.random(rows) < 0.1, "step": rng.integers(0, 4, rows)}
    parquet.write_table(pa.table(columns), tmp_path / "log.parquet")
    rollouts, most = peak(lambda: ls.Rollouts.read(tmp_path / "log.parquet"))
    assert len(rollouts) == rows
    assert most < 30  # MiB; the columns are 40, and 58 as they were given
    grouped, most = peak(rollouts.by_group)
    assert len(grouped) == rows
    assert most < 40
    np.testing.assert_array_equal(np.sort(grouped.lengths), np.sort(columns["length"]))


@pytest.mark.slow
def test_memory_of_json_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory_up_to(monkeypatch, 10_000)
    rows = 60_000
    with open(tmp_path / "log.jsonl", "w", encoding="utf-8") as stream:
        for i in range(rows):
            stream.write(json.dumps({"prompt": f"prompt {i % 1000}", "length": i % 9 + 1, "reward": 0.5}) + "\n")
    one, small = peak(lambda: ls.Rollouts.read(tmp_path / "log.jsonl"))
    (tmp_path / "more.jsonl").write_bytes((tmp_path / "log.jsonl").read_bytes() * 2)
    more, large = peak(lambda: ls.Rollouts.read(tmp_path))
    assert (len(one), len(more)) == (rows, 3 * rows)
    assert large < small + 1  # MiB; as objects 120,000 more rows are 50
