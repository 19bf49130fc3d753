"""How every result shows itself: one page of content, and what notebooks, tables, files and reports make of it."""

from lossim._display.html import checked_path, write
from lossim._display.page import Cell, Number, Page, Part, Picture, Points, Section, Table, Text
from lossim._display.parts import Bar, assumed, bars, estimated, figure, settings
from lossim._display.result import Result

__all__ = ["Bar", "Cell", "Number", "Page", "Part", "Picture", "Points", "Result", "Section", "Table", "Text",
           "assumed", "bars", "checked_path", "estimated", "figure", "settings", "write"]
