"""CSV that is bad: fields missing, rows ragged, quotes that are not closed where they should be."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

import lossim as ls


@pytest.mark.parametrize(("row", "message"), [
    ("p,1", "row has not as many fields as line 1: 2, not 3"), ("p,1,2,3", "row has not as many .*: 4, not 3"),
    ('"p"x,1,2', r"row is not CSV: ',' expected after '\"'"), ("p,,2", "length is missing, got None"),
    ("p,1_0,2", "length must be a number, got '1_0'"), ("p,x,2", "length must be a number, got 'x'"),
    ("p,1,nan", "reward must be finite, got nan"), ("p,1,Infinity", "reward must be finite, got inf"),
    ("p,1,", "reward is missing"), ("p,1.5,0", "length must be a whole number, got 1.5")])
def test_bad_rows_of_csv(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "run.csv"
    file.write_text(f'prompt,length,reward\n"a\n\nb",2,0\n{row}\nc,3,0\n')
    with pytest.raises(ValueError, match=rf"run\.csv:5: {message}"):
        ls.Rollouts.read(file)
    assert ls.Rollouts.read(file, on_error="report").lengths.tolist() == [2, 3]


QUOTES: dict[str, tuple[str, int]] = {
    "first row": ('"b,3,0\nc,3,0\n', 2), "later row": ('a,2,0\n"b,3,0\nc,3,0', 3), "header": ("", 1),
    "last field": ('a,2,0\nb,3,"0\nc,3,0\n', 3), "line ends of Windows": ('a,2,0\r\n"b,3,0\r\nc,3,0\r\n', 3),
    "after a text of three lines": ('"a\n\n""b""",2,"0\n\nc,3,0\n', 4),
    "blank lines after it": ('a,2,0\n"b,3,0\n\n', 3),
    "row 5,000": ("a,2,0\n" * 5000 + '"b,3,0\n' + "c,3,0\n" * 5000, 5002)}


@pytest.mark.parametrize("on_error", ["raise", "report"])
@pytest.mark.parametrize("case", QUOTES)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_quote_that_is_never_closed_takes_no_rows_with_it(
        tmp_path: Path, case: str, on_error: Any, suffix: str) -> None:
    rows, line = QUOTES[case]
    data = (("prompt,length,reward\n" + rows) if rows else '"prompt,length,reward\na,2,0\n').encode()
    (tmp_path / f"run{suffix}").write_bytes(gzip.compress(data) if suffix == ".csv.gz" else data)
    with pytest.raises(ValueError, match=rf"run{suffix}: a quote opened in line {line} is never closed; everything "):
        ls.Rollouts.read(tmp_path, on_error=on_error)


def test_a_last_line_that_is_cut_off_in_quotes_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text('prompt,length,reward\na,2,0\n"b,3')
    with pytest.raises(ValueError, match=r"run\.csv:3: row is not CSV: unexpected end of data"):
        ls.Rollouts.read(tmp_path)
    reading = ls.Rollouts.read(tmp_path, on_error="report").reading
    assert reading is not None
    assert (reading.rows, reading.skipped) == (2, {"row is not CSV": 1})


@pytest.mark.parametrize(("end", "message"), [
    ('e",3,0,1', "has not as many fields as line 1: 4, not 3; its quotes take in 4 lines"),
    ('"e",3,0', "is not CSV: ',' expected after '\"'; its quotes take in 4 lines")])
def test_a_quote_that_is_closed_too_late_says_how_many_lines_it_takes_in(
        tmp_path: Path, end: str, message: str) -> None:
    (tmp_path / "run.csv").write_text(f'prompt,length,reward\na,2,0\n"b,3,0\nc,3,0\nd,3,0\n{end}\nf,4,0\n')
    rollouts = ls.Rollouts.read(tmp_path, on_error="report")
    assert rollouts.lengths.tolist() == [2, 4]
    assert rollouts.reading is not None
    assert str(rollouts.reading.places[0]).endswith(f"run.csv:3: row over several lines {message}")
    assert rollouts.reading.skipped == {f"row over several lines {message.partition(':')[0]}": 1}


@pytest.mark.parametrize("name", ["prompt", "prompt_id", "uid"])
def test_an_empty_prompt_is_missing_in_csv(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.csv").write_text(f"{name},length,reward\n1,2,0\n,3,0\n,4,0\n2,5,0\n")
    with pytest.raises(ValueError, match=r"run\.csv:3: prompt is missing, got None"):
        ls.Rollouts.read(tmp_path)
    rollouts = ls.Rollouts.read(tmp_path, on_error="report")
    assert (rollouts.lengths.tolist(), rollouts.prompt_ids.tolist()) == ([2, 5], [0, 1])
    assert rollouts.reading is not None
    assert rollouts.reading.skipped == {"prompt is missing": 2}
