"""The protocol that every result has: print, notebooks, dicts, data frames, files, reports."""

from __future__ import annotations

from abc import abstractmethod
from os import PathLike
from typing import Any, Protocol

from lossim._display.fragment import fragment
from lossim._display.html import write
from lossim._display.page import Page, Section
from lossim._display.store import keep
from lossim._display.table import Columns, tidy
from lossim._support.frames import frame
from lossim._support.text import Printed

__all__ = ["Result"]


class Config(Protocol):
    """A config as a page needs it: it adds its settings."""

    def _onto(self, page: Page) -> Page: ...


class Result(Printed):
    """What every result of lossim can do: be printed, shown, tabulated, saved and reported.

    ``print(result)`` says it in a sentence, then in numbers, and what was assumed. A notebook shows the same with a
    table and a picture. :meth:`to_dict` are plain values, :meth:`to_dataframe` is one tidy table, :meth:`save` a file
    that :func:`lossim.load` reads, :meth:`report` a page of HTML to hand on.

    >>> import lossim as ls
    >>> isinstance(ls.pace(kl_per_step=1e-4), ls.Result)
    True
    """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN)."""

    @abstractmethod
    def _page(self) -> Page:
        """All that it says, once."""

    @abstractmethod
    def _columns(self) -> Columns:
        """Its tidy table: columns by name, all of one length."""

    def to_dataframe(self) -> Any:
        """One tidy table, as a frame of pandas, or of polars where there is no pandas; docs/results.md has its columns.

        Raises:
            ImportError: there is neither; ``pip install 'lossim[tables]'`` brings pandas.
        """
        return frame(tidy(self._columns()))

    def save(self, path: str | PathLike[str]) -> None:
        """Write it to a file of JSON, which :func:`lossim.load` reads: what it prints, shows and holds.

        The file is packed where its name ends in ``.gz``. What is at the path is replaced.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        self._keep(path, self.to_dict())

    def report(self, path: str | PathLike[str], *, config: Config | None = None) -> None:
        """Write it as one page of HTML, with all its tables and pictures, that needs nothing else; docs/reports.md.

        ``config`` is what :func:`lossim.read_config` made of the run's config: beside each change the page then
        names the setting of that trainer, and it lists what became of the others.

        Raises:
            ValueError: the name does not end in .html, or is that of a folder.
            FileNotFoundError: the folder does not exist.
        """
        page = self._page()
        write(page if config is None else config._onto(page), path)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        return fragment(self._page())

    def _keep(self, path: str | PathLike[str], values: dict[str, Any]) -> None:
        """Write it to a file, with these plain values."""
        keep(path, page=self._page(), columns=tidy(self._columns()), values=values)

    def _paged(self, title: str, *sections: Section) -> Page:
        """A page of these sections; its sentence is the first line of print."""
        printed = str(self)
        return Page(kind=type(self).__name__, title=title, sentence=printed.partition("\n")[0], printed=printed,
                    sections=tuple(each for each in sections if each.parts))
