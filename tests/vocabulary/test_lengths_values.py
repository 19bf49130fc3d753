"""Laws of length as values: equal, hashable, pickled, printed, read-only, and refused with a message."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from arrays import FloatArray
from lossim import lengths
from lossim.lengths import Length

LAWS: list[Callable[[], Length]] = [
    lambda: lengths.geometric(mean=300),
    lambda: lengths.lognormal(median=600, sigma=0.6),
    lambda: lengths.from_scipy(stats.gamma(2, scale=300)),
    lambda: lengths.from_scipy(stats.rv_discrete(values=([1, 7], [0.5, 0.5]))),
    lambda: lengths.from_scipy(stats.rv_histogram((np.array([1.0, 2.0]), np.array([0.0, 9.0, 20.0])), density=False)),
    lambda: lengths.table([0.1] * 9 + [1.0]),
    lambda: lengths.from_logits(np.zeros(400)),
    lambda: lengths.observed([3, 8, 8], [False, True, False]),
]
laws = pytest.mark.parametrize("make", LAWS, ids=[repr(make()).split("(")[0] for make in LAWS])


@laws
def test_laws_are_values(make: Callable[[], Length]) -> None:
    law, twin = make(), make()
    assert law == twin
    assert hash(law) == hash(twin)
    assert len({law, twin, lengths.geometric(mean=2)}) == 2
    assert law != 3
    copy = pickle.loads(pickle.dumps(law))
    assert copy == law
    np.testing.assert_array_equal(copy.logits(8), law.logits(8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        law.mean = 3  # type: ignore[attr-defined]


@laws
def test_one_token_is_enough(make: Callable[[], Length]) -> None:
    z = make().logits(1)
    assert z.shape == (1,)
    assert z.dtype == np.float64
    assert not np.isnan(z).any()


@laws
@pytest.mark.parametrize("max_tokens", [0, -1, 2.0, True, "8"])
def test_max_tokens_is_a_positive_whole_number(make: Callable[[], Length], max_tokens: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"max_tokens must be .*, got"):
        make().logits(max_tokens)  # type: ignore[arg-type]


def test_different_laws_differ() -> None:
    made = [make() for make in LAWS]
    assert len(set(made)) == len(made)
    assert lengths.from_scipy(stats.gamma(2, scale=300)) == lengths.from_scipy(stats.gamma(a=2.0, scale=300, loc=0))
    assert lengths.from_scipy(stats.gamma(2, scale=300)) != lengths.from_scipy(stats.gamma(2, scale=301))
    one, other = (stats.rv_discrete(values=([1, x], [0.5, 0.5])) for x in (7, 8))
    assert lengths.from_scipy(one) != lengths.from_scipy(other)
    assert lengths.table([0.5, 0.2]) != lengths.table([0.5, 0.3])
    assert lengths.table([-0.0, 0.2]) == lengths.table([0.0, 0.2])


def test_a_home_made_family_equals_itself_only() -> None:
    class Own(stats.rv_continuous):  # type: ignore[misc]
        def _cdf(self, x: FloatArray) -> FloatArray:
            return -np.expm1(-x / 50)

    law = lengths.from_scipy(Own(a=0, name="own"))
    assert law == law
    assert law != lengths.from_scipy(Own(a=0, name="own"))
    assert repr(law) == "from_scipy(own())"
    np.testing.assert_allclose(law.logits(100), -math.log(math.expm1(1 / 50)) * -1, rtol=1e-9)


@pytest.mark.parametrize(("law", "text"), [
    (lengths.geometric(mean=300), "geometric(mean=300)"),
    (lengths.geometric(mean=1 + 2**-40), f"geometric(mean={1 + 2**-40!r})"),
    (lengths.lognormal(median=600, sigma=0.6), "lognormal(median=600, sigma=0.6)"),
    (lengths.from_scipy(stats.gamma(2, scale=300)), "from_scipy(gamma(a=2, scale=300))"),
    (lengths.from_scipy(stats.rv_discrete(values=([1], [1.0]))), "from_scipy(rv_sample())"),
    (lengths.table([0.25, 1]), "table([0.25, 1])"),
    (lengths.from_logits([0.0] * 9), "from_logits([0, 0, 0, 0, ...], 9 positions)"),
    (lengths.observed([3, 8], [False, True]), "observed(2 lengths, 1 truncated, longest 8)"),
])
def test_laws_print_what_made_them(law: Length, text: str) -> None:
    assert repr(law) == text


def test_held_arrays_are_read_only_after_unpickling_too() -> None:
    law = lengths.table([0.5, 0.5])
    for held in (law, pickle.loads(pickle.dumps(law))):
        with pytest.raises(ValueError, match="read-only"):
            held.values[0] = 1.0


def test_replace_is_checked() -> None:
    law = lengths.lognormal(median=600, sigma=0.6)
    assert dataclasses.replace(law, sigma=0.5) == lengths.lognormal(median=600, sigma=0.5)
    with pytest.raises(ValueError, match="sigma must be positive, got -1"):
        dataclasses.replace(law, sigma=-1)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: lengths.geometric(mean=0.5), r"mean must be at least 1, got 0.5; a response has at least its stop token"),
    (lambda: lengths.geometric(mean=math.nan), r"mean must be finite, got nan"),
    (lambda: lengths.geometric(mean="3"), r"mean must be a number, got '3'"),  # type: ignore[arg-type]
    (lambda: lengths.lognormal(median=0, sigma=1), r"median must be positive, got 0"),
    (lambda: lengths.lognormal(median=9, sigma=0), r"sigma must be positive, got 0; .*lengths.table"),
    (lambda: lengths.from_scipy(stats.gamma), r"dist must be frozen with its parameters \(a\), got 'gamma'; call"),
    (lambda: lengths.from_scipy(3), r"dist must be a frozen univariate .*, got 3; .*lengths.table"),
    (lambda: lengths.from_scipy(stats.gamma([2, 3])), r"dist must be one law, not an array .*, got \(2,\); freeze it"),
    (lambda: lengths.from_scipy(stats.gamma(-1)), r"dist must have valid parameters .*, got from_scipy\(gamma\(a=-1"),
    (lambda: lengths.from_scipy(stats.poisson(2)), r"no mass at lengths <= 0, not 0.135 of it, got .*; shift it"),
    (lambda: lengths.from_scipy(stats.norm(600, 200)), r"no mass at lengths <= 0, not 0.00135 .*; .*truncnorm"),
    (lambda: lengths.table([]), r"hazard must have at least one position"),
    (lambda: lengths.table([[0.1]]), r"hazard must have 1 axis .*, got \(1, 1\)"),
    (lambda: lengths.table([0.1, 1.5]), r"hazard\[1\] must lie in \[0, 1\], got 1.5"),
    (lambda: lengths.table([math.nan]), r"hazard\[0\] must be finite, got nan"),
    (lambda: lengths.table([0.1, 0.2]).logits(3), r"max_tokens must be at most 2, .*, got 3; use max_tokens=2, or"),
    (lambda: lengths.from_logits([0.0, math.nan]), r"logits must not be nan, got nan; use -inf"),
    (lambda: lengths.from_logits(["a"]), r"logits must be an array of numbers"),
    (lambda: lengths.from_logits(0.0), r"logits must have one axis .*, got \(\)"),
    (lambda: lengths.from_logits([0.0]).logits(2), r"max_tokens must be at most 1, .*, got 2"),
    (lambda: lengths.observed([]), r"lengths must have at least one response"),
    (lambda: lengths.observed([3, 0]), r"lengths\[1\] must lie in \[1, .*\], got 0.0; the stop token counts"),
    (lambda: lengths.observed([3, 2.5]), r"lengths must be whole numbers of tokens, got 2.5"),
    (lambda: lengths.observed([3], [1]), r"truncated must be an array of booleans .*, got 'int64'; compare first"),
    (lambda: lengths.observed([3], [True, False]), r"truncated must have the shape of lengths, \(1,\) .*, got \(2,\)"),
    (lambda: lengths.observed([3, 2], [True, False]).logits(4),
     r"max_tokens must be at most 3, the largest truncated length \(nothing is known beyond it\), got 4; use"),
    (lambda: lengths.observed([3, 3], [True, False]).logits(4), r"max_tokens must be at most 3"),
])
def test_bad_input_is_met_with_value_rule_and_fix(make: Callable[[], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# --- laws of one's own ---------------------------------------------------------------------------------------------


class Own(Length):
    """A law that gives whatever it is told to."""

    def __init__(self, give: Callable[[int], object]) -> None:
        self.give = give

    def logits(self, max_tokens: int) -> FloatArray:
        return self.give(max_tokens)  # type: ignore[return-value]


@laws
def test_logits_are_checked_and_left_as_they_are(make: Callable[[], Length]) -> None:
    np.testing.assert_array_equal(lengths.hazard_logits(make(), 8), make().logits(8))


def test_logits_of_other_numbers_become_floats_and_end_with_a_certain_stop() -> None:
    for give in (lambda n: np.arange(n), lambda n: list(range(n)), lambda n: np.arange(n, dtype=np.float32)):
        z = lengths.hazard_logits(Own(give), 3)
        assert z.dtype == np.float64
        np.testing.assert_array_equal(z, [0.0, 1.0, 2.0])
    held = np.array([0.0, np.inf, 7.0])
    np.testing.assert_array_equal(lengths.hazard_logits(Own(lambda n: held), 3), [0.0, np.inf, np.inf])
    assert held[2] == 7.0


@pytest.mark.parametrize(("give", "message"), [
    (lambda n: np.append(np.zeros(n - 1), np.nan), r"Own\[7\] must not be nan, got nan; use -inf for hazard 0 and"),
    (lambda n: np.zeros(n - 1), r"Own must have the shape \(8,\) .*, got \(7,\); return one float for each t = 1"),
    (lambda n: np.zeros((1, n)), r"Own must have the shape \(8,\) .*, got \(1, 8\); return one float"),
    (lambda n: 0.0, r"Own must have the shape \(8,\) .*, got \(\); return one float"),
    (lambda n: None, r"Own must be an array of numbers, got None; return one float for each"),
    (lambda n: ["a"] * n, r"Own must be an array of numbers, got .*; return one float for each"),
    (lambda n: np.zeros(n, dtype=complex), r"Own must be an array of numbers, got .*; return one float for each"),
])
def test_what_a_law_of_ones_own_gives_is_checked(give: Callable[[int], object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"logits of the length law {message}"):
        lengths.hazard_logits(Own(give), 8)
