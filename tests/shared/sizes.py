"""How much is handled at once, or summed one by one, made so small that it matters in a test."""

from __future__ import annotations

import pytest

CHUNKS = ("lossim._logs.chunked.ROWS", "lossim._auditing.log.SLAB")
BATCH = "lossim._logs.parquet.BATCH"
PIECE = "lossim._logs.chunked.SIZE"


def chunks_of(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """So many rows at a time."""
    for size in CHUNKS:
        monkeypatch.setattr(size, rows)
    monkeypatch.setattr(BATCH, dict.fromkeys(("numbers", "nested", "text"), rows))


def slabs_kept_up_to(monkeypatch: pytest.MonkeyPatch, responses: int) -> None:
    """Slabs of larger logs are built for each pass."""
    monkeypatch.setattr("lossim._auditing.log.MOST_KEPT", responses)


def pieces_of(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    """So many characters of a file at a time."""
    monkeypatch.setattr(PIECE, characters)


def fields_up_to(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    """No longer field of a CSV file."""
    monkeypatch.setattr("lossim._logs.csv_text.LONGEST", characters)


def no_compositions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standardised advantages by quadrature, however few reward levels there are."""
    monkeypatch.setattr("lossim._engine.mates.FEW_TERMS", -1)
    monkeypatch.setattr("lossim._engine.side_by_side.FEW_TERMS", -1)


def lines_up_to(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """No longer line of a text file, and no longer value of JSON."""
    monkeypatch.setattr("lossim._logs.packing.LONGEST", most)
    monkeypatch.setattr("lossim._logs.json_text.LONGEST", most)


def blocks_of(monkeypatch: pytest.MonkeyPatch, characters: int) -> None:
    """So many characters of JSON documents at a time."""
    monkeypatch.setattr("lossim._logs.json_text.START", characters)
