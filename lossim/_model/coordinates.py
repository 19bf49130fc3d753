"""What training moves: coordinates θ with logits linear in them, or the kernel K = ΦΦᵀ as numbers.

A kernel maps a gradient in the logits (stops [cell, t], paths [path], skills [cell]) to coordinates (``pull``), and a
move of the coordinates back to a move of the logits (``push``); push(pull(g)) = K·g. As features, coordinates are θ. As
numbers they are the logits at the knots, and pull is K·g there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from lossim._model.layout import Layout
from lossim._support import checks
from lossim._support.records import Record
from lossim._support.types import ArrayLike, FloatArray, IntArray

__all__ = ["Coordinates", "Features", "Kernel", "Logits", "Motion", "coordinates", "kernel"]

SHARING, CLASS_SHARING, PATH_SCALE = 0.95, 0.85, 1.0
"""Defaults of :func:`coordinates`, as ``validation/kernel/README.md`` derives them."""


class Logits(NamedTuple):
    """A number for each logit of a policy: a gradient, or a move.

    ``stops`` [..., cell, t] for the log-odds to stop, ``paths`` [..., path] for the choice of the path, ``skills``
    [..., cell] for the log-odds to be correct, at all ends of the cell alike.
    """

    stops: FloatArray
    paths: FloatArray
    skills: FloatArray


class Motion(Protocol):
    """Coordinates laid out for one policy."""

    def pull(self, stops: FloatArray, paths: FloatArray, skills: FloatArray) -> FloatArray:
        """A gradient in the logits, by the parts of :class:`Logits`, as the move [..., coordinate] that it makes."""

    def push(self, move: FloatArray) -> Logits:
        """A move [..., coordinate] as the move of the logits."""

    @property
    def size(self) -> int:
        """Number of coordinates."""

    @property
    def largest(self) -> float:
        """About the largest entry of the kernel."""

    @property
    def path_scale(self) -> float:
        """Kernel of the log-odds of two paths where it is assumed; 0 where the cross terms are known."""

    @property
    def skill_scale(self) -> float:
        """Kernel of the log-odds to be correct in one cell; 0 where skill stays."""


class Coordinates(Protocol):
    """What ``Policy(coordinates=...)`` takes."""

    def lay_out(self, layout: Layout) -> Motion:
        """The coordinates of a policy with these cells; raises ValueError if they do not fit."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Features:
    """Position bins, shared between cells: see :func:`coordinates`. Prints all that is not left at its default."""

    bins: int | Literal["table"] = 1
    edges: tuple[float, ...] | None = None
    sharing: float = SHARING
    class_sharing: float = CLASS_SHARING
    path_scale: float = PATH_SCALE
    skill_scale: float = 0.0

    def __post_init__(self) -> None:
        if not (isinstance(self.bins, str) and self.bins == "table"):
            bins = checks.whole("bins", self.bins, fix="for one coordinate per position use bins='table'")
            object.__setattr__(self, "bins", bins)
        checks.keep(self, "sharing", checks.probability)
        checks.keep(self, "class_sharing", checks.probability)
        checks.keep(self, "path_scale", checks.at_least, 0.0)
        checks.keep(self, "skill_scale", checks.at_least, 0.0)
        if self.edges is None:
            return
        array = checks.number_array("edges", self.edges, ndim=1, low=1.0)
        if len(array) < 2 or array[0] != 1 or (np.diff(array) <= 0).any():
            checks.fail("edges", array.tolist(), "must increase from 1 and have at least two entries")
        if self.bins not in (1, len(array) - 1):
            checks.fail("bins", self.bins, "cannot be given together with edges", "leave one of them out")
        object.__setattr__(self, "bins", len(array) - 1)
        object.__setattr__(self, "edges", tuple(float(edge) for edge in array))

    def __repr__(self) -> str:
        always = ("bins", "edges", "sharing", "class_sharing", "path_scale")
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(self)
                 if each.name in always or getattr(self, each.name) != each.default]
        return f"Features({', '.join(shown)})"

    @lru_cache(maxsize=16)  # noqa: B019  (values of a few numbers)
    def lay_out(self, layout: Layout) -> Motion:
        """Bins as the first position of each, and what cells and paths share as features."""
        starts = self._starts(layout.max_tokens)
        shared, across = self.sharing, self.class_sharing
        cell, path = np.arange(layout.cells), np.arange(layout.paths)
        # κ^[other role] ν^[other class], by all cells, those of one role, those of one class, and the cell itself.
        cells = _features((shared * across, np.zeros_like(cell)), ((1.0 - shared) * across, layout.role_of_cell),
                          (shared * (1.0 - across), layout.class_of_cell), ((1.0 - shared) * (1.0 - across), cell))
        paths = _features((across, layout.name_of_path), (1.0 - across, path))
        learns = self.skill_scale > 0
        return _FeatureMotion(
            starts=starts, widths=np.diff(np.append(starts, layout.max_tokens)), cells=cells,
            paths=np.sqrt(self.path_scale / 2.0) * paths,
            skills=np.sqrt(self.skill_scale) * cells[:None if learns else 0],
            path_scale=self.path_scale, skill_scale=self.skill_scale)

    def _starts(self, max_tokens: int) -> IntArray:
        """The first position of each bin, counted from 0; bins without a position are left out."""
        if self.bins == "table":
            return np.arange(max_tokens)
        if self.edges is not None:
            inner = np.ceil(self.edges[1:-1])
        else:
            even = np.geomspace(1, max_tokens + 1, self.bins + 1)
            inner = np.ceil(even[1:-1] - 1e-9)
        first = inner.astype(np.int64) - 1
        return np.unique(np.concatenate([[0], first[first < max_tokens]]))


