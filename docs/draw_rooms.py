"""Draw docs/rooms.png and write the tables of docs/architecture.md, from the code: ``python docs/draw_rooms.py``.

The rooms are the modules and folders right under lossim/, the floors those of lossim/.importlinter, the imports what
grimp finds in the code. They are kept in docs/rooms.json, and a test compares them with the code.
"""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import grimp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as MarkedPath

HERE = Path(__file__).parent
LIBRARY = HERE.parent / "lossim"
PAGE = HERE / "architecture.md"
DATA = HERE / "rooms.json"
PICTURE = HERE / "rooms.png"

FLOORS = ("command line", "sweeps", "pictures, verbs, live", "forecasts", "logs, configs", "changes", "runs, tokens",
          "one step", "policy, scheme", "estimators, rows", "vocabulary", "tools")
"""A name for each floor, from the top."""

ROOMS = {
    "__main__": (0, "python -m lossim"),
    "_cli": (1, "arguments, and answers in words"),
    "_face": (2, "all that lossim offers"),
    "_sweeping": (0, "a function over a grid"),
    "_pictures": (0, "results as figures"),
    "_verbs": (1, "which way, and what would change it"),
    "live": (2, "beside a running trainer"),
    "_forecasting": (1, "where a run goes on to"),
    "_auditing": (0, "where a logged run is pushed, and by what"),
    "_fitting": (1, "a policy from a log"),
    "_surveying": (1, "a question over what nobody knows"),
    "configs": (2, "a trainer's config read as a scheme"),
    "_changes": (0, "other settings, and roots of a drift"),
    "_training": (1, "many steps: runs"),
    "tokens": (2, "the loss of a padded batch"),
    "_engine": (1, "what a step does, expected or sampled"),
    "formulas": (2, "closed forms of one response"),
    "policies": (0, "classes, paths, and when they stop"),
    "curves": (1, "a run's numbers by step"),
    "schemes": (2, "presets, and the slots they fill"),
    "rollouts": (0, "responses, one row each"),
    "advantages": (2, "what responses are credited with"),
    "_launch": (0, "what launch files say"),
    "_logs": (0, "files of responses as columns"),
    "_metrics": (1, "files of metrics as points"),
    "_model": (0, "a policy's arrays, and how it moves"),
    "lengths": (0, "laws of length"),
    "estimates": (1, "numbers and errors"),
    "rewards": (1, "what a response is paid"),
    "references": (1, "the papers behind it"),
    "critics": (2, "values of the tokens ahead"),
    "aggregation": (2, "weights of a loss's tokens"),
    "surrogates": (2, "ratios, clipped or not"),
    "penalties": (2, "KL and entropy"),
    "selection": (2, "what is late, and so long"),
    "_display": (2, "how a result shows itself"),
    "optimizers": (0, "from updates to moves"),
    "_support": (1, "checks, texts, sums along positions"),
}
"""The column in which each room stands on its floor, from above, and what it is for, short enough for its box."""

# --- what the code says -------------------------------------------------------------------------------------------


def floors() -> list[list[str]]:
    """The rooms on each floor, from the top, as the contract has them."""
    contract = ConfigParser()
    contract.read(LIBRARY / ".importlinter", encoding="utf-8")
    lines = contract["importlinter:contract:rooms"]["layers"].strip().splitlines()
    return [re.split(r"\s*[|:]\s*", line.strip()) for line in lines]


def imports() -> dict[str, list[str]]:
    """The rooms that each room imports, wherever in it; the face of the library itself is no room."""
    graph = grimp.build_graph("lossim", cache_dir=None)
    found: dict[str, set[str]] = {name.partition(".")[2]: set() for name in graph.find_children("lossim")}
    for module in graph.modules - {"lossim"}:
        own = room_of(module)
        found[own] |= {room_of(other) for other in graph.find_modules_directly_imported_by(module)} - {own}
    return {room: sorted(found[room]) for room in sorted(found)}


def room_of(module: str) -> str:
    """The room in which a module stands."""
    return module.split(".")[1]


def compute() -> dict[str, Any]:
    """What the picture shows."""
    return {"floors": floors(), "imports": imports()}


