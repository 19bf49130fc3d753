"""Columns as a frame of whichever library there is."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def frame(columns: Mapping[str, Any]) -> Any:
    """Columns by name as a frame of pandas, or of polars where there is no pandas.

    Raises:
        ImportError: there is neither.
    """
    for library in ("pandas", "polars"):
        try:
            return import_module(library).DataFrame(dict(columns))
        except ModuleNotFoundError as error:
            if error.name != library:
                raise
    raise ImportError("to_dataframe needs pandas or polars: pip install 'lossim[tables]'")
