"""What a log tells prompts apart by: ids, numbers and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import lossim as ls
from log_files import read, write


@pytest.mark.parametrize("ids", [
    [2**62, -5, 2**62, 0], [3.5, 1.0, 3.5, 2.0], ["b", "a", "b", "é"], [2**63 + 1, 4, 2**63 + 1, 5]])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_ids_of_any_kind_are_numbered_from_0(tmp_path: Path, suffix: str, ids: list[Any]) -> None:
    if suffix == "parquet" and ids[0] == 2**63 + 1:
        parquet.write_table(pa.table({"prompt": pa.array(ids, pa.uint64()), "length": [1] * 4, "reward": [0] * 4}),
                            tmp_path / "log.parquet")
        rollouts = ls.Rollouts.read(tmp_path)
    else:
        rollouts = read(tmp_path / f"log.{suffix}", [{"prompt": i, "length": 1, "reward": 0} for i in ids])
    first, second, again, last = rollouts.prompt_ids.tolist()
    assert first == again
    assert {first, second, last} == {0, 1, 2}


def test_numbers_and_texts_that_look_alike_are_different_prompts(tmp_path: Path) -> None:
    ids = [1, "1", [1], 1.5, "1.5", {"1": 1}, 1, "1", 1.5, 0.0, -0.0]
    rollouts = read(tmp_path / "log.jsonl", [{"prompt": i, "length": 1, "reward": 0} for i in ids])
    same = rollouts.prompt_ids
    assert len(set(same.tolist())) == 7
    assert (same[0], same[1], same[3], same[9]) == (same[6], same[7], same[8], same[10])


def test_an_empty_text_is_a_prompt_where_it_is_told_from_none(tmp_path: Path) -> None:
    rows = [{"prompt": text, "length": 1, "reward": 0} for text in ("", "a", "")]
    for suffix in ("jsonl", "parquet"):
        assert read(tmp_path / f"log.{suffix}", rows).prompt_ids.tolist() == [0, 1, 0]


def test_whole_floats_are_the_ids_that_the_whole_numbers_are(tmp_path: Path) -> None:
    rows = [{"prompt_id": i, "length": 1, "reward": 0} for i in (1, 1.0, 2.0, 2, -0.0, 0, 2**70, 2.0**70, 2.5)]
    assert read(tmp_path / "log.jsonl", rows).prompt_ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert read(tmp_path / "log.csv", rows[:2]).prompt_ids.tolist() == [0, 1]  # as they are written
    for name, ids in (("1", [7, 8, 9]), ("2", [9.0, None, 7.0]), ("3", [9, 10, 7])):
        write(tmp_path / "of pandas" / f"{name}.parquet", [{"prompt_id": i, "length": 1, "reward": 0} for i in ids])
    rollouts = ls.Rollouts.read(tmp_path / "of pandas", on_error="report")
    assert rollouts.prompt_ids.tolist() == [0, 1, 2, 2, 0, 2, 3, 0]
