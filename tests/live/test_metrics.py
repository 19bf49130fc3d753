"""The table of metrics, in the code and on the page."""

from __future__ import annotations

from pathlib import Path

import lossim as ls

PAGE = Path(__file__).parents[2] / "docs" / "live.md"


def test_the_page_has_the_table_of_the_code() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- table of metrics -->\n")[2].partition("<!-- end -->")[0]
    rows = [f"| `lossim/{name}` | {metric.unit} | {metric.meaning} |" for name, metric in ls.live.METRICS.items()]
    assert table.splitlines() == ["| metric | unit | what it says |", "|---|---|---|", *rows]
