"""Kernels that a network may have: a family of them, for what hangs on one that nobody has measured.

Stop logits of two cells at two positions, with t₀ a typical length and ρ one number for each member of the family:

    K = a a' · κ^[other path or state] · ν^[other class] · (t t'/t₀²)^(d/2) · exp(-|log t - log t'|/ℓ) ,

path logits with half the path scale, shared between classes by ν, and cross terms x in units of the geometric mean of
both. A product of kernels is a kernel, and a gradient meets it factor by factor: over knots in the logarithm of the
position, between which it is linear, all members together cost what one pass over the gradient costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtri

from lossim._model.coordinates import Kernel
from lossim._model.knots import Knots
from lossim._model.layout import Layout
from lossim._support import checks
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

__all__ = ["Kernels", "KnotMoves", "Members", "kernels"]

NEARLY = 1e-7
"""What is added to the diagonal of matrices that may be singular."""

Range = tuple[float, float]


def _range(name: str, value: Any, low: float, high: float) -> Range:
    """Two numbers within bounds, the lower one first."""
    first, last = checks.pair(name, value, "must hold the lowest and the highest value", low)
    if not low <= first <= last <= high:
        checks.fail(name, value, f"must increase and lie in [{low:g}, {high:g}]")
    return first, last


@dataclass(frozen=True, kw_only=True)
class Kernels(checks.Checked):
    """A family of plausible kernels: see :func:`kernels`."""

    count: int = 64
    sharing: Range = (0.7, 1.0)
    class_sharing: Range = (0.55, 1.0)
    path_scale: Range = (0.3, 4.0)
    position_scale: Range = (3.0, 16.0)
    slope: Range = (-0.6, 0.1)
    amplitude: Range = (0.75, 1.15)
    cross: float = 0.18
    cross_by_cell: float = 0.01
    seed: int = 0
    _rules: ClassVar = {
        "count": (checks.whole, 2), "sharing": (_range, 0.0, 1.0), "class_sharing": (_range, 0.0, 1.0),
        "path_scale": (_range, 0.0, 1e6), "position_scale": (_range, 1e-3, 1e6), "slope": (_range, -2.0, 2.0),
        "amplitude": (_range, 1e-3, 1e3), "cross": (checks.probability,), "cross_by_cell": (checks.probability,),
        "seed": (checks.whole, 0)}

    def lay_out(self, layout: Layout, *, frozen_paths: bool = False) -> Members:
        """The members for the cells of a policy; with ``frozen_paths`` the choice of the path does not move."""
        role = layout.role_of_cell
        name = layout.name_of_path
        numbers = (role, layout.class_of_cell, name, layout.class_of_path)
        drawn = _drawn(self, layout.max_tokens, *(tuple(each.tolist()) for each in numbers))
        if frozen_paths:
            drawn = drawn | {"path_scale": np.zeros(self.count)}
        return Members(layout=layout, role=role, name=name, **drawn)

    def law(self, part: str) -> str:
        """The law of a part of the members, in words."""
        drawn = getattr(self, part)
        if not isinstance(drawn, tuple):
            return f"0 ± {drawn:g}"
        low, high = drawn
        even = "" if part in _LINEAR or low == 0 else " (log)"
        return f"{low:g}" if low == high else f"{low:g} to {high:g}{even}"


_LINEAR = ("sharing", "class_sharing", "slope")
"""Parts that are drawn evenly in themselves; the others in their logarithm."""


@lru_cache(maxsize=8)
def _drawn(family: Kernels, max_tokens: int, role: tuple[int, ...], class_of_cell: tuple[int, ...],
           name: tuple[int, ...], class_of_path: tuple[int, ...]) -> dict[str, FloatArray]:
    """What members are made of, [member, ...], kept for starts with the same cells."""
    rng = np.random.default_rng(family.seed)
    roles = max(role) + 1
    names = max(name) + 1
    u = _even(rng, 4 + roles + names, family.count)
    found = {"sharing": _linear(family.sharing, u[0]), "class_sharing": _linear(family.class_sharing, u[1]),
             "path_scale": _log_even(family.path_scale, u[2]),
             "position_scale": _log_even(family.position_scale, u[3]), "slope": _linear(family.slope, u[4])}
    amplitude = np.ones((family.count, roles))
    amplitude[:, 1:] = _log_even(family.amplitude, u[5:4 + roles]).T
    found["amplitude"] = amplitude[:, role]
    # What differs between cells is shared between them as stopping is, or the whole were no kernel.
    apart = _shared_alike(rng, (1.0 - found["sharing"], 1.0 - found["class_sharing"]),
                          (np.array(role), np.array(class_of_cell)), names)
    cross = family.cross * ndtri(u[4 + roles:]).T[:, :, None] + family.cross_by_cell * apart
    cells = _shared(found["sharing"], np.array(role)) * _shared(found["class_sharing"], np.array(class_of_cell))
    paths = _shared(found["class_sharing"], np.array(class_of_path)) * np.equal.outer(name, name)
    log_knots = np.log(Knots.of(max_tokens).positions)
    most = _largest_of_cross(cross[:, name], cells, paths, log_knots, found["position_scale"])
    found["cross"] = cross / np.maximum(1.0, np.sqrt(most))[:, None, None]
    for drawn in found.values():
        drawn.setflags(write=False)
    return found


def kernels(count: int = 64, *, sharing: Range = (0.7, 1.0), class_sharing: Range = (0.55, 1.0),
            path_scale: Range = (0.3, 4.0), position_scale: Range = (3.0, 16.0), slope: Range = (-0.6, 0.1),
            amplitude: Range = (0.75, 1.15), cross: float = 0.18, cross_by_cell: float = 0.01, seed: int = 0
            ) -> Kernels:
    """Kernels that a network may have, drawn evenly from ranges; what a result says of its sign is said over them.

    The ranges hold what was measured on two networks, one with 21,664 parameters and one pretrained with 135 million,
    and on that one under Adam, by the rule of ``validation/kernel/README.md``.

    Args:
        count: how many, at least 2.
        sharing: kernel between the stop logits of two paths of a class, or two states of a path, over that within one.
        class_sharing: the same between classes, and between their choices of the path.
        path_scale: kernel of the log-odds of two paths over that of a stop logit at a typical length, drawn evenly in
            its logarithm; 0 where the policy's coordinates freeze the paths.
        position_scale: ℓ, distance in log position at which the kernel between positions has fallen by e; likewise.
        slope: d, the kernel at one position grows as t^d.
        amplitude: stop logits of a path or state other than the first, over those of the first; likewise.
        cross: standard deviation of the cross terms between the choice of a path and stopping, in units of the
            geometric mean of both kernels; those that are larger than a kernel can have are cut to what it can.
        cross_by_cell: the same of what differs between cells.
        seed: of the draws.

    Raises:
        ValueError: a range that does not increase or leaves its bounds.

    >>> import lossim as ls
    >>> policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=50), max_tokens=512)
    >>> ls.drift(ls.schemes.dr_grpo(), policy, kernels=ls.kernels(16)).sign
    'nothing moves'
    """
    return Kernels(count=count, sharing=sharing, class_sharing=class_sharing, path_scale=path_scale,
                   position_scale=position_scale, slope=slope, amplitude=amplitude, cross=cross,
                   cross_by_cell=cross_by_cell, seed=seed)


def _shared(share: FloatArray, number: IntArray) -> FloatArray:
    """share^[other number], [member, i, i]."""
    return np.where(number[:, None] == number, 1.0, share[:, None, None])


def _largest_of_cross(cross: FloatArray, cells: FloatArray, paths: FloatArray, log_knots: FloatArray,
                      position_scale: FloatArray) -> FloatArray:
    """The largest eigenvalue of P⁻¹ X C⁻¹ Xᵀ / τ, [member]: with cross terms X the whole is a kernel up to 1.

    C is between cells, P between paths and 1/τ = 1ᵀT⁻¹1 with T between positions, e^{-|Δ log t|/ℓ} at the knots.
    """
    kept = np.exp(-np.diff(log_knots) / position_scale[:, None])
    inverse = 1.0 + ((1.0 - kept) / (1.0 + kept)).sum(axis=1)
    bare = [np.linalg.inv(each + NEARLY * np.eye(each.shape[-1])) for each in (cells, paths)]
    within = bare[1] @ cross @ bare[0] @ np.swapaxes(cross, 1, 2)
    return inverse * np.abs(np.linalg.eigvals(within)).max(axis=-1) * (1.0 + NEARLY)


def _even(rng: np.random.Generator, dimensions: int, count: int) -> FloatArray:
    """Numbers in (0, 1), [dimension, draw]: one in each of ``count`` equal parts, in an order of its own."""
    order = rng.permuted(np.tile(np.arange(count), (dimensions, 1)), axis=1)
    return (order + 0.5) / count


def _linear(bounds: Range, u: FloatArray) -> FloatArray:
    low, high = bounds
    return low + (high - low) * u


def _log_even(bounds: Range, u: FloatArray) -> FloatArray:
    """Evenly drawn in the logarithm; from 0 on evenly in the number itself."""
    low, high = bounds
    return low * (high / low) ** u if low > 0 else high * u


def _shared_alike(rng: np.random.Generator, own: tuple[FloatArray, FloatArray], numbers: tuple[IntArray, IntArray],
                  names: int) -> FloatArray:
    """Normal numbers [member, name, cell] that cells have in common as far as their role and their class are shared.

    ``own`` [member] is the share of the variance that differs between roles, and between classes.
    """
    by_role, by_class = (part[:, None, None] for part in own)
    role, of_class = numbers
    shape = (len(by_role), names)

    def normal(number: IntArray) -> FloatArray:
        return rng.standard_normal((*shape, int(number.max()) + 1))[:, :, number]

    return (np.sqrt(by_role * (1.0 - by_class)) * normal(role) + np.sqrt((1.0 - by_role) * by_class) * normal(of_class)
            + np.sqrt(by_role * by_class) * normal(np.arange(len(role))))


_DRAWN = ("sharing", "class_sharing", "path_scale", "position_scale", "slope", "amplitude", "cross")
"""What members are made of."""


class KnotMoves(Record):
    """Moves of all members: of stop logits at the knots, [..., member, cell, knot], and of paths, [..., member, path].
    """

    stops: FloatArray
    paths: FloatArray


class Members(Record):
    """A family of kernels laid out for the cells of a policy; numbers are [member] unless said otherwise.

    Or one family for each of several policies of these cells, whose numbers are [policy, member].

    Attributes:
        role: what a cell is in its class, [cell]: its path and its state.
        name: number of each path's name, [path].
        amplitude: [member, cell].
        cross: [member, name, cell].
    """

    layout: Layout
    role: IntArray
    name: IntArray
    sharing: FloatArray
    class_sharing: FloatArray
    path_scale: FloatArray
    position_scale: FloatArray
    slope: FloatArray
    amplitude: FloatArray
    cross: FloatArray

    @property
    def knots(self) -> Knots:
        """Where the kernels are told, and linear between."""
        return Knots.of(self.layout.max_tokens)

    # --- the kernel, factor by factor ---------------------------------------------------------------------------

    @cached_property
    def _nearness(self) -> FloatArray:
        """exp(-|log t - log t'|/ℓ), [member, knot, knot]."""
        logs = np.log(self.knots.positions)
        distance = np.abs(logs[:, None] - logs)
        return np.exp(-distance / self.position_scale[..., None, None])

    @cached_property
    def _crossing(self) -> FloatArray:
        """Kernel between path and stop logits over what the position adds, [member, path, cell]."""
        scale = np.sqrt(self.path_scale / 2.0)
        return scale[..., None, None] * self.cross[..., self.name, :] * self.amplitude[..., None, :]

    def _size(self, typical_length: float | FloatArray) -> FloatArray:
        """(t/t₀)^(d/2), [..., member, knot]."""
        return (self.knots.positions / np.asarray(typical_length)[..., None, None]) ** (self.slope[..., None] / 2.0)

    def move(self, stops: FloatArray, paths: FloatArray, typical_length: float | FloatArray) -> KnotMoves:
        """K·g of a gradient at the knots [..., cell, knot] and in the path logits [..., path] of policies [...].

        ``typical_length`` [...] is t₀ of each.
        """
        layout = self.layout
        shared = self.sharing[..., None, None]
        across = self.class_sharing[..., None, None]
        size = self._size(typical_length)[..., None, :]
        sized = size * stops[..., None, :, :]
        given = self.amplitude[..., None] * sized
        # κ^[other role] ν^[other class]: all cells, those of one role, those of one class, and the cell itself.
        everywhere = given.sum(axis=-2, keepdims=True)
        if layout.class_of_path[-1] == 0:
            mixed = shared * everywhere + (1.0 - shared) * given
        else:
            mixed = (shared * across * everywhere + (1.0 - shared) * across * _summed_by(given, self.role)
                     + shared * (1.0 - across) * _summed_by(given, layout.class_of_cell)
                     + (1.0 - shared) * (1.0 - across) * given)
        crossed = (paths[..., None, None, :] @ self._crossing)[..., 0, :]
        moved = (self.amplitude[..., None] * (mixed @ self._nearness) + crossed[..., None]) * size
        # Path logits: of one name, less between classes.
        paths = paths[..., None, :]
        same_name = _summed_by(paths[..., None], self.name)[..., 0]
        kept = self.class_sharing[..., None]
        chosen = kept * same_name + (1.0 - kept) * paths
        chosen *= self.path_scale[..., None] / 2.0
        chosen += (self._crossing @ sized.sum(axis=-1, keepdims=True))[..., 0]
        return KnotMoves(stops=moved, paths=chosen)

    # --- the members one by one ---------------------------------------------------------------------------------

    def one(self, number: int) -> Members:
        """The family of a single member, by its number."""
        return replace(self, **{part: getattr(self, part)[number:number + 1] for part in _DRAWN})

    @classmethod
    def side_by_side(cls, families: Sequence[Members]) -> Members:
        """The families of several policies with the same cells, and with as many members, as one."""
        drawn: dict[str, Any] = {part: np.stack([getattr(each, part) for each in families]) for part in _DRAWN}
        return replace(families[0], **drawn)

    @property
    def parts(self) -> dict[str, FloatArray]:
        """What tells the members apart, as far as these cells feel it, by name, [member].

        Amplitudes are those of each role over the first, and cross terms those of the log-odds of the first path of a
        class over each other, in units of the geometric mean, as a mean over cells.
        """
        layout = self.layout
        roles = dict(zip((" ".join(names[1:]) for names in reversed(layout.cell_names)),
                         range(layout.cells - 1, -1, -1), strict=True))
        (own, first), *others = sorted(roles.items(), key=lambda role: role[1])
        found = {}
        if others:
            found["sharing"] = self.sharing
        if layout.class_of_path[-1] > 0:
            found["class_sharing"] = self.class_sharing
        if layout.max_tokens > 1:
            found |= {"position_scale": self.position_scale, "slope": self.slope}
        for role, cell in others:
            found[f"amplitude of {role} over {own}"] = self.amplitude[:, cell] / self.amplitude[:, first]
        pairs = {layout.path_names[paths.start][1] + " over " + layout.path_names[other][1]: (paths.start, other)
                 for paths in layout.class_paths for other in range(paths.start + 1, paths.stop)}
        if pairs and self.path_scale.any():
            found["path_scale"] = self.path_scale
        for words, pair in pairs.items():
            one, other = (self.cross[:, self.name[path]] for path in pair)
            found[f"cross of {words}"] = (one - other).mean(axis=-1) / np.sqrt(2.0)
        return found

    def each(self, typical_length: float) -> Sequence[Kernel]:
        """The members as kernels of numbers, for what takes one at a time."""
        layout = self.layout
        last = np.append(np.diff(layout.class_of_path) != 0, True)
        odds = np.flatnonzero(~last)
        against = np.flatnonzero(last)[layout.class_of_path[odds]]
        between = (self.role[:, None] != self.role, layout.class_of_cell[:, None] != layout.class_of_cell)
        other_class = layout.class_of_path[:, None] != layout.class_of_path
        same_name = self.name[:, None] == self.name
        found = []
        size = self._size(typical_length)
        positions = self._nearness * size[:, :, None] * size[:, None]
        for member, (shared, across) in enumerate(zip(self.sharing, self.class_sharing, strict=True)):
            cells = np.where(between[0], shared, 1.0) * np.where(between[1], across, 1.0)
            cells *= np.multiply.outer(self.amplitude[member], self.amplitude[member])
            stops = np.einsum("cd,kl->ckdl", cells, positions[member])
            logits = np.where(other_class, across, 1.0) * same_name * self.path_scale[member] / 2.0
            paths = (logits[np.ix_(odds, odds)] - logits[np.ix_(odds, against)] - logits[np.ix_(against, odds)]
                     + logits[np.ix_(against, against)])
            crossing = np.einsum("pc,k->pck", self._crossing[member], size[member])
            found.append(Kernel(stops=stops, positions=self.knots.positions.astype(np.float64), paths=paths,
                                cross=crossing[odds] - crossing[against]))
        return found


def _summed_by(x: FloatArray, number: IntArray) -> FloatArray:
    """Each entry of [..., i, k] as the sum over all i of the same number."""
    same = (number[:, None] == np.unique(number)).astype(np.float64)
    return same @ (same.T @ x)
