"""Values some of whose fields are worked out when they are first looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self


class Deferred:
    """Base of a dataclass whose fields may come later.

    A field that is not there yet is asked for by name, and kept. Whoever copies or pickles the value, or replaces a
    field of it by ``dataclasses.replace``, has all of them worked out first; :meth:`but` leaves them for later. Two
    threads that look at once both work it out, and find the same.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point(Deferred):
    ...     x: float
    ...     y: float
    >>> point = Point.deferred(lambda name: 3.0, ("y",), x=1.0)
    >>> point.but(x=2.0)
    Point(x=2.0, y=3.0)
    """

    @classmethod
    def deferred(cls, field: Callable[[str], Any], later: tuple[str, ...], **known: Any) -> Self:
        """The value with some fields known, and a function that gives the others by name."""
        made = object.__new__(cls)
        vars(made).update(known, _field=field, _later=later)
        return made

    def but(self, **known: Any) -> Self:
        """The same value with other fields; what is still to come stays so."""
        made = object.__new__(type(self))
        vars(made).update(vars(self) | known)
        return made

    def __getattr__(self, name: str) -> Any:
        if name not in vars(self).get("_later", ()):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        vars(self)[name] = found = vars(self)["_field"](name)
        return found

    def __getstate__(self) -> dict[str, Any]:
        for name in vars(self).get("_later", ()):
            getattr(self, name)
        return {name: value for name, value in vars(self).items() if name not in ("_field", "_later")}
