"""Logs of responses: files of JSON lines, CSV or Parquet, read to columns in memory.

From below: ``files`` (found and opened), ``codes`` and ``values`` (what entries are), ``names`` (which column serves
what), ``reading`` (the account), ``rows`` (the rules, checked chunk by chunk), ``jsonl``, ``csv`` and ``parquet`` (the
formats), ``columns`` (the front door).
"""

from lossim._logs.columns import read
from lossim._logs.files import FORMATS
from lossim._logs.reading import Place, Reading

__all__ = ["FORMATS", "Place", "Reading", "read"]
