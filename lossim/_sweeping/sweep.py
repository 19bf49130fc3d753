"""The front door: a function computed over a grid of names and values."""

from __future__ import annotations

import numbers
import os
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np

from lossim._engine import Pace, describe_scheme, versions
from lossim._support import checks
from lossim._support.executors import checked_executor, completed
from lossim._support.progress import Progress
from lossim._surveying import CRITICS
from lossim._sweeping.cells import Answer, Axis, Chunk, Plan, answered
from lossim._sweeping.pins import pins
from lossim._sweeping.places import Names, Place, parameters
from lossim._sweeping.result import Sweep
from lossim._sweeping.store import Store
from lossim.policies import Policy
from lossim.schemes import Scheme, compare, short

CHUNK = 16
"""Cells that are sent to a worker at once, at most."""
CHUNKS = 64
"""Chunks that there are at least, as far as there are cells."""
MOST_CELLS = 1 << 24


def sweep(function: Callable[..., Any], grid: Mapping[str, Any], *, scheme: Scheme | Sequence[Scheme] | None = None,
          start: Callable[..., Policy] | Policy | None = None, executor: Executor | None = None,
          store: str | os.PathLike[str] | None = None, progress: bool = False, seed: int | None = None, **known: Any
          ) -> Sweep:
    """Compute a function in every cell of a grid: which way does length go where?

    Each axis of the grid is a name with values. A name is looked for in this order: an argument of ``start``
    (``max_tokens``, ``solve_rate``); an argument of :func:`lossim.coordinates` (``sharing``, ``path_scale``); an
    argument of ``function`` (``pace``, ``steps``, ``kernels``); a slot of the scheme (``group_size``, ``truncation``);
    a field deeper in the scheme (``gae_lambda``, ``critic``). A dotted name says which is meant where several have one
    (``reward.truncated``, ``KL.coefficient``); two fields of a scheme that could be meant are refused.

    Args:
        function: :func:`lossim.drift`, :func:`lossim.train`, or any function that takes what there is of (scheme,
            policy) and the names of its own as keywords, and returns a number, an `Estimate`, a mapping of names to
            numbers (the first is the answer), or a result of ``drift``, ``length_drift`` or ``train``. One that has an
            attribute ``many``, a function that takes a list of policies and returns a list of results, is asked by it
            for cells that differ in their policies alone: :func:`lossim.length_drift`, where length is all that is
            asked.
        grid: by name the values, in a sequence or a 1-d array; the first axis is the slowest.
        scheme: what the trainer does; several are an axis called ``scheme``, the first.
        start: a function that returns a policy, or a policy.
        executor: any :class:`concurrent.futures.Executor`: threads, processes (which must be able to pickle what is
            given), ``client.get_executor()`` of dask, ... The result is the same to the last bit whoever computes it,
            in whatever order.
        store: a file that keeps every cell as soon as it is computed: JSON lines. The same call with the same file goes
            on where a killed one stopped; cells that were with the executor are lost, those that failed tried again.
        progress: report cells on stderr.
        seed: each cell then gets ``rng=``, a stream by this and by the number of the cell; of a function that draws.
        known: by name, what is the same in all cells.

    A number for ``pace`` is nats of KL a step, a word for ``critic`` one of "zero", "class mean", "exact", "lagging".

    Returns:
        A :class:`Sweep`: ``.values`` by name as arrays over the axes, ``.sign`` and whether it is ``.decided``, the
        range ``.low`` to ``.high`` over what is not known, ``.map(x, y)``, ``.to_dataframe()``. Cells that raised are
        in ``.failures``, with their inputs.

    Raises:
        ValueError: a name that stands nowhere or in several places, values that are none, a store of another sweep
            (what differs is named), or every cell failed.

    >>> import lossim as ls
    >>> swept = ls.sweep(ls.drift, {"gae_lambda": [0.9, 1.0], "solve_rate": [0.2, 0.5, 0.8]}, scheme=ls.schemes.ppo(
    ...     critic=ls.critics.Zero()), start=ls.policies.two_paths, right=ls.lengths.geometric(mean=100),
    ...     wrong=ls.lengths.geometric(mean=200), max_tokens=1024)
    >>> print(swept.verdict)
    shorter in 4 of 6 cells, longer in 1, undecided in 1; -20.88 to +23.27 tokens in a step of 0.01 nats
    >>> swept.values["length_per_kl"].shape
    (2, 3)
    """
    plan = _plan(function, grid, scheme, start, seed, known)
    checked_executor(executor)
    checks.flag("progress", progress)
    count = prod(plan.shape)
    kept = None if store is None else Store(store, pins(plan))
    with nullcontext() if kept is None else kept:
        answers = _computed(plan, count, executor, kept, progress)
    if all(answer.failed for answer in answers):
        checks.fail("grid", plan.inputs(0), f"must have a cell that can be computed: all {count:,} failed, the first "
                    f"(shown) by: {answers[0].message}", "change what stands in the way")
    provenance = {"function": plan.called, "seed": seed, "versions": versions(),
                  "start": None if start is None else getattr(start, "__name__", repr(start)),
                  "schemes": [describe_scheme(each) for each in plan.schemes],
                  "known": {place.full: short(value) for place, value in plan.known}}
    return Sweep.of(plan, answers, provenance=provenance, notes=() if kept is None else kept.notes)


