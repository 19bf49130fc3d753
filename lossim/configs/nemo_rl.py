"""NeMo RL: YAML with sections ``grpo``, ``loss_fn`` and ``policy``, over the files that ``defaults`` names.

Read off ``examples/configs/grpo_math_1B.yaml`` of 0.1 to 0.7, and off ``nemo_rl/algorithms`` of August 2026.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lossim import advantages as adv
from lossim import aggregation as agg
from lossim import surrogates
from lossim._launch import Call, Launch, Unknown
from lossim._support import checks
from lossim.configs import _words
from lossim.configs._dialect import Asked, Claim, Dialect
from lossim.configs._given import Given
from lossim.configs._kinds import OTHER, Kind, anything, choice, each, flag, number, text, whole
from lossim.configs._parsed import ParsedConfig
from lossim.configs._training import Training
from lossim.penalties import KL
from lossim.rewards import Reward, Shaping, SoftOverlong
from lossim.schemes import Scheme, Unsettled

__all__ = ["DIALECT", "claim"]

SHAPING = "grpo.reward_shaping."
SCALING = "grpo.reward_scaling."
ESTIMATOR = "grpo.adv_estimator."
LOO = "use_leave_one_out_baseline"
GENERATION = "policy.generation."
ASIDE: dict[str, Kind] = {
    **each(number(None, no_slot="responses or tokens that are set aside"), """grpo.seq_logprob_error_threshold
        grpo.invalid_tool_call_advantage grpo.malformed_thinking_advantage"""),
    **each(flag(False, no_slot="no reward for what looks wrong"), """reward_penalties.penalize_duplicated_reasoning
        reward_penalties.penalize_empty_final_answer reward_penalties.penalize_unwanted_tokens
        reward_penalties.penalize_malformed_think_tag
        grpo.penalize_invalid_tool_call grpo.penalize_malformed_thinking"""),
    **each(flag(False, no_slot="an objective of its own"), "grpo.use_best_at_k grpo.use_combined_training"),
    "grpo.zero_variance_prompt_filtering": flag(False, no_slot="prompts that are set aside"),
}
TABLE: dict[str, Kind] = {
    "grpo.num_prompts_per_step": whole(32),
    "grpo.num_generations_per_prompt": whole(16),
    "policy.train_global_batch_size": whole(512, why="in responses"),
    GENERATION + "max_new_tokens": whole(512),
    GENERATION + "top_p": number(1.0, low=0.0, high=1.0, approximated=OTHER),
    GENERATION + "top_k": whole(None, low=-1, approximated=OTHER),
    "grpo.normalize_rewards": flag(True),
    "grpo." + LOO: flag(True),
    ESTIMATOR + "name": choice("grpo reinforce_plus_plus gdpo", open=True),
    ESTIMATOR + "normalize_rewards": flag(None, why="None stands for grpo.normalize_rewards"),
    ESTIMATOR + LOO: flag(None, why=f"None stands for grpo.{LOO}"),
    ESTIMATOR + "minus_baseline": flag(True),
    "grpo.use_dynamic_sampling": flag(False),
    "grpo.overlong_filtering": flag(False),
    "grpo.advantage_clip_low": number(None, no_slot="advantages that are clipped"),
    "grpo.advantage_clip_high": number(None, no_slot="advantages that are clipped"),
    **ASIDE,
    "grpo.max_rollout_turns": whole(1, approximated="responses with turns between; here of one turn"),
    "grpo.async_grpo.enabled": flag(False, approximated="responses of earlier policies; here of the present one"),
    SHAPING + "enabled": flag(False),
    SHAPING + "overlong_buffer_length": number(128.0, low=0.0),
    SHAPING + "overlong_buffer_penalty": number(1.0, low=0.0),
    SHAPING + "max_response_length": whole(None),
    SHAPING + "stop_properly_penalty_coef": number(None, low=0.0, high=1.0),
    SCALING + "enabled": flag(False),
    SCALING + "source_min": number(0.0),
    SCALING + "source_max": number(1.0),
    SCALING + "target_min": number(0.0),
    SCALING + "target_max": number(1.0),
    "loss_fn.reference_policy_kl_penalty": number(0.01, low=0.0),
    "loss_fn.reference_policy_kl_type": choice("k3 k1 k2"),
    "loss_fn.use_kl_in_reward": flag(False),
    "loss_fn.ratio_clip_min": number(0.2, low=0.0),
    "loss_fn.ratio_clip_max": number(0.2, low=0.0),
    "loss_fn.ratio_clip_c": number(None),
    "loss_fn.sequence_level_importance_ratios": flag(False),
    "loss_fn.token_level_loss": flag(True),
    "loss_fn.use_cispo": flag(False),
    "loss_fn.disable_ppo_ratio": flag(False),
    "loss_fn.force_on_policy_ratio": flag(False),
    "loss_fn.use_importance_sampling_correction": flag(
        False, approximated="weights are 1, as if the engine and the policy agreed"),
    "loss_fn.positive_example_nll_weight": number(0.0, no_slot="a likelihood of right responses"),
}
NAMES = {"loss_fn.ratio_eps_min": "loss_fn.ratio_clip_min", "loss_fn.ratio_eps_max": "loss_fn.ratio_clip_max"}


def claim(call: Call, launch: Launch, asked: Asked, forced: bool) -> Claim | None:
    """A file with ``grpo`` and ``loss_fn`` or ``policy``, or overrides of ``run_grpo`` over the file that it names."""
    held, where, over, how = call.settings, launch.name, dict[str, Any](), "nemo-rl: told from grpo and loss_fn"
    doubts: list[Unsettled] = []
    if held is None:
        at, name = _words.program(call.words)
        if not forced and not re.search(r"(^|\.)run_(vlm_)?grpo\w*$", name):
            return None
        over, options, others = _words.overrides(call.words[at + 1:])
        path = options.get("--config") or next(iter(others), "")
        found, where = _words.named(path, launch)
        held, how = found or {}, f"nemo-rl: {name}"
        doubts += [_words.missing(path or "the file of --config")] if found is None else []
    merged, more = _over_defaults(held, where, launch)
    if call.settings is not None and not forced and not (
            isinstance(merged.get("grpo"), Mapping) and {"loss_fn", "policy"} & merged.keys()
            and "num_generations" not in merged["grpo"]):
        return None
    values = {**_words.flat(merged), **over}
    if "loss_fn.ratio_eps" in values:
        values |= dict.fromkeys(("loss_fn.ratio_clip_min", "loss_fn.ratio_clip_max"), values.pop("loss_fn.ratio_eps"))
    resolved = {key: _resolved(value, values) for key, value in values.items()}
    return Claim(dialect=DIALECT, how=how, sure=3.5, values=resolved, doubts=(*doubts, *more), line=call.line)


def _over_defaults(held: Mapping[str, Any], where: str, launch: Launch, depth: int = 0
                   ) -> tuple[dict[str, Any], list[Unsettled]]:
    """A file's settings over those of the files that it names in ``defaults``."""
    named = held.get("defaults", ())
    merged: dict[str, Any] = {}
    doubts: list[Unsettled] = []
    for path in [named] if isinstance(named, str) else named if isinstance(named, (list, tuple)) else []:
        beside = Launch(**{**vars(launch), "name": where})
        base, found = _words.named(str(path), beside)
        if base is None or depth > 9:
            doubts.append(_words.missing(str(path)))
            continue
        inner, more = _over_defaults(base, found, launch, depth + 1)
        merged = _merged(merged, inner)
        doubts += more
    return _merged(merged, {key: value for key, value in held.items() if key != "defaults"}), doubts


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(under[key], value) if isinstance(value, Mapping) and isinstance(under.get(key), Mapping)
            else value for key, value in over.items()}
    return {**under, **both}


