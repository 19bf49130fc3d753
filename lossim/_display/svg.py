"""Pictures as SVG that stands by itself in a page: same picture, same text; names of its own; its title inside."""

from __future__ import annotations

import hashlib
import html
import re
from io import StringIO
from typing import Any

from lossim._display.page import Picture

__all__ = ["svg"]

_HEAD = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_DROPPED = re.compile(r"\s*<metadata>.*?</metadata>|\s*<style\b[^>]*>.*?</style>", re.DOTALL)
_NAMED = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')
_TITLED = "width:100%;height:auto;background:#ffffff;stroke-linejoin:round;stroke-linecap:butt"


def svg(picture: Picture) -> str:
    """The picture as one ``<svg>`` element, as wide as there is room, up to the width it was drawn for.

    Its title and its text alternative are inside; ids are unlike those of other pictures.
    """
    if picture.draw is None:
        return picture.drawn
    return _inline(_written(picture.draw()), picture)


def _written(made: Any) -> str:
    """What matplotlib writes of a figure, or of axes in one; letters stay letters."""
    import matplotlib

    stream = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lossim", "svg.fonttype": "none"}):
        made.figure.savefig(stream, format="svg", facecolor="white",
                            metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return stream.getvalue()


def _inline(written: str, picture: Picture) -> str:
    """The element alone, without what would change other parts of a page."""
    head = _HEAD.search(written)
    if head is None:
        raise ValueError(f"an SVG must have an <svg> element, got {written[:80]!r}")
    body = _DROPPED.sub("", written[head.end():]).rstrip()
    own = "p" + hashlib.sha256((picture.title + written).encode()).hexdigest()[:12]
    body = _NAMED.sub(lambda found: f"{found[1]}{own}-{found[2]}", body)
    box = re.search(r'viewBox="([\d. -]+)"', head[0])
    size = "0 0 1 1" if box is None else box[1]
    width = float(size.split()[2])
    title, alt = html.escape(picture.title), html.escape(picture.alt)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{size}" '
            f'role="img" aria-labelledby="{own}-title {own}-alt" style="max-width:{width * 4 / 3:.0f}px;{_TITLED}">'
            f'<title id="{own}-title">{title}</title><desc id="{own}-alt">{alt}</desc>{body}')
