"""Trainers near TRL and verl: their own defaults and rules, and otherwise what TRL and verl make of the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lossim.advantages import GroupMean, GroupStandardized, LeaveOneOut, LeaveOneOutStandardized, MaxRL, Whitened
from lossim.aggregation import ConstantNormalizer, SequenceMeanTokenMean, TokenMean
from lossim.configs import ParsedConfig, read_config
from lossim.penalties import KL
from lossim.rewards import Cosine, Reward, SoftOverlong
from lossim.schemes import Scheme, compare
from lossim.surrogates import CISPO, GSPO, SAPO, PPOClip

STD = GroupStandardized(eps=1e-4)


def slots(scheme: Scheme, *names: str) -> tuple[Any, ...]:
    return tuple(getattr(scheme, name) for name in names)


def sizes(parsed: ParsedConfig) -> tuple[int, ...]:
    return slots(parsed.scheme, "group_size", "prompts_per_step", "minibatches", "ppo_epochs")


# --- Unsloth ------------------------------------------------------------------------------------------------------


@pytest.fixture
def unsloth(tmp_path: Path) -> Any:
    """Reads a call of GRPOConfig beside an import of unsloth."""
    def read(version: str | None = None, **given: Any) -> ParsedConfig:
        code = ", ".join(f"{name}={value!r}" for name, value in given.items())
        script = tmp_path / "train.py"
        imports = "from unsloth import FastLanguageModel\nfrom trl import GRPOConfig\n"
        script.write_text(f"{imports}args = GRPOConfig({code})\n")
        return read_config(script, version=version)
    return read


SMALL = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "num_generations": 4,
         "max_completion_length": 512}


@pytest.mark.parametrize(("version", "advantage", "penalties", "prompts"), [
    ("2025.8", GroupMean(), (KL(coefficient=0.001, estimator="k3"),), 4),  # over TRL up to 0.21, where it is True
    ("2026.8", STD, (KL(coefficient=0.001, estimator="k3"),), 1),  # over TRL from 0.22, where it is "group"
    ("2026.10", GroupMean(), (), 1),
])
def test_unsloth_reads_dr_grpo_by_its_release(unsloth: Any, version: str, advantage: Any, penalties: Any,
                                              prompts: int) -> None:
    parsed = unsloth(version, loss_type="dr_grpo", **SMALL)
    assert parsed.trainer == "unsloth"
    assert slots(parsed.scheme, "advantage", "penalties") == (advantage, penalties)
    assert parsed.scheme.aggregation == ConstantNormalizer(constant=512)
    assert sizes(parsed) == (4, prompts, 1, 1)
    assert not [entry for entry in parsed.approximated if entry.key.startswith("vllm")]


def test_unsloth_without_a_release_leaves_it_in_doubt(unsloth: Any) -> None:
    parsed = unsloth(loss_type="dr_grpo", **SMALL)
    names = [name for doubt in parsed.doubts if doubt.unknown == "version of Unsloth" for name, _ in doubt.options]
    assert len(names) > 1
    assert not [doubt for doubt in unsloth("2026.8", loss_type="dr_grpo", **SMALL).doubts]


@pytest.mark.parametrize(("version", "given", "high", "truncation", "beta"), [
    ("2025.8", {"epsilon_high": 0.4}, 0.28, "mask", 0.0),
    ("2026.8", {"epsilon_high": 0.4}, 0.28, "mask", 0.001),
    ("2026.10", {}, 0.28, "mask", 0.0),
    ("2026.10", {"epsilon_high": 0.4, "mask_truncated_completions": False}, 0.4, "keep", 0.0),
])
def test_an_explicit_dapo_brings_a_mask_and_a_clip(unsloth: Any, version: str, given: dict[str, Any], high: float,
                                                   truncation: str, beta: float) -> None:
    scheme = unsloth(version, loss_type="dapo", **SMALL, **given).scheme
    assert slots(scheme, "surrogate", "truncation", "aggregation") == (PPOClip(high=high), truncation, TokenMean())
    assert sum(term.coefficient for term in scheme.penalties) == beta


def test_unsloth_bounds_cispo_and_leaves_a_default_dapo_alone(unsloth: Any) -> None:
    assert unsloth("2026.10", loss_type="cispo", **SMALL).scheme.surrogate == CISPO(low=1.0, high=4.0)
    assert slots(unsloth("2026.10", **SMALL).scheme, "surrogate", "truncation") == (PPOClip(), "keep")
    assert unsloth("2026.8", **SMALL).scheme.penalties == (KL(coefficient=0.001, estimator="k3"),)


@pytest.mark.parametrize(("version", "size", "window", "group", "prompts"), [
    ("2026.8", 1, 4, 4, 1),  # four responses are a group
    ("2026.8", 1, 1, 6, 1),  # one is none: the batch becomes the group
    ("2026.8", 2, 3, 4, 3),
    ("2025.8", 1, 4, 4, 4),  # a device's batch had to hold whole groups
])
def test_a_batch_without_whole_groups_becomes_one(unsloth: Any, version: str, size: int, window: int, group: int,
                                                  prompts: int) -> None:
    parsed = unsloth(version, per_device_train_batch_size=size, gradient_accumulation_steps=window,
                     num_generations=group)
    assert sizes(parsed)[:2] == (group, prompts)


def test_unsloth_has_a_learning_rate_of_its_own(unsloth: Any) -> None:
    assert unsloth("2026.8", **SMALL).optimizer.learning_rate == 5e-5
    assert unsloth("2026.8", learning_rate=3e-6, **SMALL).optimizer.learning_rate == 3e-6


# --- ms-swift and axolotl -----------------------------------------------------------------------------------------

WHOLE = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_generations": 8}


@given(st.sampled_from(["grpo", "bnpo", "dr_grpo", "dapo", "sapo"]), st.sampled_from([0.0, 0.04]),
       st.sampled_from(["group", "batch", "none"]), st.integers(1, 3), st.booleans(), st.sampled_from([0.2, 0.28]))
@settings(max_examples=25, deadline=None)
def test_all_given_swift_and_axolotl_read_as_trl(loss: str, beta: float, scale: str, iterations: int, masked: bool,
                                                 high: float) -> None:
    told = WHOLE | {"loss_type": loss, "beta": beta, "scale_rewards": scale, "num_iterations": iterations,
                    "epsilon": 0.2, "epsilon_high": high, "max_completion_length": 700}
    right = read_config(told | {"mask_truncated_completions": masked}, trainer="trl==0.29", processes=1).scheme
    swift = ["swift", "rlhf", "--rlhf_type", "grpo", "--overlong_filter", str(masked).lower()]
    swift += [word for key, value in told.items() for word in (f"--{key}", str(value))]
    assert not compare(read_config(swift, processes=1).scheme, right)
    batch = {"micro_batch_size": told["per_device_train_batch_size"],
             "gradient_accumulation_steps": told["gradient_accumulation_steps"]}
    section = {key: value for key, value in told.items() if key not in WHOLE} | {
        "num_generations": 8, "mask_truncated_completions": masked}
    axolotl = {"base_model": "m", "rl": "grpo", "trl": section, **batch}
    assert not compare(read_config(axolotl, processes=1, version="0.16").scheme, right)


def test_swift_has_its_own_defaults() -> None:
    parsed = read_config("swift rlhf --rlhf_type grpo --per_device_train_batch_size 8", processes=1, version="4.6")
    assert slots(parsed.scheme, "advantage", "aggregation", "surrogate") == (STD, SequenceMeanTokenMean(), PPOClip())
    assert parsed.scheme.penalties == (KL(coefficient=0.04, estimator="k3"),)
    assert (parsed.max_tokens, sizes(parsed)) == (512, (8, 1, 1, 1))
    old = read_config("swift rlhf --rlhf_type grpo --per_device_train_batch_size 8", processes=1, version="3.3")
    assert old.scheme.aggregation == TokenMean()


@pytest.mark.parametrize(("flags", "found"), [
    ("--advantage_estimator rloo", {"advantage": LeaveOneOut(), "penalties": (KL(coefficient=0.04, place="reward"),)}),
    ("--advantage_estimator rloo --kl_in_reward false", {"advantage": LeaveOneOut(), "penalties": (
        KL(coefficient=0.04, estimator="k3"),)}),
    ("--loss_type sapo --tau_pos 1.2 --tau_neg 1.5", {"surrogate": SAPO(positive=1.2, negative=1.5)}),
    ("--importance_sampling_level sequence_token --epsilon 3e-4 --epsilon_high 4e-4", {
        "surrogate": GSPO(low=3e-4, high=4e-4)}),
    ("--reward_funcs accuracy soft_overlong --soft_cache_length 100", {
        "reward": Reward(shaping=SoftOverlong(max_tokens=512, buffer=100, factor=1.0, capped=False))}),
    ("--dynamic_sample true", {"dynamic_sampling": "resample"}),
])
def test_swift_adds_to_trl(flags: str, found: dict[str, Any]) -> None:
    scheme = read_config(f"swift rlhf --rlhf_type grpo --per_device_train_batch_size 8 {flags}", processes=1).scheme
    assert slots(scheme, *found) == tuple(found.values())


def turned(length: int, end: int, low: float, high: float) -> float:
    """A half cosine from ``high`` at 0 to ``low`` at ``end``, token by token."""
    return high - (high - low) * (1.0 - math.cos(math.pi * length / end)) / 2.0


@pytest.mark.parametrize(("functions", "paid", "right", "wrong", "cut"), [
    ("cosine", None, 0.0, 0.0, 0.0), ("cosine format", None, 0.0, 0.0, 0.0), ("accuracy cosine", None, 1.0, 0.0, 0.0),
    ("external_math cosine", Reward(correct=2.0, incorrect=-1.0), 2.0, -1.0, -1.0),
    ("cosine", Reward(correct=2.0, incorrect=-1.0, truncated=-3.0), 2.0, -1.0, -3.0)])
@pytest.mark.parametrize("end", [None, 64, 90])
def test_cosine_of_swift_is_added_to_what_is_paid_by_grade(
        functions: str, paid: Reward | None, right: float, wrong: float, cut: float, end: int | None) -> None:
    flags = (f"--reward_funcs {functions} --max_completion_length 64 --cosine_min_len_value_wrong -0.8 "
             f"--cosine_max_len_value_wrong -0.1" + ("" if end is None else f" --cosine_max_len {end}"))
    parsed = read_config(f"swift rlhf --rlhf_type grpo --per_device_train_batch_size 8 {flags}", processes=1,
                         reward=paid)
    assert [doubt for doubt in parsed.doubts if doubt.unknown == "reward_funcs"] == []
    lengths = list(range(1, 65))
    last = end or 64
    for truncated in (False, True):
        found = [parsed.scheme.reward.values(lengths, [grade] * 64, [truncated] * 64) for grade in (True, False)]
        by_hand = [[right + turned(t, last, 0.5, 1.0) for t in lengths], [wrong + turned(t, last, -0.1, -0.8)
                                                                        for t in lengths]]
        if truncated:  # no cut response is right
            by_hand = [[cut + turned(64, last, -0.1, -0.8)] * 64] * 2
            found = [[each[-1]] * 64 for each in found]
        np.testing.assert_allclose(found, by_hand, rtol=1e-12, atol=1e-15)


def test_cosine_and_overlong_punishment_of_swift_add_up() -> None:
    parsed = read_config("swift rlhf --rlhf_type grpo --per_device_train_batch_size 8 --soft_cache_length 100 "
                         "--reward_funcs soft_overlong cosine", processes=1)
    assert parsed.scheme.reward.shaping == (
        Cosine(max_tokens=512, correct=(1.0, 0.5), incorrect=(-0.5, 0.0)),
        SoftOverlong(max_tokens=512, buffer=100, factor=1.0, capped=False))


@pytest.mark.parametrize("flags", ["--loss_type fipo", "--advantage_estimator reinforce_plus_plus",
                                   "--reward_funcs accuracy cosine --cosine_max_len 100",
                                   "--reward_funcs accuracy cosine --reward_weights 1 0.5",
                                   "--advantage_reweight rlsd"])
def test_what_swift_has_and_no_slot_holds_is_a_doubt(flags: str) -> None:
    parsed = read_config(f"swift rlhf --rlhf_type grpo --per_device_train_batch_size 8 {flags}", processes=1)
    assert any(slots is None for doubt in parsed.doubts for _, slots in doubt.options)


@pytest.mark.parametrize(("devices", "size", "steps"), [(1, 1, 16), (2, 4, 2), (8, 8, 1), (3, 4, 2)])
def test_swift_once_accumulated_to_sixteen_responses(devices: int, size: int, steps: int) -> None:
    told = f"swift rlhf --rlhf_type grpo --num_generations 4 --loss_type grpo --per_device_train_batch_size {size}"
    for version, window in (("3.6", steps), ("3.7", 1)):
        if devices * size * window % 4 == 0:
            config = read_config(told, version=version, processes=devices)
            assert config.scheme.prompts_per_step * 4 == devices * size * window


def test_processes_of_swift_are_in_the_environment() -> None:
    command = "NPROC_PER_NODE=4 NNODES=2 swift rlhf --rlhf_type grpo --per_device_train_batch_size 2"
    assert sizes(read_config(command))[:2] == (8, 2)


@pytest.mark.parametrize(("version", "loss", "beta"), [
    ("0.8", TokenMean(), 0.04), ("0.11", TokenMean(), 0.04), ("0.12", TokenMean(), 0.0), ("0.19", TokenMean(), 0.0)])
def test_axolotl_has_the_defaults_of_the_trl_that_it_pins(version: str, loss: Any, beta: float) -> None:
    parsed = read_config({"rl": "grpo", "trl": {"num_generations": 8}, "micro_batch_size": 8}, version=version,
                         processes=1)
    assert parsed.scheme.aggregation == loss
    assert sum(term.coefficient for term in parsed.scheme.penalties) == beta
    assert parsed.max_tokens is None


# --- EasyR1, SkyRL, NeMo RL ---------------------------------------------------------------------------------------


def test_easyr1_maps_one_to_one() -> None:
    parsed = read_config({
        "data": {"rollout_batch_size": 512, "max_response_length": 2048},
        "algorithm": {"adv_estimator": "grpo", "disable_kl": False, "use_kl_loss": True, "kl_penalty": "low_var_kl",
                      "kl_coef": 1e-2, "online_filtering": False},
        "worker": {"actor": {"global_batch_size": 128}, "rollout": {"n": 5}}})
    assert (parsed.trainer, sizes(parsed), parsed.max_tokens) == ("easyr1", (5, 128, 4, 1), 2048)
    assert slots(parsed.scheme, "advantage", "aggregation", "penalties") == (
        GroupStandardized(), TokenMean(), (KL(coefficient=0.01, estimator="k3"),))


@given(st.sampled_from(["grpo", "rloo", "gae", "reinforce_plus_plus"]), st.sampled_from([64, 128]), st.integers(2, 8),
       st.sampled_from(["none", "loss", "reward"]), st.sampled_from([0.2, 0.28]), st.integers(1, 2))
@settings(max_examples=30, deadline=None)
def test_easyr1_and_skyrl_read_as_verl(estimator: str, mini: int, group: int, kl: str, high: float, epochs: int
                                       ) -> None:
    verl = read_config({
        "algorithm.adv_estimator": estimator, "data.train_batch_size": 128, "data.max_response_length": 600,
        "actor_rollout_ref.rollout.n": group, "actor_rollout_ref.actor.ppo_mini_batch_size": mini,
        "actor_rollout_ref.actor.ppo_epochs": epochs, "actor_rollout_ref.actor.clip_ratio_high": high,
        "actor_rollout_ref.actor.use_kl_loss": kl == "loss", "actor_rollout_ref.actor.kl_loss_coef": 0.002,
        "algorithm.use_kl_in_reward": kl == "reward", "algorithm.kl_ctrl.kl_coef": 0.002}, version="0.9.1").scheme
    easyr1 = read_config({
        "algorithm.adv_estimator": estimator, "data.rollout_batch_size": 128, "data.max_response_length": 600,
        "worker.rollout.n": group, "worker.actor.global_batch_size": mini, "worker.actor.ppo_epochs": epochs,
        "worker.actor.clip_ratio_low": 0.2, "worker.actor.clip_ratio_high": high, "algorithm.disable_kl": kl == "none",
        "algorithm.use_kl_loss": kl == "loss", "algorithm.kl_coef": 0.002,
        "algorithm.kl_penalty": "low_var_kl" if kl == "loss" else "kl"}, version="0.3.2").scheme
    assert not compare(easyr1, verl)
    skyrl = read_config({
        "trainer.algorithm.advantage_estimator": estimator.replace("reinforce_plus_plus", "reinforce++"),
        "trainer.train_batch_size": 128, "trainer.policy_mini_batch_size": mini,
        "trainer.update_epochs_per_batch": epochs, "generator.n_samples_per_prompt": group,
        "generator.sampling_params.max_generate_length": 600, "trainer.algorithm.policy_loss_type": "dual_clip",
        "trainer.algorithm.eps_clip_high": high, "trainer.algorithm.use_kl_loss": kl == "loss",
        "trainer.algorithm.use_kl_in_reward": kl == "reward", "trainer.algorithm.kl_loss_coef": 0.002,
        "trainer.algorithm.kl_estimator_type": "k3" if kl == "loss" else "k1"}).scheme
    assert not compare(skyrl, verl)


@pytest.mark.parametrize(("given", "found"), [
    ({"algorithm.loss_reduction": "sequence_mean"}, {"aggregation": SequenceMeanTokenMean()}),
    ({"algorithm.loss_reduction": "prompt_mean"}, {"aggregation": TokenMean(scope="group")}),
    ({"algorithm.advantage_estimator": "maxrl"}, {"advantage": MaxRL()}),
    ({"algorithm.policy_loss_type": "gspo", "algorithm.eps_clip_low": 3e-4, "algorithm.eps_clip_high": 4e-4}, {
        "surrogate": GSPO(low=3e-4, high=4e-4)}),
    ({"algorithm.policy_loss_type": "cispo"}, {"surrogate": CISPO(low=1.0, high=4.0)}),
    ({"algorithm.dynamic_sampling.type": "replace"}, {"dynamic_sampling": "resample"}),
    ({"algorithm.zero_variance_filter": True}, {"dynamic_sampling": "drop"}),
])
def test_skyrl_has_slots_of_its_own(given: dict[str, Any], found: dict[str, Any]) -> None:
    told = {f"trainer.{key}": value for key, value in given.items()} | {"generator.n_samples_per_prompt": 8}
    scheme = read_config({"trainer.algorithm.use_kl_loss": True, **told}, version="0.3.0").scheme
    assert slots(scheme, *found) == tuple(found.values())


def test_skyrl_asks_for_the_constant_that_it_divides_by() -> None:
    with pytest.raises(ValueError, match="max_seq_len must be given"):
        read_config({"trainer.algorithm.loss_reduction": "seq_mean_token_sum_norm", "generator.max_turns": 1})


NEMO = {"grpo": {"num_prompts_per_step": 8, "num_generations_per_prompt": 4}, "policy": {"train_global_batch_size": 32},
        "loss_fn": {"reference_policy_kl_penalty": 0.0}}


def nemo(**grpo: Any) -> ParsedConfig:
    return read_config(NEMO | {"grpo": NEMO["grpo"] | grpo})


def test_nemo_rl_leaves_one_out_of_mean_and_std() -> None:
    assert nemo().doubts == ()
    assert nemo().scheme.advantage == LeaveOneOutStandardized()
    assert nemo(use_leave_one_out_baseline=False).scheme.advantage == GroupStandardized()
    assert nemo(normalize_rewards=False).scheme.advantage == LeaveOneOut()
    assert nemo(normalize_rewards=False, use_leave_one_out_baseline=False).scheme.advantage == GroupMean()
    assert nemo(adv_estimator={"name": "reinforce_plus_plus"}).scheme.advantage == Whitened(inner=GroupMean(), ddof=0)


def test_nemo_rl_is_told_from_the_file_below(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(json.dumps(NEMO))
    (tmp_path / "small.yaml").write_text("defaults: base.yaml\ngrpo:\n  num_prompts_per_step: 16\n")
    assert sizes(read_config(tmp_path / "small.yaml")) == (4, 8, 2, 1)


def test_nemo_rl_scales_rewards_before_it_shapes_them() -> None:
    paid = nemo(use_leave_one_out_baseline=False, reward_scaling={"enabled": True, "target_min": -2.0},
                reward_shaping={"enabled": True, "overlong_buffer_length": 100, "max_response_length": 400}
                ).scheme.reward
    assert (paid.correct, paid.incorrect) == (1.0, -2.0)
    assert paid.shaping == SoftOverlong(max_tokens=400, buffer=100, factor=1.0, capped=False)


def test_other_losses_of_a_variant_are_doubts() -> None:
    for kind, told in (("gdpo", "multi_objective_aggregation"), ("ebft", "rl")):
        config = read_config({"rl": kind, "trl": {"num_generations": 4, "max_completion_length": 64}}, version="0.19")
        assert [doubt.unknown for doubt in config.doubts if doubt.options[0][1] is None] == [told], kind


def test_dapo_s_recipe_pays_its_punishment_unless_told_otherwise() -> None:
    told = ("python -m recipe.dapo.main_dapo algorithm.adv_estimator=grpo data.max_response_length=900 "
            "reward_model.overlong_buffer.enable=True reward_model.overlong_buffer.len=100 "
            "reward_model.overlong_buffer.penalty_factor=0.5")
    punished = SoftOverlong(max_tokens=900, buffer=100, factor=0.5, capped=False)
    assert read_config(told).scheme.reward.shaping == punished
    assert read_config(f"{told} reward_model.reward_manager=naive").scheme.reward.shaping is None


def test_commands_that_are_told_alike_are_told_apart() -> None:
    one = "python -m verl.trainer.main_ppo algorithm.adv_estimator={} data.max_response_length=64"
    config = read_config("\n".join(one.format(estimator) for estimator in ("grpo", "rloo", "grpo", "rloo")))
    doubt = next(doubt for doubt in config.doubts if len(doubt.options) > 2)
    assert len({name for name, _ in doubt.options}) == len(doubt.options)


# --- others -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "name", "near"), [
    ("python3 train.py --rollout-batch-size 32 --n-samples-per-prompt 8 --eps-clip 0.2", "slime",
     "n-samples-per-prompt = 8 (group_size)"),
    ("uv run open_instruct/grpo_fast.py --num_samples_per_prompt_rollout 4", "open-instruct",
     "num_samples_per_prompt_rollout = 4 (group_size)"),
    ("torchrun -m RL2.trainer.ppo adv.estimator=reinforce", "RL2", "adv.estimator = reinforce (advantage)"),
    ("megatron rlhf --rlhf_type grpo --num_generations 8", "Megatron", "num_generations = 8 (group_size)"),
    ("python -m tinker_cookbook.recipes.rl_loop group_size=16", "tinker", "group_size = 16 (group_size)"),
])
def test_trainers_that_are_not_read_are_named(command: str, name: str, near: str) -> None:
    with pytest.raises(ValueError, match=name) as refusal:
        read_config(command)
    assert near in str(refusal.value)


def test_settings_tell_roll_areal_and_prime_rl() -> None:
    for told, name in (({"num_return_sequences_in_group": 8, "adv_estimator": "grpo"}, "ROLL"),
                       ({"ppo": {"num_prompts_per_step": 8}, "policy": {}}, "NeMo RL, with PPO"),
                       ({"gconfig": {"n_samples": 4}, "actor": {"eps_clip": 0.4}}, "AReaL"),
                       ({"orchestrator": {"rollouts_per_example": 4}}, "prime-rl")):
        with pytest.raises(ValueError, match=name):
            read_config(told)