def _resolved(value: Any, values: Mapping[str, Any], depth: int = 0) -> Any:
    match = re.fullmatch(r"\$\{([\w.]+)\}", value) if isinstance(value, str) else None
    if match is None:
        return Unknown.of(value) if isinstance(value, str) and "${" in value else value
    return _resolved(values[match[1]], values, depth + 1) if match[1] in values and depth < 20 else Unknown.of(value)


def _scheme(given: Given) -> ParsedConfig:
    group, prompts, batch = given.take_all("grpo.num_generations_per_prompt", "grpo.num_prompts_per_step",
                                           "policy.train_global_batch_size")
    if batch % group or (prompts * group) % batch:
        given.no_slot("policy.train_global_batch_size", f"optimiser steps of {batch} responses on a rollout of "
                      f"{prompts} × {group}")
    longest, masked = given.take_all(GENERATION + "max_new_tokens", "grpo.overlong_filtering")
    given.take_all("grpo.max_rollout_turns", "grpo.async_grpo.enabled", "loss_fn.positive_example_nll_weight",
                   "loss_fn.use_importance_sampling_correction", "grpo.advantage_clip_low", "grpo.advantage_clip_high")
    given.take_given(*ASIDE, GENERATION + "top_p", GENERATION + "top_k")
    advantage = _advantage(given)
    surrogate = _surrogate(given)
    aggregation: agg.Aggregation = agg.TokenMean()
    if not given.take("loss_fn.token_level_loss"):
        aggregation = agg.SequenceMeanTokenMean()
    resampled = given.take("grpo.use_dynamic_sampling")
    return given.parsed(longest, optimizer=_optimizer(given), steps=given.aside("grpo.max_num_steps", whole(None)),
                        scheme=Scheme(
        name="nemo-rl grpo", reward=_reward(given, longest), advantage=advantage, surrogate=surrogate,
        aggregation=aggregation, penalties=_kl(given), truncation="mask" if masked else "keep",
        dynamic_sampling="resample" if resampled else "none", group_size=group,
        prompts_per_step=max(min(batch, prompts * group) // group, 1), minibatches=max(prompts * group // batch, 1)))


def _advantage(given: Given) -> adv.Advantage:
    name = given.take(ESTIMATOR + "name")
    std = given.either(ESTIMATOR + "normalize_rewards", "grpo.normalize_rewards")
    left_out = given.either(ESTIMATOR + LOO, "grpo." + LOO)
    if name == "reinforce_plus_plus":
        inner = adv.GroupMean() if given.take(ESTIMATOR + "minus_baseline") else adv.Raw()
        return adv.Whitened(inner=inner, ddof=0)
    if name != "grpo":
        given.no_slot(ESTIMATOR + "name", "an estimator without a slot; here that of GRPO")
    if not std:
        return adv.LeaveOneOut() if left_out else adv.GroupMean()
    return adv.LeaveOneOutStandardized() if left_out else adv.GroupStandardized()


def _surrogate(given: Given) -> surrogates.Surrogate:
    if given.take("loss_fn.disable_ppo_ratio") or given.take("loss_fn.force_on_policy_ratio"):
        return surrogates.PolicyGradient()
    low, high = given.take_all("loss_fn.ratio_clip_min", "loss_fn.ratio_clip_max")
    if given.take("loss_fn.use_cispo"):
        return surrogates.CISPO(low=min(low, 1.0), high=high)
    dual = given.take("loss_fn.ratio_clip_c")
    if given.take("loss_fn.sequence_level_importance_ratios"):
        if dual is not None:
            given.no_slot("loss_fn.ratio_clip_c", "a dual clip on the ratio of the whole response", "leave it out")
        return surrogates.GSPO(low=low, high=high)
    return surrogates.PPOClip(low=low, high=high, dual=dual)


def _kl(given: Given) -> tuple[KL, ...]:
    coefficient, name, in_reward = given.take_all(
        "loss_fn.reference_policy_kl_penalty", "loss_fn.reference_policy_kl_type", "loss_fn.use_kl_in_reward")
    if not coefficient:
        return ()
    if not in_reward:  # times π over itself held fixed, which adds the score of k to its slope
        return (KL(coefficient=coefficient, estimator=name, gradient="bias_corrected"),)
    if name != "k1":
        given.no_slot("loss_fn.reference_policy_kl_type", "a KL in the reward other than k1", "set it to k1")
        return ()
    return (KL(coefficient=coefficient, place="reward"),)


def _reward(given: Given, longest: int) -> Reward:
    """What is paid, scaled and then shaped by length."""
    shapings: list[Shaping] = []
    if given.take(SHAPING + "enabled") and given.take(SHAPING + "stop_properly_penalty_coef") is not None:
        given.no_slot(SHAPING + "stop_properly_penalty_coef", "a share of the reward for what is cut",
                      "say what is paid by reward=")
    elif given.take(SHAPING + "enabled"):
        end = given.take(SHAPING + "max_response_length") or longest
        buffer, factor = given.take_all(SHAPING + "overlong_buffer_length", SHAPING + "overlong_buffer_penalty")
        shapings = [SoftOverlong(max_tokens=end, factor=factor, capped=False, buffer=checks.in_interval(
            SHAPING + "overlong_buffer_length", buffer, 0.0, end))]
    if not given.take(SCALING + "enabled"):
        return given.reward(*shapings)
    low, high, least, most = given.take_all(*(SCALING + name for name in (
        "source_min", "source_max", "target_min", "target_max")))
    if high <= low:
        checks.fail(SCALING + "source_max", high, f"must be above source_min, {low}")

    def scaled(paid: float) -> float:
        return float(least + (min(max(paid, low), high) - low) / (high - low) * (most - least))

    paid = given.reward(*shapings)
    return replace(paid, correct=scaled(paid.correct), incorrect=scaled(paid.incorrect),
                   truncated=None if paid.truncated is None else scaled(paid.truncated))


def _optimizer(given: Given) -> Training:
    get = given.aside
    kwargs = "policy.optimizer.kwargs."
    betas = get(kwargs + "betas", anything((0.9, 0.999)))
    return Training(
        learning_rate=get(kwargs + "lr", number(5e-6)), weight_decay=get(kwargs + "weight_decay", number(0.01)),
        betas=(float(betas[0]), float(betas[1])), max_norm=get("policy.max_grad_norm", number(1.0)),
        optimizer=get("policy.optimizer.name", text("AdamW")))


DIALECT = Dialect(
    trainer="nemo-rl", config="run_grpo", title="NeMo RL", releases=("0.7",), table=TABLE, scheme=_scheme, names=NAMES,
    neutral=("policy.*", "data.*", "env.*", "cluster.*", "logger.*", "checkpointing.*", "grpo.val*", "grpo.max_num_*",
             "grpo.seed", "grpo.batch_multiplier", "grpo.dynamic_sampling_max_gen_batches", "grpo.async_grpo.*",
             "grpo.stop_at_*", "grpo.best_at_k_*", "grpo.combined_training_*", "grpo.dynamic_sampling_oversample_ratio",
             "grpo.deduplicate_multimodal_data", "grpo.debug_*", "grpo.skip_reference_policy_logprobs_calculation",
             "loss_fn.kl_*_clamp_value", "loss_fn.use_on_policy_kl_approximation",
             "loss_fn.truncated_*", "grpo.max_val_samples", "reward_penalties.token_ids*"),
    bearing=("grpo.*", "loss_fn.*", "reward_penalties.*"))
