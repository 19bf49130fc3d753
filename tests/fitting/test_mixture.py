"""The law of solve rates against other roads to it, and laws of length against what they must keep."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from lossim._fitting.mixture import class_laws, hazard_logits, make_cells, slopes
from lossim._fitting.prior import Counts, directional_derivative, merged, npmle, pairs, posterior


def counts_of(rates: np.ndarray, answers: np.ndarray, seed: int) -> Counts:
    k, n, pair = pairs(np.random.default_rng(seed).binomial(answers, rates), answers)
    return Counts(correct=k.astype(float), answers=n.astype(float), prompts=np.bincount(pair).astype(float))


def drawn(kind: str, prompts: int, seed: int, most: int = 8, ragged: bool = False) -> Counts:
    rng = np.random.default_rng(seed)
    rates = {"beta": rng.beta(0.5, 0.7, prompts), "two": rng.choice([0.0, 0.4], prompts, p=[0.7, 0.3]),
             "one": np.full(prompts, 0.3), "ends": rng.choice([0.0, 0.3, 0.8, 1.0], prompts)}[kind]
    answers = rng.integers(1, most + 1, prompts) if ragged else np.full(prompts, most)
    return counts_of(rates, answers, seed + 1)


CASES = [(kind, prompts, ragged) for kind in ("beta", "two", "one", "ends") for prompts in (40, 2000)
         for ragged in (False, True)]


@pytest.mark.parametrize(("kind", "prompts", "ragged"), CASES)
def test_no_direction_leads_uphill(kind: str, prompts: int, ragged: bool) -> None:
    counts = drawn(kind, prompts, seed=prompts, ragged=ragged)
    found = npmle(counts)
    derivative = directional_derivative(counts, found)(np.linspace(0.0, 1.0, 20_001))
    assert derivative.max() < 1e-6
    at_points = directional_derivative(counts, found)(found.points)
    assert np.abs(found.weights * at_points).max() < 1e-5
    assert found.weights.sum() == pytest.approx(1.0)
    assert (np.diff(found.points) > 0).all()


@pytest.mark.parametrize(("kind", "ragged"), [("beta", False), ("two", True), ("ends", False)])
def test_as_likely_as_a_general_optimiser_finds(kind: str, ragged: bool) -> None:
    """Weights of a fine grid by L-BFGS, as softmax: never more likely, and less by little."""
    counts = drawn(kind, 300, seed=7, ragged=ragged)
    likelihood = counts.likelihood(np.linspace(0.0, 1.0, 201))

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        weights = np.exp(z - z.max())
        weights /= weights.sum()
        mixed = likelihood @ weights
        pull = (counts.prompts / mixed) @ likelihood
        return -float(counts.prompts @ np.log(mixed)), -weights * (pull - counts.total)

    other = -minimize(loss, np.zeros(201), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14}).fun
    assert other <= npmle(counts).log_likelihood + 1e-5
    assert npmle(counts).log_likelihood - other < 0.02


def test_groups_of_one_have_the_mean() -> None:
    counts = Counts(correct=np.array([0.0, 1.0]), answers=np.ones(2), prompts=np.array([30.0, 10.0]))
    found = merged(counts, npmle(counts))
    np.testing.assert_allclose(found.points, [0.25], atol=1e-6)
    assert found.log_likelihood == pytest.approx(30 * np.log(0.75) + 10 * np.log(0.25))


def test_groups_of_two_have_two_moments() -> None:
    """Shares q0, q1, q2 of 0, 1, 2 correct are met exactly where they can be: E[p] = q2 + q1/2, E[p²] = q2."""
    counts = Counts(correct=np.array([0.0, 1.0, 2.0]), answers=np.full(3, 2.0), prompts=np.array([50.0, 20.0, 30.0]))
    found = npmle(counts)
    assert found.weights @ found.points == pytest.approx(0.4, abs=1e-5)
    assert found.weights @ found.points**2 == pytest.approx(0.3, abs=1e-5)


@pytest.mark.parametrize("kind", ["beta", "two", "one", "ends"])
def test_merging_costs_what_it_may(kind: str) -> None:
    counts = drawn(kind, 3000, seed=5)
    full = npmle(counts)
    few = merged(counts, full)
    assert -1e-3 <= full.log_likelihood - few.log_likelihood <= 4.0
    assert len(few.points) <= len(full.points)
    np.testing.assert_allclose(few.weights @ few.points, counts.prompts @ counts.correct / (8 * counts.total),
                               atol=2e-3)
    np.testing.assert_allclose(posterior(counts, few).sum(axis=1), 1.0)
    assert len(merged(counts, full, 2).points) == min(2, len(full.points))


@pytest.mark.parametrize(("kind", "prompts"), [("beta", 300), ("beta", 3000), ("beta", 20_000), ("ends", 300)])
def test_merging_goes_on_to_two_nats(kind: str, prompts: int) -> None:
    """No more than that is lost, and one point less would lose more."""
    counts = drawn(kind, prompts, seed=5)
    full = npmle(counts)
    few = merged(counts, full)
    less = merged(counts, full, len(few.points) - 1)
    assert full.log_likelihood - few.log_likelihood <= 2.0 < full.log_likelihood - less.log_likelihood


def test_true_points_are_found() -> None:
    """With 40,000 prompts of 16: within 5 standard errors of the rate and the weight; 0 is 0."""
    counts = drawn("two", 40_000, seed=3, most=16)
    found = merged(counts, npmle(counts))
    assert found.points[0] == 0.0
    assert abs(found.weights[0] - 0.7) < 5.0 * np.sqrt(0.21 / 40_000)
    high = found.weights[1:] @ found.points[1:] / found.weights[1:].sum()
    assert abs(high - 0.4) < 5.0 * np.sqrt(0.24 / (0.3 * 40_000 * 16))


@pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0, 5.0])
@pytest.mark.parametrize("cut", [0, 50])
def test_a_law_keeps_the_mean_and_the_truncated_share(smoothing: float, cut: int) -> None:
    lengths = np.random.default_rng(2).geometric(1 / 60, 1500)
    lengths = lengths[lengths <= 300]
    cells = make_cells(lengths, 300, smoothing)
    assert (cells.width >= 1).all()
    assert cells.last[-1] == 300
    count = np.bincount(cells.of(lengths), minlength=len(cells.last)).astype(float)
    sums = np.bincount(cells.of(lengths), lengths, len(cells.last))
    assert ((cells.first[cells.of(lengths)] <= lengths) & (lengths <= cells.last[cells.of(lengths)])).all()
    middle = np.where(count > 0, sums / np.maximum(count, 1.0), cells.last)
    laws = class_laws(np.append(count, cut)[None, :], np.ones((1, 1)), middle, cells.raw)
    logits = hazard_logits(laws, cells, slopes(cells, count, sums), len(lengths))[0]
    with np.errstate(over="ignore"):
        hazard = 1.0 / (1.0 + np.exp(-logits))
    survival = np.concatenate([[1.0], np.cumprod(1.0 - hazard)])
    pmf = survival[:-1] * hazard
    assert survival[-1] == pytest.approx(cut / (len(lengths) + cut), abs=2e-4)
    assert pmf @ np.arange(1, 301) / pmf.sum() == pytest.approx(lengths.mean(), rel=2e-3)
    if smoothing:
        assert np.isfinite(logits).all()
    else:
        np.testing.assert_allclose(pmf[:200] * (len(lengths) + cut), np.bincount(lengths, minlength=301)[1:201],
                                   atol=1e-8)


def test_slopes_give_the_mean_of_a_cell() -> None:
    cells = make_cells(np.random.default_rng(0).integers(1, 1000, 400), 1000, 1.0)
    count = np.full(len(cells.last), 1e9)
    mean = cells.first + (cells.width - 1.0) * np.random.default_rng(1).uniform(0.05, 0.95, len(cells.last))
    for first, width, slope, wanted in zip(cells.first, cells.width, slopes(cells, count, count * mean), mean,
                                           strict=True):
        place = np.arange(width)
        weight = np.exp(slope * (place - place.mean()))
        assert first + weight @ place / weight.sum() == pytest.approx(wanted, abs=1e-6 * width)


def test_classes_are_told_apart_through_mixed_rows() -> None:
    """Rows that are blends of two laws teach both: soft counting alone would blur them into each other."""
    rng = np.random.default_rng(4)
    x = np.linspace(-2.0, 2.0, 20)
    truth = np.exp(-0.5 * (x - np.array([[-0.7], [0.7]])) ** 2 / 0.5)
    truth /= truth.sum(axis=1, keepdims=True)
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    wrong = []
    for size in (3_000, 30_000, 300_000):
        counts = np.array([[*rng.multinomial(size, row), 0] for row in shares @ truth], dtype=float)
        laws = class_laws(counts, shares, np.exp(x), raw=False)
        wrong.append(0.5 * np.abs(laws[:, :-1] - truth).sum(axis=1).max())
    blurred = (shares / shares.sum(axis=0)).T @ shares @ truth
    assert wrong[-1] < 0.02 < 0.5 * np.abs(blurred - truth).sum(axis=1).max()
    assert wrong[0] > wrong[-1]
