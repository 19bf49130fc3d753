"""Reading and auditing a log of ten million responses, beside pyarrow alone and beside one pass over one column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossim as ls
from benchmarks import logs

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("logs") / "run.parquet"
    logs.write(file)
    return file


@pytest.mark.parametrize("how", ["lossim", "pyarrow", "bincount", "by_group", "audit"])
def test_ten_million_rows(benchmark: Any, log: Path, how: str) -> None:
    from pyarrow import parquet

    benchmark.group = f"Parquet, {logs.ROWS:,} rows, {len(logs.COLUMNS)} columns"
    benchmark.extra_info.update(how=how, rows=logs.ROWS, columns=len(logs.COLUMNS))
    if how == "lossim":
        rollouts = benchmark.pedantic(ls.Rollouts.read, args=(log,), rounds=3)
        assert len(rollouts) == logs.ROWS
        assert rollouts.prompt_ids.max() == logs.ROWS // logs.GROUP - 1
    elif how == "pyarrow":
        table = benchmark.pedantic(parquet.read_table, args=(log,), kwargs={
            "columns": list(logs.COLUMNS), "use_threads": False}, rounds=3)
        assert table.num_rows == logs.ROWS
    elif how == "bincount":
        lengths = parquet.read_table(log, columns=["length"])["length"].to_numpy()
        counts = benchmark.pedantic(np.bincount, args=(lengths,), rounds=5)
        assert counts.sum() == logs.ROWS
    elif how == "audit":
        rollouts = ls.Rollouts.read(log)
        audit = benchmark.pedantic(ls.audit, args=(rollouts, ls.schemes.dapo()), kwargs={"what_if": False}, rounds=1)
        assert audit.log["responses"] == logs.ROWS
    else:
        rollouts = ls.Rollouts.read(log)
        grouped = benchmark.pedantic(rollouts.by_group, rounds=3)
        changes = np.count_nonzero(np.diff(grouped.prompt_ids)) + 1
        assert changes == logs.ROWS // logs.GROUP


def test_memory(benchmark: Any, log: Path) -> None:
    """The columns alone are 200 MiB, and twice that while they are sorted; beside them there is a table of prompts."""
    found = benchmark.pedantic(logs.peaks, args=(log,), rounds=1)
    benchmark.extra_info.update(found, file=log.stat().st_size / 1e6)
    assert found["traced"] < 320
    assert found["traced_audit"] < 800
