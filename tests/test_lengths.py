"""Laws of length: against scipy, exact arithmetic, plain counting, and their own limits."""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lossim import lengths
from lossim._types import FloatArray
from lossim.lengths import Length

LONG = 32_768

means = st.floats(1.0, 1e5)
medians = st.floats(0.05, 1e5)
sigmas = st.floats(0.05, 4.0)
hazards = st.lists(st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0])), min_size=1, max_size=12)

SCIPY_LAWS = [
    stats.gamma(4, scale=300),
    stats.weibull_min(1.5, scale=800),
    stats.invgauss(0.5, scale=1000),
    stats.norm(600, 40),
    stats.truncnorm(-3, np.inf, loc=600, scale=200),
    stats.uniform(10.5, 20),
    stats.beta(2, 3, scale=5000),
    stats.pareto(1.2, scale=3),
    stats.poisson(600),
    stats.nbinom(3, 0.01, loc=1),
    stats.geom(1 / 600),
    stats.randint(1, 30_001),
    stats.betabinom(100, 2, 3, loc=1),
    stats.binom(40_000, 0.3),
    stats.rv_discrete(values=([100, 200], [0.3, 0.7])),
    stats.rv_histogram((np.array([1.0, 0.0, 2.0]), np.array([10.0, 20.0, 30.0, 40.0])), density=False),
]
names = [getattr(law, "dist", law).name for law in SCIPY_LAWS]


def survival_and_mass(logits: FloatArray) -> tuple[list[float], list[float]]:
    """P(T > t), t = 0..N, and P(T = t), t = 1..N, by multiplying hazards one after the other."""
    survival, mass = [1.0], []
    for z in logits:
        hazard = 1 / (1 + math.exp(-z)) if z > -700 else 0.0
        stay = 1 / (1 + math.exp(z)) if z < 700 else 0.0
        mass.append(survival[-1] * hazard)
        survival.append(survival[-1] * stay)
    return survival, mass


def log_mass(logits: FloatArray) -> tuple[FloatArray, float]:
    """log P(T = t) and the log of the truncated mass."""
    stay = -np.logaddexp(0.0, logits)
    before = np.concatenate([[0.0], np.cumsum(stay)])
    return before[:-1] - np.logaddexp(0.0, -logits), float(before[-1])


# --- geometric ---------------------------------------------------------------------------------------------------


def test_geometric_by_hand() -> None:
    survival, mass = survival_and_mass(lengths.geometric(mean=4).logits(3))
    assert mass == pytest.approx([1 / 4, 3 / 16, 9 / 64])
    assert survival == pytest.approx([1, 3 / 4, 9 / 16, 27 / 64])


@given(means, st.integers(1, 300))
def test_geometric_mean_with_and_without_the_cut(mean: float, max_tokens: int) -> None:
    survival, mass = survival_and_mass(lengths.geometric(mean=mean).logits(max_tokens))
    cut_mean = sum(t * p for t, p in enumerate(mass, 1)) + max_tokens * survival[-1]
    stay = 1 - 1 / mean
    assert cut_mean == pytest.approx(mean * (1 - stay**max_tokens), rel=1e-9)


def test_geometric_without_a_cut_has_its_mean() -> None:
    p, tail = log_mass(lengths.geometric(mean=50).logits(LONG))
    assert np.exp(p) @ np.arange(1, LONG + 1) == pytest.approx(50, rel=1e-12)
    assert tail < -600


@given(means.filter(lambda mean: mean > 1))
def test_geometric_is_scipys_geom(mean: float) -> None:
    z = lengths.geometric(mean=mean).logits(50)
    np.testing.assert_allclose(lengths.from_scipy(stats.geom(1 / mean)).logits(50), z, rtol=1e-6, atol=1e-9)


def test_geometric_of_mean_one_stops_at_once() -> None:
    assert np.isposinf(lengths.geometric(mean=1).logits(3)).all()


def test_geometric_keeps_means_far_apart() -> None:
    assert lengths.geometric(mean=1e300).logits(1)[0] == pytest.approx(-300 * math.log(10))
    assert lengths.geometric(mean=1 + 2**-40).logits(1)[0] == pytest.approx(40 * math.log(2))


# --- lognormal ---------------------------------------------------------------------------------------------------


@given(medians, sigmas)
def test_lognormal_is_scipys_lognorm(median: float, sigma: float) -> None:
    z = lengths.lognormal(median=median, sigma=sigma).logits(200)
    scipys = lengths.from_scipy(stats.lognorm(sigma, scale=median)).logits(200)
    # from_scipy cannot always know that what is below 1e-300 was computed in logs: leave that out
    told = (log_mass(z)[0] > -690) & (z > -690)
    np.testing.assert_allclose(z[told], scipys[told], rtol=1e-8, atol=1e-8)