class _FeatureMotion(Record):
    """The features Φ as sums over bins and over cells.

    ``cells`` [feature, cell] are those of stop logits, in each bin; ``paths`` [feature, path] and ``skills``
    [feature, cell] those of the others. In a row of coordinates they stand in this order, [feature · bin] first.
    """

    starts: IntArray
    widths: IntArray
    cells: FloatArray
    paths: FloatArray
    skills: FloatArray
    path_scale: float
    skill_scale: float

    @property
    def size(self) -> int:
        return len(self.starts) * len(self.cells) + len(self.paths) + len(self.skills)

    @property
    def largest(self) -> float:
        return max(1.0, self.skill_scale)

    def pull(self, stops: FloatArray, paths: FloatArray, skills: FloatArray) -> FloatArray:
        binned = np.add.reduceat(stops, self.starts, axis=-1)
        moved = (self.cells @ binned).reshape(*paths.shape[:-1], -1)
        return np.concatenate([moved, paths @ self.paths.T, skills @ self.skills.T], axis=-1)

    def push(self, move: FloatArray) -> Logits:
        bins = len(self.starts)
        stops, paths, skills = np.split(move, [bins * len(self.cells), self.size - len(self.skills)], axis=-1)
        binned = self.cells.T @ stops.reshape(*move.shape[:-1], len(self.cells), bins)
        if bins == 1:  # one number for all positions, which needs no place for each
            spread = np.broadcast_to(binned, (*binned.shape[:-1], int(self.widths[0])))
        else:
            spread = np.repeat(binned, self.widths, axis=-1)
        return Logits(spread, paths @ self.paths, skills @ self.skills)


def _features(*shares: tuple[float, IntArray]) -> FloatArray:
    """Φ [feature, item] with ΦᵀΦ = Σ share · 1[same number], as few features as that takes.

    Each share is a feature for every number; items that are alone, or the same together twice, need one feature.
    """
    found: dict[tuple[bool, ...], float] = {}
    for share, number in shares:
        if share > 0:
            for same in number == np.unique(number)[:, None]:
                found[tuple(same.tolist())] = found.get(tuple(same.tolist()), 0.0) + share
    roots = np.sqrt(list(found.values()))
    items = len(shares[0][1])
    return roots[:, None] * np.array(list(found), dtype=np.float64).reshape(len(found), items)


