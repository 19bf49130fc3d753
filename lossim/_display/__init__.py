"""How every result shows itself: one page of content, and what notebooks, tables, files and reports make of it."""

from lossim._display.charts import Bar, Turn, bars, counted, turns
from lossim._display.html import checked_path, write
from lossim._display.page import Cell, Number, Page, Part, Picture, Points, Section, Table, Text
from lossim._display.parts import (
    CHANGE,
    FAST,
    MEANT,
    SURE,
    WHOM,
    assumed,
    changing,
    doubted,
    estimated,
    figure,
    settings,
    told,
)
from lossim._display.result import Result
from lossim._display.saved import Saved, load

__all__ = ["CHANGE", "FAST", "MEANT", "SURE", "WHOM", "Bar", "Cell", "Number", "Page", "Part", "Picture", "Points",
           "Result", "Saved", "Section", "Table", "Text", "Turn", "assumed", "bars", "changing", "checked_path",
           "counted", "doubted", "estimated", "figure", "load", "settings", "told", "turns", "write"]
