"""Validation, once, at construction: every message names the value, the rule and the fix."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np

from lossim._support.text import Phrase
from lossim._support.types import ArrayLike, FloatArray, Outcome

LARGEST_WHOLE = 2**53  # up to here whole numbers are exact as floats
LONGEST = 300  # characters of a value that a message shows
MOST_POSITIONS = 1 << 20  # of a response: laws of length have a number for each


class Invalid(Exception):
    """A value that breaks a rule: what it is called, the value, the rule, and the fix if there is one.

    Always one of the built-in errors in `KINDS` as well, and shown by its name in tracebacks. From another process,
    to which not every value can be sent, the value comes back as the text that the message has.
    """

    builtin: type[Exception]

    def __init__(self, name: str, value: object, rule: str, fix: str, said: str | None = None) -> None:
        self.name = name
        self.value = value
        self.rule = rule
        self.fix = fix
        self.said = shown(value) if said is None else said
        super().__init__(Phrase(name, f" {rule}, got {self.said}", *(["; ", fix] if fix else [])))

    def __reduce__(self) -> tuple[Any, ...]:
        return _invalid, (self.builtin, self.name, self.said, self.rule, self.fix, self.said)


KINDS: dict[type[Exception], Any] = {
    builtin: type(builtin.__name__, (Invalid, builtin), {"__module__": builtin.__module__, "builtin": builtin})
    for builtin in (ValueError, TypeError, FileNotFoundError)}


def _invalid(builtin: type[Exception], *fields: Any) -> Any:
    return KINDS[builtin](*fields)


def shown(value: object) -> str:
    """A value as messages show it."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a {type(value).__name__} nested too deep to be shown"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def fail(name: str, value: object, rule: str, fix: str = "", error: type[Exception] = ValueError) -> NoReturn:
    """Raise ``error`` saying which value broke which rule and how to mend it; it has these four as attributes.

    >>> fail("group_size", 1, "must be at least 2 for a leave-one-out baseline", "use advantages.Raw()")
    Traceback (most recent call last):
        ...
    ValueError: group_size must be at least 2 for a leave-one-out baseline, got 1; use advantages.Raw()
    """
    raise _invalid(error, name, value, rule, fix)


def nearest(word: object, words: Iterable[str]) -> str:
    """The fix for a word that is not among those it should be among, if one of them is near.

    >>> nearest("masked", ["keep", "mask", "remove"])
    "did you mean 'mask'?"
    """
    near = difflib.get_close_matches(str(word), list(words), n=3)
    near.sort(key=lambda each: sorted(each) != sorted(str(word)))  # letters in another order are the likeliest slip
    return f"did you mean {near[0]!r}?" if near else ""


def keep(owner: object, name: str, check: Callable[..., Any], *rule: Any, called: str = "") -> None:
    """Check a field of a frozen dataclass under construction, by a function of this module, and keep a Python number.

    ``called`` is the name in messages, that of the field unless given. None passes where it is the default. numpy's
    scalars are accepted but not kept: their arithmetic overflows at 8 bits, or rounds to 32, far from here. A whole
    number stays one in a field for real ones.
    """
    given = getattr(owner, name)
    if given is None and getattr(type(owner), name, "required") is None:
        return
    kept = check(called or name, given, *rule)
    if isinstance(kept, float) and isinstance(given, numbers.Integral):
        kept = int(given)
    object.__setattr__(owner, name, kept)


class Checked:
    """Base of values whose fields have rules: a function of this module each, and what it takes after the value."""

    _rules: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    def __post_init__(self) -> None:
        for name, rule in self._rules.items():
            keep(self, name, *rule)


def finite(name: str, value: Any, fix: str = "") -> float:
    """A finite real number, returned as a float (bool, str, and fractions, which arrays do not mix with, are not)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        fail(name, value, "must be a number", fix, TypeError)
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        number = math.inf
    if not math.isfinite(number):
        fail(name, value, "must be finite", fix)
    return number


def in_interval(name: str, value: Any, low: float, high: float, fix: str = "") -> float:
    """A number in the closed interval [low, high]."""
    number = finite(name, value)
    if not low <= number <= high:
        fail(name, value, f"must lie in [{float(low):g}, {float(high):g}]", fix)
    return number


def probability(name: str, value: Any, fix: str = "") -> float:
    """A number in [0, 1]."""
    return in_interval(name, value, 0.0, 1.0, fix)


def positive(name: str, value: Any, fix: str = "") -> float:
    """A number above 0."""
    number = finite(name, value)
    if number <= 0:
        fail(name, value, "must be positive", fix)
    return number


def at_least(name: str, value: Any, low: float, fix: str = "") -> float:
    """A number that is ``low`` or more."""
    number = finite(name, value)
    if number < low:
        fail(name, value, f"must be at least {low:g}", fix)
    return number


def whole(name: str, value: Any, low: int = 1, fix: str = "") -> int:
    """A whole number that is ``low`` or more (floats, even 3.0, and bools are refused)."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        fail(name, value, "must be a whole number",
             "write it without a decimal point" if isinstance(value, float) else "pass an int", TypeError)
    if int(value) < low:
        fail(name, value, f"must be at least {low}", fix)
    if int(value) > LARGEST_WHOLE:
        fail(name, value, f"must be at most {LARGEST_WHOLE}", fix)
    return int(value)


