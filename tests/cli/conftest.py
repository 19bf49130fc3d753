"""What the tests of the command line give it: logs with and without cuts, and a config."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import CONFIG, rows, written


@pytest.fixture
def log(tmp_path: Path) -> str:
    """A log that says which responses were cut."""
    return written(tmp_path / "run.jsonl", rows())


@pytest.fixture
def uncut(tmp_path: Path) -> str:
    """A log that does not."""
    return written(tmp_path / "uncut.jsonl", [{k: v for k, v in row.items() if k != "truncated"} for row in rows()])


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "grpo.json"
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    return str(path)