def purpose(path: Path) -> str:
    """The first sentence of a module's docstring, as Markdown."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(told.partition("\n\n")[0].split())
    return re.split(r"(?<=\.) ", first)[0].rstrip(".:").replace("``", "`")


def files(room: str) -> list[Path]:
    """The files of a room, its face first."""
    folder = LIBRARY / room
    if not folder.is_dir():
        return [folder.with_suffix(".py")]
    return sorted(folder.glob("*.py"), key=lambda path: (path.stem != "__init__", path.stem))


# --- tables of the page -------------------------------------------------------------------------------------------


def rooms_table() -> Iterator[str]:
    """Every room from the top, with what it is for."""
    yield "| floor | room | what it is for |"
    yield "|---|---|---|"
    for number, rooms in zip(range(len(FLOORS), 0, -1), floors(), strict=True):
        for room in rooms:
            folder = "/" if (LIBRARY / room).is_dir() else ""
            yield f"| {number} | `{room}{folder}` | {purpose(files(room)[0])} |"


def files_table(room: str) -> Iterator[str]:
    """Every file of a room, with what it is for."""
    yield "| file | what it is for |"
    yield "|---|---|"
    for path in files(room)[1:]:
        yield f"| `{room}/{path.name}` | {purpose(path)} |"


def page(text: str) -> str:
    """The page with its tables written anew, each between two marks."""
    for mark in re.findall(r"<!-- table of (\w+) -->", text):
        table = "\n".join(rooms_table() if mark == "rooms" else files_table(mark))
        before, start, rest = text.partition(f"<!-- table of {mark} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        text = f"{before}{start}{table}\n{end}{after}"
    return text


# --- the picture --------------------------------------------------------------------------------------------------

INK, GREY, LINE, BAND, PUBLIC, PRIVATE = "#1A1A1A", "#5F6B76", "#7C8894", "#F1F3F5", "#FFFFFF", "#D6E8F5"
WIDTH, LEFT, TOP = 4.95, 0.80, 0.36  # inches, all
BOX = (1.18, 0.43)
GUTTER, GAP, BETWEEN = 0.15, 0.08, 0.17
CORNER = 0.05
ASIDE = 0.03  # between lines that come from different columns

Point = tuple[float, float]


class Plan:
    """Where everything stands: boxes by room, the rows and the lower edges of floors, in inches from the top left."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.place: dict[str, tuple[int, int, int]] = {}  # floor, row, column
        self.edges: list[tuple[float, float]] = []
        self.corner: dict[str, Point] = {}
        y = -TOP
        for number, rooms in enumerate(data["floors"]):
            columns: dict[int, list[str]] = {}
            for room in (room for room in ROOMS if room in rooms):
                columns.setdefault(ROOMS[room][0], []).append(room)
            for column, stacked in columns.items():
                for row, room in enumerate(stacked):
                    self.place[room] = (number, row, column)
                    self.corner[room] = (self.gutter(column) + GUTTER / 2, y - GAP - (row + 1) * (BOX[1] + GAP) + GAP)
            rows = max(map(len, columns.values()))
            self.edges.append((y, y - GAP - rows * (BOX[1] + GAP)))
            y = self.edges[-1][1] - BETWEEN
        self.bottom = y

    @staticmethod
    def gutter(number: int) -> float:
        """The middle of the gutter left of a column."""
        return LEFT + GUTTER / 2 + number * (BOX[0] + GUTTER)

    def middle(self, room: str) -> float:
        """The middle of a room's box, from the left."""
        return self.corner[room][0] + BOX[0] / 2

    def route(self, source: str, target: str) -> list[Point]:
        """From the lower side of one box to another: in its column where that is free, else along a gutter."""
        floor, _, column = self.place[source]
        other, row, its = self.place[target]
        start = (self.middle(source), self.corner[source][1])
        x, y = self.corner[target]
        if floor == other:
            side = self.corner[source][0] + BOX[0]
            return [(side, start[1] + BOX[1] / 2), (x, y + BOX[1] / 2)]
        aside = ASIDE * (column - 1)
        below = self.edges[floor][1] - BETWEEN / 3 + aside
        above = self.edges[other][0] + BETWEEN / 4
        middle = self.middle(target)
        taken = {place for place in self.place.values() if floor < place[0] < other and place[2] == its}
        if row == 0 and not taken:
            return [start, (start[0], below), (middle, below), (middle, y + BOX[1])]
        right = its < column or (its == column and its > 0)
        lane = self.gutter(its + 1 if right else its) + aside
        path = [start, (start[0], below), (lane, below)]
        if row == 0:
            return [*path, (lane, above), (middle, above), (middle, y + BOX[1])]
        return [*path, (lane, y + BOX[1] / 2), (x + BOX[0] if right else x, y + BOX[1] / 2)]


