"""Laws of length with formulas, tables and observations: by hand, against scipy, many digits and plain counting."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lossim import lengths
from survival import LONG, log_mass, survival_and_mass

means = st.floats(1.0, 1e5)
medians = st.floats(0.05, 1e5)
sigmas = st.floats(0.05, 4.0)
hazards = st.lists(st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0])), min_size=1, max_size=12)


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
