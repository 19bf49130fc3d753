"""The command line on numbers, with no log: schemes side by side, what-if, stops, survey and train."""

from __future__ import annotations

from dataclasses import replace

import pytest

import lossim as ls
from command_line import LAWS, QUICK, plain, run, strict
from lossim import schemes
from lossim._cli.tables import DEAD, STILL, UNDECIDED, Side, in_a_sentence
from lossim.critics import Exact, Scaled

NUMBERS = ["--accuracy", "0.4", "--right", "60", "--wrong", "110", "--max-tokens", "256"]
START = ls.policies.from_summary(accuracy=0.4, right=60, wrong=110, max_tokens=256)


def test_means_are_from_summary(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "drift", "--scheme", "GRPO", *NUMBERS)
    assert out == f"{ls.drift(schemes.grpo(), START)}\n"
    assert err == ""
    terminated = ["--accuracy", "0.4", "--mean-length", "80", "--mean-of", "terminated", "--truncated", "0.05",
                  "--premature", "0.3", "--classes", "3", "--max-tokens", "256"]
    policy = ls.policies.from_summary(accuracy=0.4, mean_length=80, mean_of="terminated", truncated=0.05,
                                      premature=0.3, classes=3, max_tokens=256)
    said = strict(run(capsys, "drift", "--scheme", "grpo", *terminated, "--json")[0])
    assert said["drift"] == plain(ls.drift(schemes.grpo(), policy).to_dict(arrays=False))


@pytest.mark.parametrize(("options", "scheme"), [
    (["--scheme", "ppo", "--lambda", "0.8"], schemes.ppo(gae_lambda=0.8)),
    (["--scheme", "ppo", "--critic", "exact"], schemes.ppo(critic=Exact())),
    (["--scheme", "ppo", "--critic", "lagging"], schemes.ppo(critic=Scaled(critic=Exact(), factor=0.5))),
    (["--scheme", "ppo", "--critic", "Class-Mean"], schemes.ppo(critic=ls.critics.ClassMean())),
    (["--scheme", "ppo", "--critic", "-0.25"], schemes.ppo(critic=ls.critics.Constant(value=-0.25))),
    (["--scheme", "grpo", "--kl", "0.01"], schemes.grpo(kl=0.01)),
    (["--scheme", "rloo", "--kl", "0.01"], schemes.rloo(kl=0.01)),
    (["--scheme", "reinforce-plus-plus", "--kl", "0.01"], schemes.reinforce_plus_plus(kl=0.01)),
    (["--scheme", "dapo", "--kl", "0.01"], replace(schemes.dapo(), penalties=(
        ls.penalties.KL(coefficient=0.01, estimator="k3"),))),
    (["--scheme", "grpo", "--kl", "0"], schemes.grpo()),
    (["--scheme", "dr-grpo", "--group-size", "4", "--prompts", "16"], schemes.dr_grpo(group_size=4,
                                                                                      prompts_per_step=16)),
])
def test_settings(capsys: pytest.CaptureFixture[str], options: list[str], scheme: ls.Scheme) -> None:
    said = strict(run(capsys, "drift", *options, *NUMBERS, "--json")[0])
    assert said["drift"] == plain(ls.drift(scheme, START).to_dict(arrays=False))


def test_a_pace_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    said = strict(run(capsys, "drift", "--scheme", "grpo", *NUMBERS, "--pace", "0.40:0.46:50", "--json")[0])
    paced = ls.drift(schemes.grpo(), START, pace=ls.pace(accuracy=(0.40, 0.46), steps=50))
    assert said["verdict"] == f"grpo: {paced.verdict}"


# --- side by side -------------------------------------------------------------------------------------------------


