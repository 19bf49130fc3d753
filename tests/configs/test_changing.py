"""The setting that makes a change: written into a config, it makes the scheme that the change does, and no other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import lossim as ls
from lossim import advantages as adv
from lossim import aggregation as agg
from lossim.configs import read_config
from lossim.configs._changing import KNOWN, setting_of, with_settings
from lossim.penalties import KL, Entropy

TRL = {"loss_type": "dapo", "max_completion_length": 1024, "num_generations": 8, "beta": 0.02, "entropy_coef": 0.01,
       "per_device_train_batch_size": 8}
VERL = {"algorithm.adv_estimator": "grpo", "actor_rollout_ref.rollout.n": 8, "data.max_response_length": 1024,
        "actor_rollout_ref.actor.use_kl_loss": True, "actor_rollout_ref.actor.entropy_coeff": 0.01,
        "algorithm.filter_groups.enable": True, "algorithm.filter_groups.metric": "acc"}
GAE = {"algorithm.adv_estimator": "gae", "algorithm.lam": 0.95, "data.max_response_length": 1024,
       "algorithm.use_kl_in_reward": True}
OPENRLHF = {"algo.advantage.estimator": "group_norm", "rollout.n_samples_per_prompt": 8, "rollout.max_new_tokens": 1024,
            "algo.kl.init_coef": 0.01, "algo.kl.use_loss": True, "actor.entropy_coef": 0.01, "algo.kl.estimator": "k3"}
LAMBDA = {"algo.advantage.estimator": "gae", "algo.advantage.lambd": 0.9, "rollout.max_new_tokens": 1024}
CONFIGS = {"trl": ("trl==1.16", TRL), "verl": ("verl==0.9.1", VERL), "verl, gae": ("verl==0.9.1", GAE),
           "unsloth": ("unsloth==2026.10.9", TRL | {"loss_type": "bnpo"}),
           "trl, rloo": ("trl==1.16", {"beta": 0.05, "num_generations": 2, "max_completion_length": 1024}),
           "openrlhf": ("openrlhf", OPENRLHF), "openrlhf, gae": ("openrlhf", LAMBDA)}
NO_STD = {"advantage": adv.GroupMean()}
MEAN, TOKENS = {"aggregation": agg.SequenceMeanTokenMean()}, {"aggregation": agg.TokenMean()}
CONSTANT = {"aggregation": agg.ConstantNormalizer(constant=1024)}


def _read(config: str, settings: str = "") -> Any:
    """A config with settings added: KEY=VALUE, several with commas."""
    trainer, given = CONFIGS[config]
    more = dict(each.split("=") for each in settings.split(", ")) if settings else {}
    algorithm = {"algorithm": "rloo"} if config.endswith("rloo") else {}
    return read_config(given, trainer=trainer, settings=more, **algorithm)


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("trl", "truncated responses masked", {"truncation": "mask"}),
    ("trl", "truncated responses kept", {}),  # as it is
    ("trl", "no std", NO_STD), ("trl", "divided by the group's std", {}),
    ("trl", "aggregation seq-mean-token-mean", MEAN), ("trl", "aggregation token-mean", {}),
    ("trl", "aggregation seq-mean-token-sum-norm", CONSTANT),
    ("trl", "no KL", {"penalties": "entropy"}), ("trl", "no entropy bonus", {"penalties": "kl"}),
    ("unsloth", "truncated responses masked", {"truncation": "mask"}), ("unsloth", "no std", NO_STD),
    ("unsloth", "aggregation seq-mean-token-mean", MEAN), ("unsloth", "aggregation token-mean", {}),
    ("unsloth", "no KL", {"penalties": "entropy"}), ("unsloth", "no entropy bonus", {"penalties": "kl"}),
    ("trl, rloo", "no KL", {"penalties": ""}), ("trl, rloo", "truncated responses masked", {"truncation": "mask"}),
    ("verl", "no std", NO_STD), ("verl", "divided by the group's std", {}),
    ("verl", "aggregation seq-mean-token-mean", MEAN), ("verl", "aggregation token-mean", {}),
    ("verl", "aggregation seq-mean-token-sum-norm", CONSTANT),
    ("verl", "equal groups stay", {"dynamic_sampling": "none"}),
    ("verl", "no KL", {"penalties": "entropy"}), ("verl", "no entropy bonus", {"penalties": "kl"}),
    ("verl, gae", "λ = 1", {"gae_lambda": 1.0}), ("verl, gae", "no KL", {"penalties": ""}),
    ("openrlhf", "no std", NO_STD), ("openrlhf", "divided by the group's std", {}),
    ("openrlhf, gae", "aggregation seq-mean-token-mean", MEAN), ("openrlhf, gae", "aggregation token-mean", {}),
    ("openrlhf", "no KL", {"penalties": "entropy"}), ("openrlhf", "no entropy bonus", {"penalties": "kl"}),
    ("openrlhf, gae", "λ = 1", {"gae_lambda": 1.0}),
]


@pytest.mark.parametrize(("config", "words", "expected"), CHANGES, ids=[": ".join(each[:2]) for each in CHANGES])
def test_a_setting_makes_its_change_and_no_other(config: str, words: str, expected: dict[str, Any]) -> None:
    before = _read(config)
    setting = setting_of(words, before.trainer, before.scheme)
    after = _read(config, setting).scheme
    wanted = dict(expected)
    if "penalties" in wanted:
        kinds = {"kl": KL, "entropy": Entropy}
        wanted["penalties"] = tuple(each for each in before.scheme.penalties
                                    if wanted["penalties"] and isinstance(each, kinds[wanted["penalties"]]))
        assert wanted["penalties"] != before.scheme.penalties
    if "gae_lambda" in wanted:
        inner = replace(before.scheme.advantage.inner, **wanted)
        wanted = {"advantage": replace(before.scheme.advantage, inner=inner)}
    assert replace(after, name="", doubts=()) == replace(before.scheme, name="", doubts=(), **wanted)


@pytest.mark.parametrize("config", ["trl", "unsloth", "verl", "openrlhf"])
def test_numbers_that_are_turned_have_the_key_of_what_they_turn(config: str) -> None:
    parsed = _read(config)

    def turned(words: str, value: object) -> Any:
        keys = setting_of(words, parsed.trainer, parsed.scheme).split(", ")
        return _read(config, ", ".join(f"{key}={value}" for key in keys))

    assert _read(config, setting_of("cut at 2,048 tokens", parsed.trainer, parsed.scheme)).max_tokens == 2048
    assert turned("max_tokens", 512).max_tokens == 512
    assert turned("group size", 4).scheme.group_size == 4
    clip = turned("clip range, low and high alike", 0.125).scheme.surrogate
    assert (clip.low, clip.high) == (0.125, 0.125)
    assert turned("KL coefficient (k3 in the loss)", 0.5).scheme.kl_in_loss.coefficient == 0.5


@pytest.mark.parametrize("config", ["verl, gae", "openrlhf, gae"])
def test_of_gae_too(config: str) -> None:
    parsed = _read(config)
    decay, kl = (setting_of(words, parsed.trainer, parsed.scheme)
                 for words in ("λ", "KL coefficient (k1 in the reward)"))
    assert _read(config, f"{decay}=0.5").scheme.advantage.inner.gae_lambda == 0.5
    assert _read(config, f"{kl}=0.5").scheme.kl_in_reward.coefficient == 0.5


def test_every_change_is_a_setting_a_reward_or_neither() -> None:
    """What has no setting is told by name, so that a new change is looked at."""
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=20),
                                   wrong=ls.lengths.geometric(mean=30), max_tokens=64)
    without = {}
    for config in ("trl", "verl", "openrlhf"):
        parsed = _read(config)
        plain = replace(parsed.scheme, doubts=(), penalties=parsed.scheme.penalties[:1])
        found = [each.change for each in ls.what_if(plain, policy).changes]
        without[config] = {each for each in found if not setting_of(each, parsed.trainer, parsed.scheme)}
    here = {"mean and std of the others alone", "groups beyond 32 tokens dropped"}
    assert without == {
        "trl": here | {"truncated responses removed"},
        "verl": here | {"truncated responses masked", "truncated responses removed"},
        "openrlhf": here | {"truncated responses masked", "truncated responses removed",
                            "aggregation seq-mean-token-sum-norm",
                            "aggregation seq-mean-token-mean"}}  # which would average its KL another way


def test_a_power_of_length_is_no_setting_of_anybody() -> None:
    knob, = ls.stops(ls.schemes.dapo(), ls.policies.two_paths(
        solve_rate=0.4, right=ls.lengths.geometric(mean=20), wrong=ls.lengths.geometric(mean=30), max_tokens=64),
        "alpha").stops
    assert knob.knob.startswith("aggregation by T^-α")
    assert [setting_of(knob.knob, trainer, ls.schemes.dapo()) for trainer in KNOWN] == [""] * len(KNOWN)


def test_a_page_names_settings_beside_changes_alone() -> None:
    from lossim._display import Page, Section, Table, Text

    changes = Table(title="", columns=("what if", "tokens"), rows=(("no std", "+1"), ("as it is", "+2")))
    other = Table(title="", columns=("path", "tokens"), rows=(("right", "+1"),))
    page = Page(kind="", title="", sentence="", printed="", sections=(
        Section(title="a", parts=(changes, Text(text="b"))), Section(title="c", parts=(other,), folded=True)))
    named = with_settings(page, "trl", ls.schemes.grpo())
    table = named.sections[0].parts[0]
    assert table.columns == changes.columns
    assert table.rows == (("no std\ntrl: scale_rewards=none", "+1"), ("as it is", "+2"))
    assert named.sections[1].parts[0] is other
    assert with_settings(page, "nemo_rl", ls.schemes.grpo()).sections[0].parts[0] is changes