def coordinates(bins: int | Literal["table"] = 1, *, edges: ArrayLike | None = None,
                sharing: float = SHARING, class_sharing: float = CLASS_SHARING, path_scale: float = PATH_SCALE,
                skill_scale: float = 0.0) -> Features:
    """Coordinates as features: bins of positions, partly shared between cells.

    The kernel between the stop logits of two cells is κ^[other path or state] · ν^[other class] within a bin, with κ
    the ``sharing`` and ν the ``class_sharing``, and 0 across bins. Path logits are shared between classes by ν, by
    path name, and the log-odds of two paths of one class have kernel ``path_scale``. The defaults
    are those of a pretrained language model of 135 million parameters at its start (flat over positions, 0.95 and
    0.85), and for the path scale between its first token's and that of a small network (1).

    Args:
        bins: number of bins, evenly spaced in log position from 1 to max_tokens; ``"table"``: each position its own.
        edges: bin edges as positions, increasing from 1: bin b covers edges[b] <= t < edges[b+1], and the last bin
            runs to max_tokens. Instead of ``bins``.
        sharing: κ in [0, 1], between two paths of a class, or two states of a path.
        class_sharing: ν in [0, 1], between classes, and between their choices of the path.
        path_scale: ≥ 0; how fast paths move compared with stopping. 0 freezes them.
        skill_scale: ≥ 0; how fast the log-odds of being correct in a cell, at the same length, move compared with
            stopping: what content learns. Shared between cells as stopping is. 0: content stays as it is. Nobody has
            measured it well: a small network gained a fifth to four fifths of its accuracy so. 0.08 to 0.7 is a range
            to look at: where two paths differ by 0.4 in accuracy, content makes 1/4 to 3/4 of the gain.

    Raises:
        ValueError: a value is out of its range; the message names the rule.

    >>> coordinates(bins=8, sharing=0.0)
    Features(bins=8, edges=None, sharing=0.0, class_sharing=0.85, path_scale=1.0)
    """
    return Features(bins=bins, edges=edges, sharing=sharing, class_sharing=class_sharing,  # type: ignore[arg-type]
                    path_scale=path_scale, skill_scale=skill_scale)


@dataclass(frozen=True, eq=False, kw_only=True)
class Kernel:
    """A kernel as numbers: see :func:`kernel`."""

    stops: FloatArray
    positions: FloatArray
    paths: FloatArray
    cross: FloatArray
    matrix: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        block = checks.number_array("stops", self.stops, ndim=4)
        knots = checks.number_array("positions", self.positions, ndim=1, low=1.0)
        if not len(knots) or (np.diff(knots) <= 0).any():
            checks.fail("positions", knots.tolist(), "must hold at least one knot and increase")
        cells = block.shape[0]
        if block.shape != (cells, len(knots), cells, len(knots)):
            checks.fail("stops", block.shape, f"must have shape [cell, knot, cell, knot] with {len(knots)} knots")
        odds = np.zeros((0, 0)) if self.paths is None else checks.number_array("paths", self.paths, ndim=2)
        nothing = np.zeros((len(odds), cells, len(knots)))
        between = nothing if self.cross is None else checks.number_array("cross", self.cross, ndim=3)
        if odds.shape != (len(between), len(between)) or between.shape[1:] != (cells, len(knots)):
            checks.fail("cross", between.shape, f"must have shape [log-odds, {cells}, {len(knots)}] with as many "
                        f"log-odds as paths, whose shape is {odds.shape}")
        size = cells * len(knots)
        flat = between.reshape(len(odds), size)
        matrix = np.block([[block.reshape(size, size), flat.T], [flat, odds]])
        scale = float(np.abs(matrix).max(initial=0.0))
        worst = float(np.abs(matrix - matrix.T).max(initial=0.0))
        if worst > 1e-5 * scale:
            checks.fail("kernel", worst, f"must be symmetric to within {1e-5 * scale:.3g} (the largest difference of "
                        "mirrored entries is shown)", "average it with its transpose")
        matrix = (matrix + matrix.T) / 2.0
        lowest, highest = np.linalg.eigvalsh(matrix)[[0, -1]] if len(matrix) else (0.0, 0.0)
        if lowest < -1e-5 * max(highest, 0.0) or highest < 0:
            checks.fail("kernel", float(lowest), "must be positive semi-definite: its smallest eigenvalue is shown and "
                        f"its largest is {highest:.4g}", "check signs, and that cross is not larger than both allow")
        made = {"stops": block, "positions": knots, "paths": odds, "cross": between, "matrix": matrix}
        for name, value in made.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def lay_out(self, layout: Layout) -> _KernelMotion:
        """Match the numbers to the policy's cells and log-odds."""
        cells = len(self.stops)
        if cells != layout.cells:
            checks.fail("kernel stops", self.stops.shape, f"must have one row per cell, and the policy has "
                        f"{layout.cells} cells", "cells are the paths of all classes in order, with both states of "
                        "a path with work")
        last = np.append(layout.class_of_path[1:] != layout.class_of_path[:-1], True)
        log_odds = np.flatnonzero(~last)[:None if len(self.paths) else 0]
        if len(self.paths) != len(log_odds):
            checks.fail("kernel paths", self.paths.shape, f"must have one row per path log-odds, and the policy has "
                        f"{len(log_odds)}", "each path but the last of its class counts, against that last one; leave "
                        "it out to freeze the paths")
        t = np.arange(1.0, layout.max_tokens + 1.0)
        hats = np.array([np.interp(t, self.positions, row) for row in np.eye(len(self.positions))])
        return _KernelMotion(matrix=self.matrix, hats=hats, log_odds=log_odds, cells=cells, paths=layout.paths)