@given(medians, sigmas, st.integers(1, 80))
def test_lognormal_masses_are_cdf_differences(median: float, sigma: float, max_tokens: int) -> None:
    survival, mass = survival_and_mass(lengths.lognormal(median=median, sigma=sigma).logits(max_tokens))

    def cdf(t: int) -> float:
        return 0.5 * math.erfc(-(math.log(t / median) / sigma) / math.sqrt(2)) if t else 0.0

    assert mass == pytest.approx([cdf(t) - cdf(t - 1) for t in range(1, max_tokens + 1)], abs=1e-13)
    assert survival[-1] == pytest.approx(1 - cdf(max_tokens), abs=1e-13)


def exact_normal_cdf(x: Decimal) -> Decimal:
    """Φ(x) to about 60 digits for |x| up to 15, by the alternating series of the error function."""
    y = x / Decimal(2).sqrt()
    term, total, n = y, y, 0
    while abs(term) > Decimal(10) ** -220:
        n += 1
        term *= -y * y / n
        total += term / (2 * n + 1)
    pi = Decimal("3.141592653589793238462643383279502884197169399375105820974944592307816406286208998628034825342")
    return (1 + 2 * total / pi.sqrt()) / 2


@pytest.mark.parametrize(("median", "sigma"), [(600, "0.6"), (1500, "0.7"), (300, "0.9"), (4000, "0.61")])
def test_lognormal_hazards_against_a_series_of_many_digits(median: int, sigma: str) -> None:
    z = lengths.lognormal(median=median, sigma=float(sigma)).logits(LONG)

    def cdf(t: int) -> Decimal:
        return exact_normal_cdf((Decimal(t) / median).ln() / Decimal(float(sigma))) if t else Decimal(0)

    with localcontext(prec=230):
        for t in (1, 2, 3, 10, 100, median - 1, median, median + 1, 4 * median, 20_000, LONG):
            before, now = cdf(t - 1), cdf(t)
            assert z[t - 1] == pytest.approx(float(((now - before) / (1 - now)).ln()), rel=1e-11), t


def test_lognormal_finite_far_below_the_smallest_float() -> None:
    late = lengths.lognormal(median=600, sigma=0.01).logits(LONG)
    early = lengths.lognormal(median=1e6, sigma=0.01).logits(LONG)
    assert np.isfinite(late).all()
    assert np.isfinite(early).all()
    assert log_mass(late)[1] < -1e4
    # leading asymptotics of log Φ(-x) = log φ(x)/x at the first token
    x = math.log(1e6) / 0.01
    assert early[0] == pytest.approx(-x * x / 2 - math.log(x * math.sqrt(2 * math.pi)), rel=1e-12)


def test_lognormal_hazard_falls_in_the_far_tail_like_x_over_sigma_t() -> None:
    z = lengths.lognormal(median=10, sigma=0.6).logits(LONG)
    t = LONG
    x = math.log(t / 10) / 0.6
    assert math.exp(z[-1]) == pytest.approx((x + 1 / x) / (0.6 * t), rel=2e-3)


# --- scipy laws --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dist", SCIPY_LAWS, ids=names)
def test_scipy_masses_are_cdf_differences(dist: object) -> None:
    z = lengths.from_scipy(dist).logits(1500)
    survival, mass = survival_and_mass(z)
    cdf = dist.cdf(np.arange(1501))  # type: ignore[attr-defined]
    direct = [float(cdf[t] - cdf[t - 1]) for t in range(1, 1501)]
    assert mass == pytest.approx(direct, abs=3e-14)
    assert survival[-1] == pytest.approx(1 - cdf[-1], abs=3e-13)


@pytest.mark.parametrize("dist", SCIPY_LAWS, ids=names)
def test_scipy_laws_sum_to_one_at_full_length(dist: object) -> None:
    z = lengths.from_scipy(dist).logits(LONG)
    assert z.shape == (LONG,)
    assert not np.isnan(z).any()
    p, tail = log_mass(z)
    assert np.exp(p).sum() + math.exp(tail) == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("dist", SCIPY_LAWS, ids=names)
@given(shorter=st.integers(1, 700))
def test_a_law_knows_no_cut(dist: object, shorter: int) -> None:
    law = lengths.from_scipy(dist)
    np.testing.assert_array_equal(law.logits(shorter), law.logits(700)[:shorter])


def test_weibull_hazards_against_fifty_digits_in_both_tails() -> None:
    z = lengths.from_scipy(stats.weibull_min(3, scale=900)).logits(LONG)

    def power(t: int) -> Decimal:
        return (Decimal(t) / 900) ** 3

    with localcontext(prec=50):
        for t in (1, 2, 7, 100, 700, 900, 5000, 20_000, LONG):
            risen = power(t) - power(t - 1)
            assert z[t - 1] == pytest.approx(float((risen.exp() - 1).ln()), rel=3e-11), t


