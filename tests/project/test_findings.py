"""The scoreboard of published findings: entries are whole, rules are what they say, numbers hold by another road."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
import regenerate
import scoreboard
from findings import FINDINGS, OUT_OF_SCOPE, Finding
from findings.asking import survey
from findings.page import page
from findings.parts import Start
from findings.questions import Ask, Step, changes_by_grade, correlation, towards, two
from findings.recipes import MEANS, grouped, z_scored
from findings.rules import BASELINES, GROUPS, PREDICTED, agrees, group, verdict
from findings.starts import cut_short, thinks, two_kinds

IDS = [f"F{number:02}" for number in range(1, 29)] + [f"G{number:02}" for number in range(1, 10)]


def test_every_finding_is_asked_or_out_of_scope() -> None:
    told = {finding.id[:3] for finding in FINDINGS} | {name[:3] for name in OUT_OF_SCOPE}
    assert sorted(told) == IDS
    assert len({finding.id for finding in FINDINGS}) == len(FINDINGS)
    assert all(re.fullmatch(r"[FG]\d\d[a-e]?", finding.id) for finding in FINDINGS)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.id)
def test_every_entry_is_whole(finding: Finding) -> None:
    assert finding.source.url.startswith("https://")
    assert finding.setting
    assert finding.observed
    assert len(finding.label) <= 44
    for name, given in finding.given.items():
        assert len(given.why) > 5, name


def test_verdicts_at_made_up_shares() -> None:
    shares = 1.0, 0.9, 0.899, 0.5, 0.1, 0.099, 0.0
    assert [verdict(share) for share in shares] == ["predicted"] * 2 + ["depends"] * 3 + ["contradicted"] * 2


def test_agreement_is_a_sign_or_smallness() -> None:
    assert [agrees(number, 1, 1.0) for number in (3.0, 0.1, 0.0, -2.0)] == [True, True, False, False]
    assert [agrees(number, -1, 1.0) for number in (3.0, 0.1, 0.0, -2.0)] == [False, False, False, True]
    assert [agrees(number, 0, 1.0) for number in (3.0, 0.1, 0.0, -2.0)] == [False, True, True, False]


def test_groups() -> None:
    assert group(pair=False, expected=1) == "grew"
    assert group(pair=True, expected=-1) == "pair: second longer"
    assert group(pair=True, expected=0) == "flat or alike"


# --- starts ----------------------------------------------------------------------------------------------------------

PLAIN = {"ratio": 1.3, "premature": 0.3, "after": 0.2, "spread": 0.5, "loops": 0.02, "cap": 1200, "scale": 4.0}


def test_starts_have_the_numbers_that_were_reported() -> None:
    start = thinks(accuracy=0.4, mean=300.0, **PLAIN)
    assert 4.0 * start.mean_length == pytest.approx(300.0, rel=1e-4)
    assert start.accuracy == pytest.approx(0.4, rel=1e-6)
    cut = cut_short(cut=0.3, looping=0.2, wrong=0.1, ratio=1.2, early=0.05, after=0.2, spread=0.5, cap=1200, scale=4.0)
    assert cut.truncation_rate == pytest.approx(0.3, rel=1e-3)  # loops stop in the end
    both = two_kinds(easy=0.8, hard=0.2, mean_easy=150.0, mean_hard=400.0, loops_hard=0.02, **PLAIN)
    assert both.accuracy == pytest.approx(0.5, rel=1e-6)
    assert 4.0 * both.mean_length == pytest.approx(275.0, rel=1e-4)


# --- simple rules, by listing what there is --------------------------------------------------------------------------


def listed(policy: ls.Policy) -> list[tuple[float, int, bool, bool, float]]:
    """All responses there are: chance, class, right, cut, length."""
    found = []
    for cell, name in enumerate(policy.cell_names):
        number = [each.name for each in policy.classes].index(name[0])
        for grade in (0, 1):
            for end in range(policy.max_tokens + 1):
                chance = policy.cell_weight[cell] * policy.law[cell, grade, end]
                found.append((chance, number, grade == 0, end == policy.max_tokens, min(end + 1.0, policy.max_tokens)))
    return found


def mean_of(rows: list[tuple[float, float]]) -> float:
    return sum(chance * value for chance, value in rows) / sum(chance for chance, _ in rows)


@pytest.mark.parametrize("std", [False, True])
def test_correlation_is_that_of_a_list_of_all_responses(std: bool) -> None:
    start = thinks(accuracy=0.4, mean=60.0, concentration=1.5, difficulty=1.0, **PLAIN | {"cap": 160})
    scheme = grouped(std=std, mean="tokens", reward=ls.Reward(correct=1.0, incorrect=0.0, truncated=-0.5))({})
    rows = listed(start)
    paid = [-0.5 if cut else float(right) for _, _, right, cut, _ in rows]
    credit = []
    for (_, number, *_), reward in zip(rows, paid, strict=True):
        mates = [(row[0], other) for row, other in zip(rows, paid, strict=True) if row[1] == number]
        mean = mean_of(mates)
        spread = math.sqrt(mean_of([(chance, (other - mean) ** 2) for chance, other in mates])) if std else 1.0
        credit.append((reward - mean) / spread)
    weights = np.array([row[0] for row in rows])
    covariance = np.cov(credit, [row[4] for row in rows], aweights=weights, ddof=0)
    expected = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    assert correlation(Step(scheme, start)) == pytest.approx(expected, rel=1e-9)


def test_towards_is_that_of_a_list_of_all_responses() -> None:
    start = thinks(accuracy=0.4, mean=60.0, **PLAIN | {"cap": 160})
    rows = listed(start)
    right = mean_of([(row[0], row[4]) for row in rows if row[2]])
    assert towards(start) == pytest.approx(right / mean_of([(row[0], row[4]) for row in rows]) - 1.0, rel=1e-9)


# --- measures --------------------------------------------------------------------------------------------------------


def test_length_by_grade_moves_as_a_small_step_does() -> None:
    start = thinks(accuracy=0.4, mean=200.0, **PLAIN)
    drift = ls.drift(grouped(mean="responses")({}), start, kernels=[start.coordinates])

    def means(policy: ls.Policy) -> np.ndarray:
        rows = listed(policy)
        return np.array([mean_of([(row[0], row[4]) for row in rows if row[2] == right]) for right in (True, False)])

    small = 1e-4
    there, back = (means(start.moved(sign * small * drift.update.value)) for sign in (1.0, -1.0))
    assert changes_by_grade(drift, start) == pytest.approx((there - back) / (2.0 * small), rel=1e-5)


def test_a_pair_of_one_and_the_same_says_nothing() -> None:
    start = Start.of(thinks(accuracy=0.4, mean=200.0, **PLAIN), {})
    asked = Ask(two(grouped(mean="tokens"), grouped(mean="tokens")))(start)
    assert asked[:3] == (0.0, 0.0, 0.0)
    assert math.isnan(asked.towards)


def test_a_price_relative_to_the_group_is_nearly_that_relative_to_all_right_responses() -> None:
    start = thinks(accuracy=0.8, mean=200.0, **PLAIN | {"loops": 0.0})
    limit = ls.Scheme(reward=z_scored(start, 0.4), advantage=ls.advantages.LeaveOneOut(), aggregation=MEANS["constant"],
                      group_size=32, prompts_per_step=16)
    group = replace(limit, reward=ls.Reward(shaping=ls.rewards.LengthZScore(alpha=0.4)))
    sampled = ls.drift(group, start, "monte_carlo", rng=np.random.default_rng(1), batches=200)
    exact = float(ls.drift(limit, start, kernels=[start.coordinates]).length_per_kl)
    noise = 4.0 * sampled.length_per_kl.stderr + 0.05 * abs(exact)
    assert exact == pytest.approx(float(sampled.length_per_kl), abs=noise)


# --- what is stored --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored() -> dict:
    return regenerate.stored("scoreboard")


def test_page_is_current(stored: dict) -> None:
    assert regenerate.FINDINGS.read_text(encoding="utf-8") == page(stored), "run python figures/regenerate.py"


def test_title_and_counts_are_those_of_the_answers(stored: dict) -> None:
    rows = stored["findings"]
    assert [row["id"] for row in rows] == [finding.id for finding in FINDINGS]
    told = [sum(row["verdict"] == each for row in rows) for each in ("predicted", "depends", "contradicted")]
    assert [int(number) for number in re.findall(r"\d+", scoreboard.CLAIM)] == [len(rows), *told]
    for page_of_proofs in ("README.md", "docs/trust.md"):
        text = " ".join((regenerate.HERE.parent / page_of_proofs).read_text(encoding="utf-8").split())
        assert re.search(rf"Of {len(rows)} (published )?observations", text)
        assert f"{told[0]} are predicted and {told[2]} contradicted; {told[1]} hang" in text
    for name in GROUPS:
        mine = [row for row in rows if row["group"] == name]
        assert stored["counts"][name]["predicted"] == sum(row["verdict"] == "predicted" for row in mine)
        for rule in BASELINES:
            right = sum(row["baselines"][rule] >= PREDICTED for row in mine)
            assert stored["counts"][name]["baselines"][rule] == right


def test_finer_units_change_no_verdict(stored: dict) -> None:
    assert {row["id"] for row in stored["finer"]} == set(scoreboard.FINER)
    for row in stored["finer"]:
        assert len({verdict(share) for share in row["shares"]}) == 1


def test_one_finding_again_draw_by_draw_and_by_sampling(stored: dict) -> None:
    """The share by a loop over the draws, and the numbers of some of them from sampled batches."""
    finding = next(each for each in FINDINGS if each.id == "F11")
    answers = survey(finding)
    shorter = sum(ls.drift(step.scheme, step.policy, kernels=[step.policy.coordinates]).length < 0
                  for start in answers.starts[::10] for step in finding.ask.steps(start))
    assert shorter == sum(asked.per_kl < 0 for asked in answers.asked[::10])
    row = next(each for each in stored["findings"] if each["id"] == "F11")
    assert row["share"] == pytest.approx(sum(asked.per_kl < 0 for asked in answers.asked) / len(answers.asked))
    for number in (3, 77, 150):
        (step,) = finding.ask.steps(answers.starts[number])
        scheme = replace(step.scheme, prompts_per_step=16)
        sampled = ls.drift(scheme, step.policy, "monte_carlo", rng=np.random.default_rng(number), batches=64,
                           kernels=[step.policy.coordinates])
        exact = ls.drift(scheme, step.policy, kernels=[step.policy.coordinates])
        assert abs(float(sampled.length) - float(exact.length)) < 5.0 * sampled.length.stderr
