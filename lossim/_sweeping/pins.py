"""What a sweep is, as text: the same for what computes the same, another for what may not."""

from __future__ import annotations

import hashlib
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import numpy as np

from lossim._engine import versions
from lossim._sweeping.cells import Plan

__all__ = ["pins"]

LONGEST = 400
"""Characters up to which a text is kept as it is; of more the first, and a digest of all."""


def pins(plan: Plan) -> dict[str, str]:
    """By what it is about: function, schemes, start, axes, what is the same in all cells, seed, lossim's version."""
    given: dict[str, Any] = {"function": plan.function, "start": plan.start, "seed": plan.seed}
    given |= {"many": plan.function.many} if hasattr(plan.function, "many") else {}
    given |= {f"scheme {number}": scheme for number, scheme in enumerate(plan.schemes, 1)}
    given |= {f"axis {axis.name}": axis.values for axis in plan.axes}
    given |= {place.full: value for place, value in plan.known}
    return {"lossim": versions()["lossim"], **{name: _short(_text(value)) for name, value in given.items()}}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}... {_digest(text.encode())}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _text(value: Any, above: tuple[int, ...] = ()) -> str:
    """A value by its fields, however deep; an array and the code of a function by a digest.

    ``above`` are the objects that it is a part of: one of these in it again is not gone through again.
    """
    if value is None or isinstance(value, (bool, int, float, str, bytes, complex)):
        return repr(value)
    if id(value) in above:
        return "..."
    text = partial(_text, above=(*above, id(value)))
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        data = text(array.tolist()).encode() if array.dtype.kind == "O" else array.tobytes()
        return f"array {array.shape} {array.dtype} {_digest(data)}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(text, value))})"
    if isinstance(value, (set, frozenset)):
        return f"{{{', '.join(sorted(map(text, value)))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{text(name)}: {text(entry)}' for name, entry in value.items())}}}"
    if isinstance(value, partial):
        return f"partial({text(value.func)}, {text(value.args)}, {text(value.keywords)})"
    if isinstance(value, types.MethodType):
        return f"{text(value.__self__)}.{text(value.__func__)}"
    if isinstance(value, types.FunctionType):
        return _function(value, text)
    if isinstance(value, (type, types.BuiltinFunctionType, types.ModuleType, np.ufunc)):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value)}"
    if hasattr(value, "dist") and hasattr(value, "kwds"):  # a frozen distribution of scipy.stats
        return f"{type(value.dist).__qualname__}({text(value.args)}, {text(value.kwds)})"
    inside = dict(getattr(value, "__dict__", {}))
    if is_dataclass(value):
        inside = {each.name: getattr(value, each.name) for each in fields(value)}
    return f"{type(value).__qualname__}({', '.join(f'{name}={text(entry)}' for name, entry in inside.items())})"


def _function(function: types.FunctionType, text: Callable[[Any], str]) -> str:
    """A function by its name, and where it is not lossim's own by its code, defaults and what it closes over."""
    name = f"{function.__module__}.{function.__qualname__}"
    if function.__module__.partition(".")[0] == "lossim" and "<locals>" not in name:
        return name
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    given = text((function.__defaults__, function.__kwdefaults__, closed))
    return f"{name} (code {_digest((_code(function.__code__) + given).encode())})"


def _code(code: types.CodeType) -> str:
    """What code does, as text: constants and names beside its bytes."""
    constants = [_code(each) if isinstance(each, types.CodeType) else _text(each) for each in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"