def test_poisson_hazards_against_fractions() -> None:
    """P(T = t)/P(T > t) from the exact masses, the common factor e^-40 cancelling."""
    masses = [Fraction(40**t, math.factorial(t)) for t in range(400)]
    total = sum(masses)
    z = lengths.from_scipy(stats.poisson(40, loc=1)).logits(200)  # loc=1: length t has the mass of t - 1
    gone = Fraction(0)
    for t in range(1, 201):
        gone += masses[t - 1]
        odds = masses[t - 1] / (total - gone)
        assert z[t - 1] == pytest.approx(math.log(odds.numerator) - math.log(odds.denominator), rel=1e-9, abs=1e-11), t


def test_a_uniform_law_has_hazards_one_over_what_is_left() -> None:
    z = lengths.from_scipy(stats.randint(1, 20_001)).logits(LONG)
    left = 20_000 - np.arange(1, 20_000)
    np.testing.assert_allclose(z[:19_999], -np.log(left), rtol=1e-9, atol=1e-9)
    assert np.isposinf(z[19_999:]).all()


def test_the_support_sets_hazards_of_zero_and_one() -> None:
    z = lengths.from_scipy(stats.uniform(10.5, 20)).logits(40)
    assert np.isneginf(z[:10]).all()
    assert z[10] == pytest.approx(math.log(0.5 / 19.5))
    assert np.isfinite(z[10:30]).all()
    assert np.isposinf(z[30:]).all()


def test_a_gap_has_hazard_zero() -> None:
    z = lengths.from_scipy(stats.rv_discrete(values=([2, 5], [0.3, 0.7]))).logits(6)
    assert z[1] == pytest.approx(math.log(0.3 / 0.7))
    assert np.isneginf(z[[0, 2, 3]]).all()
    assert np.isposinf(z[4:]).all()


def test_everything_at_the_first_token() -> None:
    assert np.isposinf(lengths.from_scipy(stats.uniform(0, 0.3)).logits(3)).all()
    z = lengths.from_scipy(stats.gamma(1, scale=1e-3)).logits(3)  # the survival e^-1000 is 0 as a float
    assert (z >= 690).all()


def test_where_survival_underflows_the_last_hazard_is_kept() -> None:
    z = lengths.from_scipy(stats.poisson(600)).logits(LONG)
    lost = int(np.argmax(stats.poisson(600).sf(np.arange(LONG)) < 1e-300))
    assert np.isfinite(z).all()
    np.testing.assert_array_equal(z[lost:], z[-1])
    assert z[-1] == pytest.approx(z[lost - 2], rel=0.1)


def test_a_cliff_is_not_mistaken_for_a_tail() -> None:
    """Mean 1000, standard deviation 0.03: the survival goes from 1 over a half to 0 within two tokens."""
    p, tail = log_mass(lengths.from_scipy(stats.gamma(1e9, scale=1e-6)).logits(LONG))
    assert np.exp(p[[999, 1000]]) == pytest.approx([0.5, 0.5], abs=1e-4)
    assert np.exp(p).sum() == pytest.approx(1, abs=1e-12)
    assert tail < -600


def test_where_the_cdf_underflows_inside_the_support_hazards_stay_finite() -> None:
    z = lengths.from_scipy(stats.gamma(1000, scale=1)).logits(1000)
    assert np.isfinite(z).all()
    assert (np.diff(z[np.flatnonzero(z > -690)]) > 0).all()
    assert z[0] == pytest.approx(math.log(1e-300))


def test_an_unbounded_support_leaves_the_last_position_alone() -> None:
    dist = stats.skewnorm(3, loc=6000, scale=300)  # starts at -inf, takes log F as the log of a number
    z = lengths.from_scipy(dist).logits(6000)
    assert z[-1] == pytest.approx(math.log((dist.cdf(6000) - dist.cdf(5999)) / dist.sf(6000)), rel=1e-6)


def test_families_without_shapes_are_taken_as_they_are() -> None:
    assert lengths.from_scipy(stats.expon) == lengths.from_scipy(stats.expon())


@pytest.mark.skipif(not hasattr(stats, "Normal"), reason="scipy before 1.15")
def test_the_newer_kind_of_distribution() -> None:
    new = lengths.from_scipy(stats.Normal(mu=600.0, sigma=40.0))
    old = lengths.from_scipy(stats.norm(600, 40))
    np.testing.assert_allclose(new.logits(900), old.logits(900), rtol=1e-9)
    assert repr(new) == "from_scipy(Normal(mu=600.0, sigma=40.0))"
    assert new == lengths.from_scipy(stats.Normal(mu=600.0, sigma=40.0))
    assert new != lengths.from_scipy(stats.Normal(mu=600.0, sigma=41.0))