class _KernelMotion(Record):
    """K at the knots; ``hats`` [knot, t] are the weights of linear interpolation between them."""

    matrix: FloatArray
    hats: FloatArray
    log_odds: IntArray
    cells: int
    paths: int
    path_scale: float = 0.0
    skill_scale: float = 0.0

    @property
    def size(self) -> int:
        return len(self.matrix)

    @property
    def largest(self) -> float:
        return float(np.abs(self.matrix).max(initial=0.0))

    def pull(self, stops: FloatArray, paths: FloatArray, skills: FloatArray) -> FloatArray:
        return self._at_knots(stops, paths) @ self.matrix

    def _at_knots(self, stops: FloatArray, paths: FloatArray) -> FloatArray:
        """A gradient in the coordinates, before the kernel, [..., coordinate]."""
        at_knots = (stops @ self.hats.T).reshape(*paths.shape[:-1], -1)
        return np.concatenate([at_knots, paths[..., self.log_odds]], axis=-1)

    def push(self, move: FloatArray) -> Logits:
        knots = self.cells * len(self.hats)
        at_knots = move[..., :knots].reshape(*move.shape[:-1], self.cells, len(self.hats))
        paths = np.zeros((*move.shape[:-1], self.paths))
        paths[..., self.log_odds] = move[..., knots:]
        return Logits(at_knots @ self.hats, paths, np.zeros((*move.shape[:-1], self.cells)))


class _KernelMotions(_KernelMotion):
    """Those of several policies with the same knots; ``matrix`` is [policy, coordinate, coordinate]."""

    @property
    def size(self) -> int:
        return self.matrix.shape[-1]

    @property
    def largest(self) -> Any:
        """Of each, [policy]."""
        return np.abs(self.matrix).max(axis=(-2, -1), initial=0.0)

    def pull(self, stops: FloatArray, paths: FloatArray, skills: FloatArray) -> FloatArray:
        return (self._at_knots(stops, paths)[:, None] @ self.matrix)[:, 0]


def kernels_side_by_side(policies: Sequence[Kernel], layout: Layout) -> Motion:
    """Kernels of numbers with the same knots, each of one of several policies with the same cells, as one motion."""
    motion = policies[0].lay_out(layout)
    return _KernelMotions(matrix=np.stack([each.matrix for each in policies]), hats=motion.hats,
                          log_odds=motion.log_odds, cells=motion.cells, paths=motion.paths)


def kernel(stops: ArrayLike, *, positions: ArrayLike, paths: ArrayLike | None = None, cross: ArrayLike | None = None
           ) -> Kernel:
    """Coordinates as a measured kernel: inner products of parameter gradients of a network's log-odds.

    Args:
        stops: [cell, knot, cell, knot]: the stop token's log-odds; linear between knots, constant beyond the ends.
        positions: [knot], increasing, ≥ 1.
        paths: [log-odds, log-odds]: each path but the last of its class against that one, in order.
            Left out, paths do not move.
        cross: [log-odds, cell, knot]: between both. Left out, zero.

    Raises:
        ValueError: not symmetric, or with an eigenvalue below -1e-5 of the largest (measured kernels carry rounding),
            or of a shape that does not fit.

    >>> k = kernel(np.full((1, 1, 1, 1), 140.0), positions=[1])
    >>> k.matrix.shape
    (1, 1)
    """
    return Kernel(stops=stops, positions=positions, paths=paths, cross=cross)  # type: ignore[arg-type]
