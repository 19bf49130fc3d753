"""Where a name stands: an argument of the start, of its coordinates or of the function, or a field of the scheme."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_overloads

from lossim._model import Features
from lossim._support import checks
from lossim.schemes import Scheme, short

__all__ = ["MOVES", "Names", "Place", "parameters", "put"]

MOVES = tuple(each.name for each in fields(Features))
"""Arguments of :func:`lossim.coordinates`."""
NO_PLACES = ("name", "doubts")
"""Fields of a scheme that say nothing of what it does."""
Owner = Literal["start", "coordinates", "function", "scheme"]
Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a value goes.

    Attributes:
        owner: whose it is.
        name: the argument; of a scheme the whole dotted name, from its slot on.
        paths: of a scheme the way to the field, slot first, [scheme]; None for all schemes at once.
        also: places of the same name that are left as they are, by their dotted names.
    """

    owner: Owner
    name: str
    paths: tuple[Path, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def full(self) -> str:
        """The dotted name."""
        return f"{self.owner}.{self.name}"


def parameters(function: Callable[..., Any]) -> tuple[dict[str, bool], bool]:
    """The arguments of a function by name, with whether they must be given, and whether it takes any other name.

    Of a function with overloads the arguments of all of them.
    """
    own = inspect.signature(function).parameters.values()
    found = {each.name: each.default is each.empty for each in own if each.kind not in (each.VAR_POSITIONAL,
                                                                                       each.VAR_KEYWORD)}
    overloads = get_overloads(function) if inspect.isfunction(function) else []
    for overload in overloads:
        more = inspect.signature(overload).parameters.values()
        found |= {each.name: False for each in more if each.kind == each.KEYWORD_ONLY and each.name not in found}
    return found, not overloads and any(each.kind == each.VAR_KEYWORD for each in own)


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names that there are.

    Attributes:
        start, function: arguments by name, with whether they must be given; whether any other name is taken.
        coordinates: whether there is a policy, whose coordinates may be others.
        schemes: whose fields have names.
    """

    start: tuple[Mapping[str, bool], bool]
    function: tuple[Mapping[str, bool], bool]
    coordinates: bool
    schemes: tuple[Scheme, ...]

    def place(self, name: str) -> Place:
        """Where a name stands: the first place of the start, its coordinates, the function, slots, and deeper fields.

        A dotted name is the end of a place's whole name: ``reward.truncated`` is ``scheme.reward.truncated``.

        Raises:
            ValueError: the name stands nowhere, in several fields of a scheme, or not in every scheme.
        """
        arguments = [place for place in self._arguments() if _named(name, place.full)]
        by_scheme = [[path for path in scheme_paths(scheme) if _named(name, f"scheme.{_dotted(path)}")]
                     for scheme in self.schemes]
        fields_named = list(dict.fromkeys(f"scheme.{_dotted(path)}" for paths in by_scheme for path in paths))
        if arguments:
            return replace(arguments[0], also=tuple(fields_named))
        if fields_named:
            return self._in_schemes(name, by_scheme)
        for owner, (_, anything) in (("function", self.function), ("start", self.start)):
            if anything:
                return Place(owner=owner, name=name)  # type: ignore[arg-type]
        known = [each.name for each in self._arguments()]
        known += [str(path[-1]) for scheme in self.schemes for path in scheme_paths(scheme)]
        checks.fail("name", name, "must be an argument of the start, of its coordinates or of the function, or a field "
                    "of the scheme", checks.nearest(name, known) or f"there are {', '.join(dict.fromkeys(known))}")

    def _arguments(self) -> Iterator[Place]:
        """Arguments of the start, of its coordinates and of the function."""
        start, _ = self.start
        yield from (Place(owner="start", name=name) for name in start)
        if self.coordinates:
            yield from (Place(owner="coordinates", name=name) for name in MOVES if name not in start)
            if "coordinates" not in start:
                yield Place(owner="coordinates", name="coordinates")
        yield from (Place(owner="function", name=name) for name in self.function[0])

    def _in_schemes(self, name: str, by_scheme: Sequence[Sequence[tuple[str, ...]]]) -> Place:
        """A slot of the schemes, or where there is none of that name a field deeper, one in each."""
        chosen = []
        others: dict[str, None] = {}
        for scheme, paths in zip(self.schemes, by_scheme, strict=True):
            if not paths:
                checks.fail("name", name, f"must stand in every scheme, and {scheme.name} has none",
                            "leave that scheme out")
            nearest = [path for path in paths if len(path) == 1] or paths
            if len(nearest) > 1:
                whole = [f"scheme.{_dotted(path)}" for path in nearest]
                checks.fail("name", name, f"must stand in one place: it is {' and '.join(whole)}",
                            f"write {whole[0]!r} for the first")
            chosen.append(nearest[0])
            others |= dict.fromkeys(f"scheme.{_dotted(path)}" for path in paths if path != nearest[0])
        return Place(owner="scheme", name=_dotted(chosen[0]), also=tuple(others), paths=tuple(
            _indexed(*each) for each in zip(self.schemes, chosen, strict=True)))


def _named(name: str, full: str) -> bool:
    """Whether a dotted name ends like this."""
    return full == name or full.endswith(f".{name}")


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def scheme_paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names on the way to every field, slots first; what stands in a tuple by the name of its class.

    Where several in a tuple have one class, by their number.
    """
    if isinstance(value, tuple):
        yield from (path for name, entry in _entries(value) for path in scheme_paths(entry, (*above, name)))
    elif is_dataclass(value):
        for each in fields(value):
            if each.init and each.name not in (NO_PLACES if isinstance(value, Scheme) else ()):
                yield (*above, each.name)
                yield from scheme_paths(getattr(value, each.name), (*above, each.name))


def _entries(values: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """What stands in a tuple, each with its name."""
    kinds = Counter(type(entry).__name__ for entry in values)
    for number, entry in enumerate(values):
        kind = type(entry).__name__
        yield kind if kinds[kind] == 1 else str(number), entry


def _indexed(value: Any, path: tuple[str, ...]) -> Path:
    """The path with numbers for what stands in tuples."""
    found: list[str | int] = []
    for name in path:
        if isinstance(value, tuple):
            number = [named for named, _ in _entries(value)].index(name)
            found.append(number)
            value = value[number]
        else:
            found.append(name)
            value = getattr(value, name)
    return tuple(found)


def put(value: Any, given: Mapping[Path, Any]) -> Any:
    """The value with others at these paths, every object made anew once."""
    if () in given:
        value = given[()]
    below: dict[str | int, dict[Path, Any]] = {}
    for path, other in given.items():
        if path:
            below.setdefault(path[0], {})[path[1:]] = other
    if not below:
        return value
    if isinstance(value, tuple):
        return tuple(put(entry, below.get(number, {})) for number, entry in enumerate(value))
    if not is_dataclass(value) or isinstance(value, type):
        checks.fail("value", short(value), f"must have a field {next(iter(below))!r} to be set")
    return replace(value, **{str(name): put(getattr(value, str(name)), inner) for name, inner in below.items()})
