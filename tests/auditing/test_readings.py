"""Where the sign hangs on whether responses know their outcome, the verdict names that and no sign."""

from __future__ import annotations

import numpy as np
import pytest

import lossim as ls
from lossim._support.verdicts import AtOneShare, over_shares

LONG_RIGHT = ls.policies.two_paths(solve_rate=0.6, right=ls.lengths.lognormal(median=90, sigma=0.4),
                                   wrong=ls.lengths.lognormal(median=60, sigma=0.4), max_tokens=256)
PPO = ls.schemes.ppo()
UNDECIDED = "undecided: it hangs on whether responses know their outcome, and the log does not tell it: "


def log_of(policy: ls.Policy, prompts: int = 2000) -> ls.Rollouts:
    return policy.sample(np.random.default_rng(0), prompts=prompts, group_size=8, reward=PPO.reward)


def test_two_readings_of_opposite_signs_leave_an_audit_undecided() -> None:
    """On the policy itself the two joint laws are one, and the drifts have opposite signs."""
    exact = [float(ls.drift(PPO, LONG_RIGHT.with_paths(paths)).length) for paths in ("outcome", "one")]
    assert exact[0] < 0 < exact[1]
    log = log_of(LONG_RIGHT)
    for paths, other in (("outcome", "one"), ("one", "outcome")):
        audit = ls.audit(log, PPO, paths=paths, what_if=False, replicates=50)
        finding = audit[0]
        assert finding.undecided
        assert audit.verdict.startswith(f"ppo: {UNDECIDED}")
        assert str(audit).startswith(f"ppo: {UNDECIDED}")
        assert audit.to_dict()["verdict"] == audit.verdict
        ways = {"outcome": "shorter if right and wrong are paths that a response knows it is on",
                "one": "longer if it cannot tell them apart"}
        assert audit.verdict.index(ways[paths]) < audit.verdict.index(ways[other])


def test_two_readings_of_one_sign_are_a_verdict() -> None:
    knows = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.lognormal(median=60, sigma=0.6),
                                  wrong=ls.lengths.lognormal(median=60, sigma=0.6), max_tokens=512)
    assert ls.audit(log_of(knows), PPO, what_if=False, replicates=20)[0].verdict.startswith("responses get longer")


def test_a_log_that_names_paths_says_what_is_known() -> None:
    """With the paths that it names the drift is the one of outcomes, and the reading that knows less is not asked."""
    log = log_of(LONG_RIGHT)
    named = ls.audit(log, PPO, paths="column", what_if=False, replicates=20)[0]
    assert not named.undecided
    assert named.verdict.startswith("responses get shorter")


def test_a_fit_says_the_same_of_its_readings() -> None:
    drift = ls.fit(log_of(LONG_RIGHT), replicates=20).drift(PPO)
    assert float(drift.length) < 0 < float(drift.if_other_paths.length)
    assert drift.verdict.startswith(UNDECIDED)
    assert f"longer if it cannot tell them apart ({float(drift.if_other_paths.length_per_kl):+.3g})" in drift.verdict
    one = ls.fit(log_of(LONG_RIGHT), paths="one", replicates=20).drift(PPO)
    assert one.if_other_paths is None
    assert one.verdict.startswith("responses get longer")
    assert float(one.length_per_kl) == pytest.approx(float(drift.if_other_paths.length_per_kl), rel=0.05)


def share(at: float, way: int, way_if_cut: int) -> AtOneShare:
    return AtOneShare(share=at, way=way, said=f"{way:+d}", way_if_cut_done=way_if_cut, said_if_cut_done="c")


@pytest.mark.parametrize(("shares", "said"), [
    ([share(0.2, 1, 1), share(0.9, 1, 1)], "responses get longer whatever share was needed (0.2 to 0.9): +1 to +1"),
    ([share(0.2, 1, 1), share(0.9, -1, -1)], "undecided: the share of a right response that was needed decides"),
    ([share(0.2, 1, 1), share(0.9, 1, -1)], "undecided: whether truncated responses had their answer decides"),
    ([share(0.2, 0, 0), share(0.9, 0, 0)], "no drift of mean length beyond the noise of this log, whatever share")])
def test_verdicts_over_shares(shares: list[AtOneShare], said: str) -> None:
    assert over_shares(shares).startswith(said)
