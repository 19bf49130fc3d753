"""Pictures as SVG that stands by itself in a page: same picture, same text; names of its own; its title inside."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable
from functools import partial
from io import StringIO
from typing import Any

from lossim._display.letters import escaped, shown
from lossim._display.page import Picture

__all__ = ["as_written", "svg_of", "top"]

_HEAD = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_DROPPED = re.compile(r"\s*<metadata>.*?</metadata>|\s*<style\b[^>]*>.*?</style>", re.DOTALL)
_NAMED = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')
_TITLED = "width:100%;height:auto;background:#ffffff;stroke-linejoin:round;stroke-linecap:butt"


def svg_of(figure: Any, picture: Picture, within: Any = None) -> str:
    """A figure that was made for a picture; ``within`` is the part of it that is shown, a box in inches."""
    as_written(figure)
    return _inline(_written(figure), picture.title, getattr(figure, "alt", "") or picture.alt, within)


def top(made: Any) -> Any:
    """The whole figure of what was drawn: of axes in a part of one, too."""
    figure = made.figure
    while figure.figure is not figure:
        figure = figure.figure
    return figure


def as_written(figure: Any) -> None:
    """Take no text for a formula: a name of a user's may have dollars in it. Ticks that matplotlib words are left.

    Letters that nothing can show are replaced.
    """
    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    worded = set()
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            formatter = axis.get_major_formatter()
            if isinstance(formatter, FixedFormatter):
                formatter.seq = [shown(each) for each in formatter.seq]
            elif isinstance(formatter, FuncFormatter):
                formatter.func = partial(_lettered, formatter.func)
            else:
                worded |= {id(label) for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
                           for label in (tick.label1, tick.label2)} | {id(axis.get_offset_text())}
    for text in figure.findobj(Text):
        if id(text) not in worded:
            text.set_parse_math(False)
            text.set_text(shown(text.get_text()))


def _lettered(words: Callable[..., str], *tick: Any) -> str:
    """The words of a tick, as far as they can be shown."""
    return shown(words(*tick))


def _written(figure: Any) -> str:
    """What matplotlib writes of a figure; letters stay letters."""
    import matplotlib

    stream = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lossim", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # whoever looks at it has fonts of their own
        figure.savefig(stream, format="svg", facecolor="white",
                       metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return shown(stream.getvalue())


def _inline(written: str, title: str, alt: str, within: Any) -> str:
    """The element alone, without what would change other parts of a page."""
    head = _HEAD.search(written)
    if head is None:
        raise ValueError(f"an SVG must have an <svg> element, got {written[:80]!r}")
    body = _DROPPED.sub("", written[head.end():]).rstrip()
    # Names become numbers in order: those of matplotlib hang on last digits of the layout, which nothing else shows.
    names: dict[str, int] = {}
    body = _NAMED.sub(lambda found: f"{found[1]}{names.setdefault(found[2], len(names))}", body)
    own = "p" + hashlib.sha256((shown(title) + body).encode()).hexdigest()[:12]
    body = _NAMED.sub(lambda found: f"{found[1]}{own}-{found[2]}", body)
    box = re.search(r'viewBox="([\d. -]+)"', head[0])
    size = "0 0 1 1" if box is None else box[1]
    if within is not None:  # in points, from the top
        below = float(size.split()[3]) - 72.0 * within.y1
        size = " ".join(f"{x:.6g}" for x in (72.0 * within.x0, below, 72.0 * within.width, 72.0 * within.height))
    width = float(size.split()[2])
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{size}" '
            f'role="img" aria-labelledby="{own}-title {own}-alt" style="max-width:{width * 4 / 3:.0f}px;{_TITLED}">'
            f'<title id="{own}-title">{escaped(title)}</title><desc id="{own}-alt">{escaped(alt)}</desc>{body}')