def test_schemes_side_by_side_are_drifts(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["grpo", "dr_grpo", "ppo"]
    options = ["drift", *NUMBERS, "--compare", "grpo,DR_GRPO,ppo,grpo"]
    said = strict(run(capsys, *options, "--json")[0])
    drifts = [ls.drift(getattr(schemes, name)(), START) for name in names]
    assert [each["scheme"] for each in said["drifts"]] == names
    for each, drift in zip(said["drifts"], drifts, strict=True):
        assert each == {"scheme": drift.scheme.name, "verdict": drift.verdict} | plain(drift.to_dict(arrays=False))
    out, err = run(capsys, *options)
    assert out.splitlines()[0] == said["verdict"]
    assert err == ""
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    for name, drift in zip(names, drifts, strict=True):
        low, high = drift.range
        assert f"{low:+.3g} to {high:+.3g}" in rows[name]
        assert f"{100 * float(drift.accuracy_per_token):+.3g}" in rows[name]
    both = strict(run(capsys, "drift", *NUMBERS, "--scheme", "grpo,dr_grpo", "--compare", "ppo", "--json")[0])
    assert both["drifts"] == said["drifts"]


def test_what_decides_is_said_of_each_undecided_scheme(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--accuracy", "0.45", "--mean-length", "90", "--max-tokens", "256"]
    policy = ls.policies.from_summary(accuracy=0.45, mean_length=90, max_tokens=256)
    out, _ = run(capsys, "drift", *numbers, "--scheme", "ppo,grpo")
    undecided = [ls.drift(each(), policy) for each in (schemes.ppo, schemes.grpo)]
    assert all(drift.verdict.startswith("undecided") for drift in undecided)
    assert out.startswith("undecided under all 2 presets: ")
    for drift in undecided:
        reasons = "; ".join(doubt.text for doubt in drift.doubts if not doubt.decided)
        assert f"  undecided: {drift.scheme.name}: {reasons}\n" in out


def test_ways_are_counted_and_ends_named() -> None:
    sides = [Side("a", 1.0, 3.0), Side("b", -1.0, -2.0), Side("c", UNDECIDED, 1.0), Side("d", STILL, float("nan")),
             Side("e", DEAD, float("nan"))]
    counted = "responses get longer under 1 of 5 presets, shorter under 1, undecided under 1, nothing moves under 1"
    dead = "unknown under 1 (all groups of the log are dead)"
    assert in_a_sentence(sides) == f"{counted}, {dead}: from -2 (b) to +3 (a) tokens in a step of 0.01 nats"
    assert in_a_sentence([Side("a", 1.0, 3.0, barred=False), sides[4]]) == (
        f"responses get longer under 1 of 2 presets, {dead}: +3 (a) tokens in a step of 0.01 nats, without error bars")
    assert in_a_sentence(sides[3:4]) == "nothing moves under any of the 1 presets"
    assert in_a_sentence(sides[4:]) == "all groups of the log are dead: none of the 1 presets can be told from it"


def test_dead_groups_are_those_of_the_binomial_law(capsys: pytest.CaptureFixture[str]) -> None:
    """Two responses to a prompt are both right or both wrong in p² + (1 - p)² of groups."""
    out, _ = run(capsys, "drift", *NUMBERS, "--scheme", "grpo,ppo", "--group-size", "2")
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("  ")}
    assert rows["grpo"].endswith("52.0%")
    assert "%" not in rows["ppo"]  # which compares no group


def test_all_presets_but_those_that_need_more(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--accuracy", "0.4", "--mean-length", "9", "--spread", "0.3", "--max-tokens", "32"]
    said = strict(run(capsys, "drift", *numbers, "--compare", "all", "--json")[0])
    assert [each["scheme"] for each in said["drifts"]] == [name for name in schemes.presets() if name != "remax"]
    assert said["notes"] == ["remax is left out: it needs greedy_reward, which is not among what is given"]


def test_settings_that_some_have_not_are_noted(capsys: pytest.CaptureFixture[str]) -> None:
    said = strict(run(capsys, "drift", *NUMBERS, "--scheme", "grpo,ppo", "--lambda", "0.9", "--critic", "zero",
                      "--json")[0])
    assert said["notes"] == ["--lambda is for GAE, which grpo has not", "--critic is for GAE, which grpo has not"]
    changed = schemes.ppo(gae_lambda=0.9, critic=ls.critics.Zero())
    assert said["drifts"][1]["length"] == plain(ls.drift(changed, START).length.to_dict())


# --- other verbs --------------------------------------------------------------------------------------------------


def test_what_if_of_numbers_and_of_a_log(capsys: pytest.CaptureFixture[str], log: str) -> None:
    assert run(capsys, "what-if", "--scheme", "grpo", *NUMBERS)[0] == f"{ls.what_if(schemes.grpo(), START)}\n"
    found = ls.what_if(schemes.grpo(), ls.Rollouts.read([log]), replicates=20)
    out, err = run(capsys, "what-if", log, "--scheme", "grpo", *QUICK)
    assert out == f"{found}\n"
    assert err == ""
    said = strict(run(capsys, "what-if", log, "--scheme", "grpo", *QUICK, "--json")[0])
    assert said["what_if"] == plain(found.to_dict())


def test_attribution_of_numbers_and_of_a_log(capsys: pytest.CaptureFixture[str], log: str) -> None:
    path = [schemes.dr_grpo(), schemes.ppo(group_size=8)]
    words = ["attribute", "--compare", "grpo,dr_grpo,ppo", "--group-size", "8"]
    assert run(capsys, *words, *NUMBERS)[0] == f"{ls.attribute(path, START, relative_to=schemes.grpo())}\n"
    found = ls.attribute(path, ls.Rollouts.read([log]), relative_to=schemes.grpo(), replicates=20)
    said = strict(run(capsys, *words, log, *QUICK, "--json")[0])
    assert said["attribution"] == plain(found.to_dict())


def test_stops_of_numbers_and_of_a_log(capsys: pytest.CaptureFixture[str], log: str) -> None:
    found = ls.stops(schemes.dr_grpo(), START, "group_size")
    assert run(capsys, "stops", "--scheme", "dr_grpo", "--knob", "group-size", *NUMBERS)[0] == f"{found}\n"
    of_log = ls.stops(schemes.dr_grpo(), ls.Rollouts.read([log]), "penalty")
    said = strict(run(capsys, "stops", log, "--scheme", "dr_grpo", "--knob", "penalty", "--json")[0])
    assert said["stops"] == plain(of_log.to_dict())


def test_survey_of_one_scheme_two_and_treatments(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--accuracy", "0.3:0.6", "--mean-length", "80", "--ratio", "0.7:2:log", "--max-tokens", "256",
               "--draws", "16", "--truncated", "0.02"]
    unknowns = {"accuracy": (0.3, 0.6), "mean_length": 80, "ratio": ls.log_range(0.7, 2.0), "truncated": 0.02,
                "max_tokens": 256}
    grpo = schemes.grpo()
    for words, question in ((["grpo"], grpo), (["grpo,dr_grpo"], (grpo, schemes.dr_grpo())),
                            (["mask:keep", "--scheme", "grpo"], (replace(grpo, truncation="mask"), grpo))):
        found = ls.survey(question, unknowns, draws=16)
        out, err = run(capsys, "survey", *words, *numbers)
        assert out == f"{found}\n"
        assert err == ""
    said = strict(run(capsys, "survey", "grpo", *numbers, "--json")[0])
    assert said["survey"] == plain(ls.survey(grpo, unknowns, draws=16).to_dict())


def test_survey_of_critics_kernels_and_steps(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--accuracy", "0.4", "--mean-length", "40", "--max-tokens", "64", "--draws", "16", "--seed", "3"]
    known = {"accuracy": 0.4, "mean_length": 40, "max_tokens": 64}
    out, _ = run(capsys, "survey", "ppo", *numbers, "--critic", "zero,Class-Mean", "--sharing", "0.3:0.9")
    unsure = {"critic": ["zero", "class mean"], "sharing": (0.3, 0.9)}
    asked = ls.survey(schemes.ppo(), known | unsure, draws=16, seed=3)
    assert out == f"{asked}\n"
    out, _ = run(capsys, "survey", "grpo", *numbers, "--steps", "3", "--pace", "1e-6:1e-5:log")
    run_asked = ls.survey([(schemes.grpo(), 3)], known | {"pace": ls.log_range(1e-6, 1e-5)}, draws=16, seed=3)
    assert out == f"{run_asked}\n"


def test_train(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--scheme", "grpo", "--steps", "3", "--json"]
    paced = strict(run(capsys, *words, *NUMBERS, "--pace", "1e-5")[0])
    known = ls.train(schemes.grpo(), START, steps=3, pace=ls.pace(kl_per_step=1e-5))
    assert paced["training"] == plain(known.to_dict())
    rated = strict(run(capsys, *words, *NUMBERS, "--learning-rate", "0.5")[0])
    other = ls.train(schemes.grpo(), START, steps=3, optimizer=ls.optimizers.SGD(learning_rate=0.5))
    assert rated["training"]["length"] == plain(other.length.tolist())
    assumed = strict(run(capsys, *words, *LAWS, "--max-tokens", "256")[0])
    assert [note.partition(":")[0] for note in assumed["notes"]][-1] == "assumed"
    out, _ = run(capsys, *words[:-1], *NUMBERS, "--pace", "1e-5")
    assert out.startswith(f"grpo: {known.length[-1] - known.length[0]:+.3g} tokens and ")


def test_presets_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "presets", "Dr-GRPO", "grpo")
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["grpo", "dr_grpo"]