def _computed(plan: Plan, count: int, executor: Executor | None, store: Store | None, progress: bool) -> list[Answer]:
    """The answers of all cells, in order."""
    found = {} if store is None else dict(store.answers)
    chunks = _chunks(plan, found)
    failed = 0
    with Progress(progress) as report:
        for _, computed in completed(answered, chunks, executor):
            some = [answer for answer in computed if answer.cell not in found]
            found |= {answer.cell: answer for answer in some}
            failed += sum(bool(answer.failed) for answer in some)
            if store is not None:
                store.add(some)
            report.say(f"sweep: {len(found):,} of {count:,} cells{f', {failed:,} failed' if failed else ''}")
    return [found[cell] for cell in range(count)]


def _chunks(plan: Plan, found: Container[int]) -> list[Chunk]:
    """What is left to compute. Cells that are answered together stay with their mates, found or not.

    So numbers do not depend on what a killed sweep had done.
    """
    order = plan.order
    if plan.together:
        chunks = [order[first:first + CHUNK] for first in range(0, len(order), CHUNK)]
        return [Chunk(plan=plan, cells=tuple(cells)) for cells in chunks if any(cell not in found for cell in cells)]
    left = [cell for cell in order if cell not in found]
    size = min(CHUNK, max(1, len(left) // CHUNKS))
    return [Chunk(plan=plan, cells=tuple(left[first:first + size])) for first in range(0, len(left), size)]


# --- from what a user gives to a plan -----------------------------------------------------------------------------


def _plan(function: Any, grid: Any, scheme: Any, start: Any, seed: Any, known: Mapping[str, Any]) -> Plan:
    """Everything checked, every name with its place."""
    if not callable(function):
        checks.fail("function", function, "must be a function", "for example lossim.drift", TypeError)
    checks.of_kind("grid", grid, Mapping, "a mapping of names to values", "for example {'solve_rate': [0.2, 0.5]}")
    given: dict[str, Any] = dict(grid)
    if "scheme" in given and scheme is None:
        scheme = given.pop("scheme")
    schemes = _schemes(scheme)
    if start is not None and not (callable(start) or isinstance(start, Policy)):
        checks.fail("start", start, "must be a policy, or a function that returns one",
                    "for example policies.two_paths", TypeError)
    names = Names(start=parameters(start) if start is not None and not isinstance(start, Policy) else ({}, False),
                  function=_own_arguments(function, bool(schemes) + (start is not None), seed),
                  coordinates=start is not None, schemes=schemes)
    axes = [_axis(name, names.place(name), values) for name, values in given.items()]
    if len(schemes) > 1 or (scheme is not None and not isinstance(scheme, Scheme)):
        axes.insert(0, Axis(name="scheme", place=None, values=schemes, shown=_called(schemes)))
    if not axes:
        checks.fail("grid", given, "must have at least one axis", "for example {'solve_rate': [0.2, 0.5]}")
    placed = ((names.place(name), value) for name, value in known.items())
    fixed = tuple((place, _value(place, value)) for place, value in placed)
    _check_places(names, [axis.place for axis in axes if axis.place is not None] + [place for place, _ in fixed])
    plan = Plan(function=function, start=start, schemes=schemes, axes=tuple(axes), known=fixed, seed=seed)
    if prod(plan.shape) > MOST_CELLS:
        checks.fail("grid", plan.shape, f"must have at most {MOST_CELLS:,} cells (its shape is shown)")
    return plan


def _schemes(given: Any) -> tuple[Scheme, ...]:
    """The schemes that were given."""
    if given is None:
        return ()
    if isinstance(given, Scheme):
        return (given,)
    schemes = checks.members("scheme", given, Scheme, "schemes", "for example [schemes.grpo(), schemes.dr_grpo()]")
    if not schemes:
        checks.fail("scheme", given, "must hold at least one scheme")
    return schemes


def _called(schemes: Sequence[Scheme]) -> tuple[str, ...]:
    """A name for each scheme: its own, with the slots in which it differs from another of that name before it."""
    named: dict[str, Scheme] = {}
    for scheme in schemes:
        name = scheme.name
        if name in named:
            pairs = compare(named[name], scheme)
            name += f" ({', '.join(f'{slot} {short(other)}' for slot, (_, other) in pairs.items())})"
        if name in named:
            checks.fail("scheme", name, "must hold every scheme once")
        named[name] = scheme
    return tuple(named)


def _own_arguments(function: Callable[..., Any], subjects: int, seed: int | None) -> tuple[dict[str, bool], bool]:
    """The arguments of the function beside the scheme and the policy, which are its first, and the rng."""
    if seed is not None:
        checks.whole("seed", seed, low=0)
    arguments, anything = parameters(function)
    own = dict(list(arguments.items())[subjects:])
    needs = own.pop("rng", None)
    if seed is not None and needs is None and not anything:
        checks.fail("seed", seed, "is for a function that takes rng", "leave it out")
    if seed is None and needs:
        checks.fail("seed", seed, "must be given for a function that draws", "for example seed=0")
    own.pop("progress", None)
    return own, anything


def _axis(name: str, place: Place, given: Any) -> Axis:
    """A name with its values, checked."""
    if isinstance(given, np.ndarray) or hasattr(given, "to_numpy"):
        given = np.asarray(given).tolist()
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        checks.fail(f"grid[{name!r}]", given, "must be a sequence of values", "what is the same in all cells goes "
                    "beside the grid, as a keyword", TypeError)
    values = [value.item() if isinstance(value, np.generic) else value for value in given]
    if not values:
        checks.fail(f"grid[{name!r}]", given, "must hold at least one value")
    numeric = all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values)
    shown = tuple(values if numeric else [value if isinstance(value, str) else short(value) for value in values])
    if len(set(shown)) < len(shown):
        checks.fail(f"grid[{name!r}]", list(shown), "must hold every value once")
    return Axis(name=name, place=place, values=tuple(_value(place, value) for value in values), shown=shown)


def _value(place: Place, given: Any) -> Any:
    """What is passed for a value: a critic by its name, a pace by its nats."""
    last = place.name.rpartition(".")[2]
    if last == "critic" and isinstance(given, str):
        return CRITICS[checks.choice("critic", given, CRITICS)]
    if place.owner == "function" and last == "pace" and isinstance(given, numbers.Real):
        return Pace(by="kl", per_step=float(given))
    return given


def _check_places(names: Names, places: Sequence[Place]) -> None:
    """Refuse two names for one place, coordinates beside their parts, and an argument that is missing."""
    full = [place.full for place in places]
    for place in full:
        if full.count(place) > 1:
            checks.fail("grid", place, "must be given once (the place is shown)")
    moved = [place.name for place in places if place.owner == "coordinates"]
    if "start.coordinates" in full and moved:
        checks.fail("grid", moved[0], "cannot be given together with coordinates of the start", "leave one of them out")
    for owner, (arguments, _) in (("start", names.start), ("function", names.function)):
        missing = [name for name, needed in arguments.items() if needed and f"{owner}.{name}" not in full]
        if missing:
            checks.fail("grid", full, f"must also have {', '.join(missing)}, which the {owner} needs (what there is is "
                        "shown)", "give values in the grid, or one value beside it, as a keyword")

