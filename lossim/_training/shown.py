"""What a run shows: where it starts and ends, as lines, as a page, and step by step as a tidy table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import (
    FAST,
    MEANT,
    SURE,
    WHOM,
    Cell,
    Number,
    Part,
    Picture,
    Points,
    Section,
    Table,
    Text,
    assumed,
    changing,
    doubted,
    figure,
)
from lossim._support.text import Columns
from lossim._support.types import FloatArray
from lossim.schemes import short

if TYPE_CHECKING:
    from lossim._training.result import Training

AFTER = ("length", "accuracy", "reward", "truncation_rate", "kl_to_start")
"""Numbers of the policy after each step."""
DURING = ("composition", "within", "needed", "free", "dead_groups", "clip_fraction", "learning_rate", "range_low",
          "range_high")
"""Numbers of each step."""
Row = tuple[str, FloatArray | None, FloatArray | None, str]
"""A label, the numbers at the start and at the end over replicates, and the sign of their format."""


def _rows(run: Training) -> list[Row]:
    """The policy at the start and at the end, and what moved mean length between them."""
    series = [("mean length (tokens)", run.length), ("P(correct)", run.accuracy), ("mean reward", run.reward),
              ("P(truncated)", run.truncation_rate)]
    series += [(f"  {' / '.join(names)}", run.length_by_path[..., path])
               for path, names in enumerate(run.start.layout.path_names)]
    return [*((label, values[0], values[-1], "") for label, values in series),
            ("by lengths / by paths", run.within.sum(axis=0), run.composition.sum(axis=0), "+"),
            ("needed / free", run.needed.sum(axis=0), run.free.sum(axis=0), "+"),
            ("KL to the start (nats)", None, run.kl_to_start[-1], "")]


def numbers(run: Training) -> list[str]:
    """The same as lines."""
    rows = [("", "start", "end")]
    rows += [(label, "" if first is None else _said(first, sign), "" if last is None else _said(last, sign))
             for label, first, last, sign in _rows(run)]
    first, second = (max(12, *(len(row[column]) + 2 for row in rows)) for column in (1, 2))
    table = Columns("<28", f">{first}", f">{second}", indent=0)
    return [table.row(*row) for row in rows]


def _said(values: FloatArray, sign: str = "") -> str:
    """A number, or the median of several with a band that 5 % of them are below and 5 % above."""
    low, middle, high = (f"{x:{sign}.4g}" for x in np.quantile(values, (0.05, 0.5, 0.95)))
    return middle if low == high else f"{middle} [{low}, {high}]"


def shown(run: Training) -> tuple[Section, ...]:
    """The sections of its page."""
    picture = Picture(title="Mean length, what it buys, and accuracy over the run", alt=run.verdict, draw=run.plot)
    whom = [(label.strip(), _cell(first, sign), _cell(last, sign)) for label, first, last, sign in _rows(run)]
    low, high = run.range
    sure: list[Part] = [Points(items=run.undecided)] if run.undecided else []
    if not np.isnan(low):
        sure.append(Text(text=f"Along the updates of this run the drift of mean length is {low:+.3g} to {high:+.3g} "
                              f"{MEANT}, over plausible kernels and all steps."))
    if run.doubts:
        sure.append(doubted(float("nan"), run.doubts))
    given = {"scheme": " · ".join(run.scheme.slots), "start": repr(run.start),
             "moves": short(run.start.coordinates), "method": run.provenance["method"].replace("_", " ")}
    ask = "ls.stops(scheme, policy) finds the values at which mean length no longer drifts, or which reach a length."
    return (Section(title=WHOM, parts=(picture, Table(title="", columns=("", "start", "end"), rows=tuple(whom)))),
            Section(title=SURE, parts=tuple(sure), folded=True),
            Section(title=FAST, parts=_fast(run), folded=True), changing(run.doubts, ask), assumed(run.notes, given))


def _cell(values: FloatArray | None, sign: str) -> Cell:
    """A number over replicates in a table."""
    return "" if values is None else Number(value=float(np.median(values)), text=_said(values, sign))


def _fast(run: Training) -> tuple[Part, ...]:
    """How far the mean step went."""
    steps = max(run.steps, 1)
    length, nats = (float(np.median(x)) for x in (run.length[-1] - run.length[0], run.kl_to_start[-1]))
    rows = (("steps", figure(run.steps, ",")), ("tokens in the mean step", figure(length / steps, "+.3g")),
            ("KL to the start after them (nats)", figure(nats, ".3g")))
    return (Table(title="", columns=("", "value"), rows=rows),)


def columns(run: Training) -> dict[str, Any]:
    """A row for the start and for each step, and for each replicate where there are several.

    What is of a step stands in the row after it, NaN at the start.
    """
    count = run.steps + 1
    shape = (count, run.replicates or 1)
    step, replicate = np.indices(shape)
    made: dict[str, Any] = {"step": step.ravel()}
    if run.replicates is not None:
        made["replicate"] = replicate.ravel()
    for name in AFTER:
        made[name] = _spread(getattr(run, name), shape).ravel()
    for name in DURING:
        made[name] = np.vstack([np.full((1, shape[1]), np.nan), _spread(getattr(run, name), (run.steps, shape[1]))]
                               ).ravel()
    return made


def _spread(values: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Numbers by step, or by step and replicate, by both."""
    return np.broadcast_to(values if values.ndim == 2 else values[:, None], shape)
