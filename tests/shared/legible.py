"""Whether a picture can be read as wide as a column: what its renderer says of sizes, edges, overlaps and crossings."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox

COLUMN = 3.4
"""Inches: half a page."""
SMALLEST = 8.0
"""Points of the smallest type there."""
NEAR = 0.5
"""Points by which a box may be entered: letters do not fill their boxes."""


def complaints(figure: Figure, *, column: float = COLUMN) -> list[str]:
    """What a reader of the picture at this width would say, a line for each complaint; none if it can be read."""
    figure.draw_without_rendering()
    texts = shown(figure)
    boxes = {text: inner(text.get_window_extent(), NEAR * figure.dpi / 72.0) for text in texts}
    scale = column / figure.get_figwidth()
    canvas = figure.bbox
    found = [f"{size * scale:.1f} points: {said(text)}" for text in texts
             if (size := float(text.get_fontsize())) * scale < SMALLEST - 1e-6]
    found += [f"a raised number of {0.7 * size * scale:.1f} points: {said(text)}" for text in texts
              if text.get_parse_math() and re.search(r"\$.*[\^_].*\$", text.get_text())  # as mathtext sets it
              and (size := float(text.get_fontsize())) * scale * 0.7 < SMALLEST]
    found += [f"leaves the picture: {said(text)}" for text, box in boxes.items()
              if box.x0 < canvas.x0 or box.y0 < canvas.y0 or box.x1 > canvas.x1 or box.y1 > canvas.y1]
    found += [f"on each other: {said(one)} and {said(other)}" for one, other in combinations(texts, 2)
              if boxes[one].overlaps(boxes[other])]
    return found + [f"crosses {said(text)}: {what}" for text in inside(figure) if text in boxes
                    for what, path in strokes(figure, text) if path.intersects_bbox(boxes[text], filled=False)]


def said(text: Text) -> str:
    """The text on one line."""
    return repr(" ".join(text.get_text().split()))


def inner(box: Bbox, by: float) -> Bbox:
    """The box without a margin."""
    return Bbox.from_extents(box.x0 + by, box.y0 + by, box.x1 - by, box.y1 - by)


def shown(figure: Figure) -> list[Text]:
    """All texts that are seen; of ticks those within the limits of their axis."""
    ticks = {id(label): tick.get_visible() and between(tick.get_loc(), axis.get_view_interval())
             for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)
             for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()) for label in (tick.label1, tick.label2)}
    return [text for text in figure.findobj(Text)
            if text.get_visible() and text.get_text().strip() and ticks.get(id(text), True)]


def between(place: float, ends: np.ndarray) -> bool:
    """Whether a tick is within the view, up to rounding."""
    low, high = sorted(map(float, ends))
    return low - 1e-9 * abs(low) - 1e-12 <= place <= high + 1e-9 * abs(high) + 1e-12


def inside(figure: Figure) -> list[Text]:
    """Texts that stand among what is drawn: those of axes, and of legends."""
    parts: list[Artist] = [each for axes in figure.axes for each in (*axes.texts, axes.get_legend()) if each]
    return [text for part in parts for text in part.findobj(Text) if text.get_text().strip()]


def strokes(figure: Figure, text: Text) -> list[tuple[str, Path]]:
    """Lines and marks that a text must not stand on, in pixels; none for what has a ground of its own."""
    if text.get_bbox_patch() is not None or text.get_path_effects():
        return []
    found = []
    for axes in figure.axes:
        for line in axes.lines:
            if line.get_visible():
                found += [(str(line.get_label()), path) for path in drawn(line)]
        for bars in axes.collections:
            if isinstance(bars, LineCollection):
                found += [("a bar", Path(bars.get_transform().transform(part)))
                          for part in bars.get_segments() if len(part)]
    return found


def drawn(line: Line2D) -> list[Path]:
    """A line in pixels; of marks alone, a diamond at each."""
    points = line.get_transform().transform(np.ma.filled(line.get_xydata(), np.nan))
    points = points[np.isfinite(points).all(axis=1)]
    if line.get_linestyle() not in ("None", "none", "", " "):
        return [Path(points)] if len(points) else []
    reach = 0.5 * line.get_markersize() * line.get_figure().dpi / 72.0
    corners = reach * np.array([(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)])
    return [Path(point + corners) for point in points]
