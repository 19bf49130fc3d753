"""Records: how the library's own are declared, and how they are computed field by field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, dataclass_transform

Kind = TypeVar("Kind")


@dataclass_transform(kw_only_default=True, frozen_default=True, eq_default=False, field_specifiers=(field,))
class Record:
    """Base of the dataclasses that only the library sees: by keyword, frozen, and equal to nothing but themselves.

    Other frozen dataclasses have four or five methods more of their own, and each is compiled at every import.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self):
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super().__setattr__(name, value)


def mapped(function: Callable[..., Any], record: Kind, *others: Kind | float) -> Kind:
    """A record whose fields are a function of the same fields of other records of its kind.

    Records in records are gone through likewise; a number in place of a record stands in each field; a field that is
    None in one of them stays None.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     x: float
    ...     y: float | None
    >>> mapped(lambda one, other: one + other, Point(1.0, None), Point(2.0, 3.0))
    Point(x=3.0, y=None)
    """
    kind: Any = type(record)
    made: dict[str, Any] = {}
    for name in _names(kind):
        values = [getattr(each, name) if type(each) is kind else each for each in (record, *others)]
        inner: Any = type(values[0])
        if any(value is None for value in values):
            made[name] = None
        elif _names(inner):
            made[name] = mapped(function, *values)
        else:
            made[name] = function(*values)
    return kind(**made)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    """The fields of a kind of record; none of what is no record."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()