def positions(name: str, value: Any, fix: str = "") -> int:
    """A whole number of positions that a response may have: 1 up to about a million.

    >>> positions("max_tokens", 1e12)
    Traceback (most recent call last):
        ...
    TypeError: max_tokens must be a whole number, got 1000000000000.0; write it without a decimal point
    """
    number = whole(name, value)
    if number > MOST_POSITIONS:
        fail(name, value, f"must be at most {MOST_POSITIONS:,}: a law of length has a number for each position", fix)
    return number


def flag(name: str, value: Any, fix: str = "") -> bool:
    """True or False (no other value that merely counts as one)."""
    if not isinstance(value, (bool, np.bool_)):
        fail(name, value, "must be True or False", fix, TypeError)
    return bool(value)


def of_kind(name: str, value: Any, kind: type | tuple[type, ...], what: str, fix: str = "") -> Any:
    """A value of a kind; ``what`` names it."""
    if not isinstance(value, kind):
        fail(name, value, f"must be {what}", fix, TypeError)
    return value


def text(name: str, value: Any) -> str:
    """A string."""
    if not isinstance(value, str):
        fail(name, value, "must be a string", "", TypeError)
    return value


def other_grade(name: str, value: Any) -> str:
    """The name of a grade beside correct and incorrect."""
    grade = text(f"a name in {name}", value)
    if grade in (each.name.lower() for each in Outcome):
        fail(name, grade, "must not name a grade that every response can have",
             "leave it out: these have arguments of their own")
    return grade


def members(name: str, values: Any, kind: type | tuple[type, ...], what: str, fix: str = "") -> tuple[Any, ...]:
    """A sequence, as a tuple, all of whose entries are of a kind; ``what`` names it."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        fail(name, values, f"must be a sequence of {what}", fix, TypeError)
    entries = tuple(values)
    for i, entry in enumerate(entries):
        if not isinstance(entry, kind):
            fail(f"{name}[{i}]", entry, f"must be one of {what}", fix, TypeError)
    return entries


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """One of the allowed words; the message offers the nearest one.

    >>> choice("truncation", "masked", ["keep", "mask", "remove"])
    Traceback (most recent call last):
        ...
    ValueError: truncation must be one of 'keep', 'mask', 'remove', got 'masked'; did you mean 'mask'?
    """
    words = list(allowed)
    if not isinstance(value, str) or value not in words:
        fail(name, value, "must be one of " + ", ".join(map(repr, words)), nearest(value, words))
    return str(value)


def floats(name: str, value: ArrayLike, fix: str = "") -> FloatArray:
    """A float array of its own, from numbers or booleans; nan and ±inf pass."""
    try:
        given = np.asarray(value)
        convertible = given.dtype.kind in "biuf"  # numpy would turn text, dates and complex numbers into floats too
        if given.dtype.kind == "O":
            convertible = all(isinstance(entry, numbers.Real) for entry in given.ravel())
        array = np.array(given if convertible else None, dtype=np.float64)
    except OverflowError:
        fail(name, value, "must be finite")
    except (TypeError, ValueError, RuntimeError):
        convertible = False
    if not convertible:
        if hasattr(value, "detach"):  # a torch tensor that needs a gradient, or of a type that numpy has not
            fail(name, type(value).__name__, "must be an array of numbers that numpy can read (its type is shown)",
                 "pass x.detach().float().cpu().numpy()", TypeError)
        if isinstance(value, Sequence) and len({np.size(row) for row in value}) > 1:
            fail(name, [np.size(row) for row in value], "must have rows of one length (their lengths are shown)",
                 fix or "pad them")
        fail(name, value, "must be an array of numbers", fix, TypeError)
    return array


def number_array(name: str, value: ArrayLike, *, ndim: int | None = None, low: float = -math.inf,
                 high: float = math.inf, fix: str = "") -> FloatArray:
    """A finite float array of ``ndim`` axes with entries in [low, high]; the message names the first bad entry."""
    array = floats(name, value, fix)
    if ndim is not None and array.ndim != ndim:
        fail(name, array.shape, f"must have {ndim} ax{'i' if ndim == 1 else 'e'}s (its shape is shown)", fix)
    bad = ~(np.isfinite(array) & (array >= low) & (array <= high))
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        value_there = float(array[first])
        if not math.isfinite(value_there):
            bounds, fix = "must be finite", ""
        elif math.isinf(high):
            bounds = f"must be at least {low:g}"
        else:
            bounds = f"must lie in [{low:g}, {high:g}]"
        fail(f"{name}[{', '.join(map(str, first))}]" if first else name, value_there, bounds, fix)
    array.setflags(write=False)
    return array


def pair(name: str, value: Any, rule: str, low: float = -math.inf) -> tuple[float, float]:
    """Two numbers that are ``low`` or more."""
    numbers_given = number_array(name, value, ndim=1, low=low).tolist()
    if len(numbers_given) != 2:
        fail(name, value, rule)
    first, second = numbers_given
    return first, second