# --- tables, logits, observations --------------------------------------------------------------------------------


@given(hazards)
def test_table_returns_its_hazards_up_to_the_first_one(hazard: list[float]) -> None:
    z = lengths.table(hazard).logits(len(hazard))
    survival, mass = survival_and_mass(z)
    left = 1.0
    for t, h in enumerate(hazard):
        assert mass[t] == pytest.approx(left * h, abs=1e-15)
        left *= 1 - h
    assert survival[-1] == pytest.approx(left, abs=1e-15)
    if 1.0 in hazard:
        assert np.isposinf(z[hazard.index(1.0):]).all()


def test_table_of_tiny_hazards() -> None:
    z = lengths.table([1e-300, 5e-324, 1 - 2**-53]).logits(3)
    assert z == pytest.approx([math.log(1e-300), math.log(5e-324), 53 * math.log(2)], rel=1e-12)


def test_table_is_cut_and_may_be_short_behind_a_certain_stop() -> None:
    np.testing.assert_array_equal(lengths.table([0.5, 0.5, 0.5]).logits(1), [0.0])
    np.testing.assert_array_equal(lengths.table([0.5, 1.0]).logits(4), [0.0, np.inf, np.inf, np.inf])
    np.testing.assert_array_equal(lengths.table([0.5, 1.0, 0.2]).logits(3), [0.0, np.inf, np.inf])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9), st.integers(1, 9))
def test_from_logits_returns_its_logits(values: list[float], max_tokens: int) -> None:
    count = min(max_tokens, len(values))
    np.testing.assert_array_equal(lengths.from_logits(values).logits(count), values[:count])


@pytest.mark.parametrize("dist", SCIPY_LAWS, ids=names)
def test_from_logits_takes_what_laws_give(dist: object) -> None:
    z = lengths.from_scipy(dist).logits(700)
    np.testing.assert_array_equal(lengths.from_logits(z).logits(700), z)


def test_logits_handed_out_are_not_the_ones_held() -> None:
    law = lengths.from_logits([1.0, 2.0])
    law.logits(2)[0] = 9.0
    assert law.logits(2)[0] == 1.0


responses = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=40)


@given(responses)
def test_observed_is_scipys_kaplan_meier(rows: list[tuple[int, bool]]) -> None:
    t, cut = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    survival, _ = survival_and_mass(lengths.observed(t, cut).logits(int(t.max())))
    if cut.all():
        expected = np.ones(int(t.max()) + 1)
    else:
        sf = stats.ecdf(stats.CensoredData.right_censored(t, cut)).sf
        expected = sf.evaluate(np.arange(int(t.max()) + 1))
    assert survival == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 12))
def test_observed_with_one_cap_is_counting(raw: list[int], cap: int) -> None:
    """All cut at one cap: P(T = t) is the share of responses that stopped at t, stops at the cap included."""
    t = np.minimum(raw, cap)
    cut = np.array(raw) > cap
    if t.max() < cap:
        return
    survival, mass = survival_and_mass(lengths.observed(t, cut).logits(cap))
    shares = [float(np.mean([length == s for length in raw])) for s in range(1, cap + 1)]
    assert mass == pytest.approx(shares, abs=1e-12)
    assert survival[-1] == pytest.approx(float(np.mean(cut)), abs=1e-12)


def test_observed_with_several_caps_by_hand() -> None:
    # at risk 6, 5, 3, 2; of those who got to 2 one stopped there and one was cut there
    z = lengths.observed([1, 2, 2, 3, 4, 4], [False, False, True, True, False, True]).logits(4)
    hazard = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(hazard, [1 / 6, 1 / 5, 0, 1 / 2])


def test_observed_stops_for_certain_where_the_longest_stopped() -> None:
    z = lengths.observed([2, 5, 3], [False, False, True]).logits(9)
    assert z[1] == pytest.approx(math.log(1 / 2))
    assert np.isneginf(z[[0, 2, 3]]).all()
    assert np.isposinf(z[4:]).all()


def test_observed_takes_whole_floats_and_any_order() -> None:
    assert lengths.observed([3.0, 1.0], [True, False]) == lengths.observed([1, 3], [False, True])


def test_observed_forgets_nothing_below_a_smaller_cap() -> None:
    law = lengths.observed([1, 4, 9, 9], [False, False, False, True])
    np.testing.assert_array_equal(law.logits(4), law.logits(9)[:4])


# --- values ------------------------------------------------------------------------------------------------------

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
    (lambda: lengths.table([[0.1]]), r"hazard must have 1 axes .*, got \(1, 1\)"),
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