def told(data: dict[str, Any]) -> list[tuple[str, str]]:
    """The imports that are drawn: downwards, not implied by longer ways, and not of the ground floor."""
    depth = {room: number for number, rooms in enumerate(data["floors"]) for room in rooms}
    ground = set(data["floors"][-1])
    down = {room: [other for other in used if depth[other] >= depth[room]] for room, used in data["imports"].items()}

    def reached(room: str) -> set[str]:
        return set(down[room]).union(*(reached(other) for other in down[room]))

    return [(room, other) for room, used in down.items() for other in used
            if other not in ground and not any(other in reached(between) for between in used)]


def draw(data: dict[str, Any]) -> Figure:
    """Rooms as boxes on their floors, with the imports that others do not imply."""
    plan = Plan(data)
    depth = {room: number for number, rooms in enumerate(data["floors"]) for room in rooms}
    up = [depth[other] < depth[room] for room, used in data["imports"].items() for other in used]
    shown = told(data)
    foot = (f"Drawn: {len(shown)} of {len(up) - sum(up)} imports, those that longer ways do not imply; "
            "all rooms may use",
            f"_support. {sum(up)} more point up: a result fetches _pictures to be plotted. Blue: private.")
    height = 0.14 * len(foot) + 0.08 - plan.bottom
    figure = Figure(figsize=(WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(-height, 0))
    axes.set_axis_off()
    claim = f"{len(ROOMS)} rooms on {len(data['floors'])} floors: imports point downwards"
    axes.text(0.08, -0.18, claim, fontsize=10, fontweight="bold", va="center", color=INK)
    for number, ((top, bottom), name) in enumerate(zip(plan.edges, FLOORS, strict=True)):
        axes.add_patch(Rectangle((0.05, bottom), WIDTH - 0.1, top - bottom, facecolor=BAND, edgecolor="none", zorder=0))
        axes.text(0.23, (top + bottom) / 2, str(len(FLOORS) - number), fontsize=9, fontweight="bold", va="center",
                  ha="right", color=GREY)
        axes.text(0.27, (top + bottom) / 2, name.replace(" ", "\n"), fontsize=7, va="center", color=GREY,
                  linespacing=1.15)
    for source, target in shown:
        arrow(axes, plan.route(source, target))
    for room, (x, y) in plan.corner.items():
        box(axes, room, x, y)
    for number, line in enumerate(foot):
        axes.text(0.08, plan.bottom - 0.02 - 0.14 * number, line, fontsize=6.5, va="center", color=GREY)
    return figure


def box(axes: Axes, room: str, x: float, y: float) -> None:
    """A room's box, with its lower left corner there."""
    private = room.startswith("_")
    axes.add_patch(FancyBboxPatch((x, y), *BOX, boxstyle="round,pad=0,rounding_size=0.04", linewidth=0.7,
                                  facecolor=PRIVATE if private else PUBLIC, edgecolor=LINE, zorder=3))
    middle = x + BOX[0] / 2
    lines = textwrap.wrap(ROOMS[room][1], 22)
    axes.text(middle, y + BOX[1] - 0.1, room, fontsize=7.8, fontweight="bold", ha="center", va="center", color=INK,
              zorder=4)
    axes.text(middle, y + (BOX[1] - 0.17) / 2, "\n".join(lines), fontsize=6.6, ha="center", va="center", color=INK,
              linespacing=1.05, zorder=4)


def arrow(axes: Axes, points: list[Point]) -> None:
    """A thin arrow along points, with its corners rounded."""
    corners: list[Point] = []
    codes = []
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        corners += [_towards(here, before), here, _towards(here, after)]
        codes += [MarkedPath.LINETO, MarkedPath.CURVE3, MarkedPath.CURVE3]
    path = MarkedPath([points[0], *corners, points[-1]], [MarkedPath.MOVETO, *codes, MarkedPath.LINETO])
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle="-|>,head_length=2.6,head_width=1.3", linewidth=0.7,
                                   color=LINE, zorder=2, shrinkA=0, shrinkB=0, joinstyle="round"))


def _towards(here: Point, there: Point) -> Point:
    """A point of a corner's arc: a little of the way, at most half of it."""
    x, y = there[0] - here[0], there[1] - here[1]
    length = max((x * x + y * y) ** 0.5, 1e-9)
    share = min(CORNER / length, 0.5)
    return here[0] + share * x, here[1] + share * y


def main() -> None:
    """Write the data, the picture and the page."""
    data = compute()
    DATA.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    draw(data).savefig(PICTURE, dpi=200, metadata={"Software": None})
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
