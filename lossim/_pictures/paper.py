"""A figure that a notebook shows."""

from __future__ import annotations

import io
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAVED = 300.0
"""Dots per inch of what is saved; on a screen half as many."""
_SHOWN = 144.0
"""Pixels of a page per inch of a picture that a notebook shows."""


@cache
def paper() -> type[Figure]:
    """The kind of figure that pictures are drawn on; it is made when the first of them is asked for."""
    from matplotlib.figure import Figure

    class Sheet(Figure):
        """A matplotlib figure made without pyplot that a notebook shows all the same; ``alt`` says it in a sentence."""

        alt: str = ""

        def savefig(self, fname: Any, **options: Any) -> None:
            """As of any figure, at 300 dots per inch unless told otherwise."""
            super().savefig(fname, **{"dpi": _SAVED} | options)

        def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
            """The picture as a notebook asks for it, and how large it is there."""
            file = io.BytesIO()
            self.savefig(file, format="png")
            width, height = (round(_SHOWN * float(inches)) for inches in self.get_size_inches())
            return file.getvalue(), {"width": width, "height": height, "alt": self.alt}

    return Sheet
