"""Logs of responses: files of JSON, CSV, Parquet or Arrow, and tables in memory, read to compact columns.

From below: ``messages``, ``masks`` and ``tokenizing`` (whose tokens count), ``paths`` (into a row), ``packing`` (files
opened), ``files`` (found), ``given`` (columns in memory), ``raw`` (what entries are), ``names`` (which column serves
what), ``reading`` (the account), ``responses`` (what they show), ``groups`` (ids that are counts, columns that
are no classes), ``texts`` (texts counted), ``shape`` (rows inside rows), ``rows`` (the rules, checked
by chunk), ``agreement`` (lengths, ids and texts held against each other), ``chunked`` (objects to columns),
``json_text``, ``csv_text`` and ``parquet`` (formats), ``memory`` (tables that are there already), ``log`` (which files
are one), ``columns`` (it all).
"""

from lossim._logs.columns import read
from lossim._logs.files import FORMATS, TABLES
from lossim._logs.given import COLUMNS, given_columns, given_names
from lossim._logs.memory import table_of
from lossim._logs.reading import Place, Reading
from lossim._logs.responses import Responses
from lossim._logs.tokenizing import ByCharacters

__all__ = ["COLUMNS", "FORMATS", "TABLES", "ByCharacters", "Place", "Reading", "Responses", "given_columns",
           "given_names", "read", "table_of"]
