"""TRL 1.16.0: ``GRPOConfig`` and ``RLOOConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossim import aggregation as agg
from lossim import surrogates
from lossim._support import checks
from lossim._support.text import Phrase, argument
from lossim.advantages import GroupMean, GroupStandardized, LeaveOneOut
from lossim.configs._parsed import ParsedConfig
from lossim.configs._settings import Dialect, Given, Options, paid
from lossim.configs._trl_keys import INERT, TABLES, VERSION
from lossim.penalties import KL, Entropy
from lossim.schemes import Scheme

__all__ = ["parse"]

EPS = 1e-4
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
BY_TOKENS = ("dapo", "cispo", "vespo")
LEVEL = "importance_sampling_level"
HOW_MANY = Phrase(argument("processes"), " says how many devices there are")


def parse(config: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    algorithm, guess = _guess(config) if options.algorithm is None else (options.algorithm, "")
    checks.choice("algorithm", algorithm, TABLES)
    scale = config.get("scale_rewards")
    if isinstance(scale, bool):
        config = {**config, "scale_rewards": "group" if scale else "none"}
    name = f"{algorithm.upper()}Config"
    given = Given(config, Dialect(trainer="trl", version=VERSION, config=name, title=f"TRL {VERSION} {name}",
                                  table=TABLES[algorithm], inert=INERT[algorithm]), options)
    if given.values.get("auto_find_batch_size"):
        checks.fail("auto_find_batch_size", True, "must be False, which TRL asks for too")
    if guess:
        given.assume("algorithm", algorithm, guess)
    return _grpo(given) if algorithm == "grpo" else _rloo(given)


def _guess(config: Mapping[str, Any]) -> tuple[str, str]:
    """Which of the two configs it is, and what tells."""
    grpo = [key for key in config if key in TABLES["grpo"] and key not in TABLES["rloo"]]
    rloo = [key for key in config if key in TABLES["rloo"] and key not in TABLES["grpo"]]
    if grpo and rloo:
        checks.fail("algorithm", None, f"must be given: {grpo[0]} is of GRPOConfig, {rloo[0]} of RLOOConfig",
                    Phrase(argument("algorithm", "grpo"), " or 'rloo'"))
    if grpo or rloo:
        return "grpo" if grpo else "rloo", f"told from {(grpo or rloo)[0]}"
    return "grpo", "nothing in the config tells GRPO from RLOO; algorithm='rloo' says otherwise"


def _grpo(given: Given) -> ParsedConfig:
    group, prompts, minibatches, epochs, pieces, windows = _sizes(given)
    loss_type, longest = given.take_all("loss_type", "max_completion_length")
    _, scale = given.take_all("multi_objective_aggregation", "scale_rewards")
    surrogate = _surrogate(given, loss_type)
    threshold = given.take("off_policy_mask_threshold")
    if threshold is not None and surrogate.response_level:
        given.no_slot("off_policy_mask_threshold", "a mask of responses beside a ratio of whole responses",
                      "leave it out")
    elif threshold is not None:
        surrogate = surrogates.OffPolicyMask(inner=surrogate, threshold=threshold)
    aggregation = _aggregation(given, loss_type, longest, pieces, windows)
    _engine(given)
    _sampling(given)
    given.take("top_entropy_quantile")
    if minibatches > 1:
        given.approximate("steps_per_generation", "a mini-batch holds single responses here and there; here whole "
                          "groups")
    reward = given.reward()
    penalties = _penalties(given, loss_type)
    masked = given.take("mask_truncated_completions")
    return given.parsed(longest, Scheme(
        name=f"trl grpo (loss_type {loss_type})", reward=reward, surrogate=surrogate,
        advantage=GroupMean() if scale == "none" else GroupStandardized(eps=EPS, scope=scale),
        aggregation=aggregation, penalties=tuple(penalties), truncation="mask" if masked else "keep",
        group_size=group, prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs))


def _surrogate(given: Given, loss_type: str) -> surrogates.Surrogate:
    if loss_type == "vespo":
        up, wide, down, narrow = given.take_all("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg")
        return surrogates.VESPO(positive=(up, wide), negative=(down, narrow))
    level = given.take(LEVEL)
    if level == "sequence" and loss_type not in CLIPPED:
        given.no_slot(LEVEL, f"{loss_type} on the ratio of the whole response", "set it to token")
    if loss_type == "sapo":
        return surrogates.SAPO(positive=given.positive("sapo_temperature_pos"),
                               negative=given.positive("sapo_temperature_neg"))
    high = given.either("epsilon_high", "epsilon")
    if loss_type == "cispo":
        if high < 1.0:
            key = "epsilon" if given.take("epsilon_high") is None else "epsilon_high"
            given.no_slot(key, "ratios cut at a number below 1 (TRL's CISPO cuts the ratio at epsilon_high itself, not "
                          "at 1 + epsilon_high)", "set epsilon_high to 1 or more, 5.0 in ScaleRL")
        return surrogates.CISPO(low=1.0, high=max(high - 1.0, 0.0))
    low, delta = given.take_all("epsilon", "delta")
    if level == "sequence":
        if delta is not None:
            given.no_slot("delta", "a two-sided clip on the ratio of the whole response", "leave it out")
        return surrogates.GSPO(low=low, high=high)
    if delta is not None and delta <= 1.0 + high:
        given.no_slot("delta", f"a bound on ratios within the clip range, at or below {1.0 + high:g}",
                      "set it above 1 + epsilon_high")
        delta = None
    return surrogates.PPOClip(low=low, high=high, delta=delta)


def _aggregation(given: Given, loss_type: str, longest: int | None, pieces: int, windows: bool) -> agg.Aggregation:
    """The rule; ``pieces`` are the micro-batches of a step, and ``windows`` is whether a step is not a rollout."""
    if loss_type in ("grpo", "sapo"):
        return agg.SequenceMeanTokenMean()
    if loss_type == "luspo":
        return agg.SequenceMeanTokenSum()
    if loss_type == "dr_grpo":
        if longest is None:
            checks.fail("max_completion_length", None, "must be given for loss_type dr_grpo, which divides by it")
        return agg.ConstantNormalizer(constant=longest)
    if loss_type == "bnpo" and pieces > 1:
        given.approximate("loss_type", f"a token mean of each of {pieces} micro-batches, then their mean; here one "
                          "over the step")
    if loss_type in BY_TOKENS and windows:
        given.approximate("loss_type", "divides by the tokens of the generation batch, times the step's share of it; "
                          "here by those of the step")
    return agg.TokenMean()


def _penalties(given: Given, loss_type: str) -> list[KL | Entropy]:
    terms: list[KL | Entropy] = []
    beta = given.take("beta")
    if beta:
        corrected = given.take("use_bias_correction_kl")
        if corrected and given.take(LEVEL) == "sequence":
            given.no_slot("use_bias_correction_kl", "a KL times the ratio of the whole response; here it is the "
                          "token's", f"set it to False or {LEVEL} to token")
        terms.append(KL(coefficient=beta, estimator="k3", gradient="bias_corrected" if corrected else "own"))
    _reference(given, beta)
    _, coefficient = given.take_all("use_adaptive_entropy", "entropy_coef")
    if coefficient:
        terms.append(Entropy(coefficient=coefficient))
        weighed = "" if loss_type in ("dapo", "bnpo") else "; its weights are those of the loss, in TRL a token mean"
        given.approximate("entropy_coef", f"of the decision to stop alone, not of the content{weighed}")
    return terms


def _reference(given: Given, beta: float) -> None:
    if given.take("sync_ref_model") and not beta:
        checks.fail("sync_ref_model", True, "must be False without a KL, which TRL asks for too", "set beta")


def _engine(given: Given) -> None:
    """What makes vLLM another policy than the one that is trained."""
    if not (given.take("use_vllm") and given.take("vllm_importance_sampling_correction")):
        return
    mode = given.take("vllm_importance_sampling_mode")
    high = given.older("vllm_importance_sampling_cap", "vllm_importance_sampling_clip_max")
    low = given.take("vllm_importance_sampling_clip_min")
    level, _, outside = mode.partition("_")
    outside = {"mask": "zero", "truncate": "clip"}[outside]
    bounds = f"low={low or 0.0:g}" if high is None else f"low={low or 0.0:g}, high={high:g}"
    given.approximate("vllm_importance_sampling_mode", "weights are 1, as if vLLM and the policy agreed; on batches: "
                      f"tokens.importance_weights(level={level!r}, {bounds}, outside={outside!r})")


def _sampling(given: Given) -> None:
    """What of responses and rewards is not quite so, where the config speaks of it."""
    given.take_given("top_p", "top_k", "min_p", "repetition_penalty", "vllm_structured_outputs_regex")
    if "generation_kwargs" in given.values:
        extra = given.take("generation_kwargs")
        if extra is not None and not (isinstance(extra, (Mapping, str)) and not extra):
            given.approximate("generation_kwargs", "whatever they say of sampling; here it is plain")
    if "reward_weights" in given.values and given.take("reward_weights") is not None:
        given.approximate("reward_weights", "sums of several rewards; the scheme pays reward= alone")


def _rloo(given: Given) -> ParsedConfig:
    group, prompts, minibatches, epochs, *_ = _sizes(given)
    if minibatches * epochs > 1:
        given.take_all("epsilon", "epsilon_high")
        given.no_slot("num_iterations" if epochs > 1 else "steps_per_generation", "several optimiser steps on a "
                      "rollout, where RLOO clips the product of a response's ratios", "take one step on each")
    given.take("normalize_advantages")
    reward = given.reward()
    bounds = given.take("reward_clip_range")
    if bounds is not None and (reward.shaping is not None or min(paid(reward)) < bounds[0]
                               or max(paid(reward)) > bounds[1]):
        given.no_slot("reward_clip_range", "a clip of rewards, which here could bind", "leave it out")
    beta, masked = given.take_all("beta", "mask_truncated_completions")
    if beta and masked:
        given.approximate("mask_truncated_completions", "a masked response pays no KL; here it pays as any other")
    _reference(given, beta)
    _sampling(given)
    longest = given.take("max_completion_length")
    return given.parsed(longest, Scheme(
        name="trl rloo", reward=reward, advantage=LeaveOneOut(), surrogate=surrogates.PolicyGradient(),
        aggregation=agg.SequenceMeanTokenSum(), truncation="mask" if masked else "keep",
        penalties=(KL(coefficient=beta, place="reward"),) if beta else (), group_size=group,
        prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs))


def _sizes(given: Given) -> tuple[int, int, int, int, int, bool]:
    """Responses of a prompt, and what `_steps` makes of the batch sizes, checked as by TRL.

    Then the micro-batches of an optimiser step, and whether it is not a rollout. A config that TRL has dumped tells how
    many devices there are.
    """
    group = given.take("num_generations")
    if group < 2:
        checks.fail("num_generations", group, "must be at least 2, which TRL asks for too")
    device, window, batch, micro, iterations = given.take_all(
        "per_device_train_batch_size", "gradient_accumulation_steps", "generation_batch_size", "steps_per_generation",
        "num_iterations")
    if batch is None or micro is None:
        processes = given.assume("processes", 1, "not in the config: one device; processes= says otherwise")
    else:
        devices, over = divmod(batch, device * micro)
        if over:
            checks.fail("generation_batch_size", batch, "must not be given beside steps_per_generation, of which it is "
                        f"no multiple ({device} responses on a device × {micro})")
        processes = given.assume("processes", devices, "told from generation_batch_size and steps_per_generation")
        if processes != devices:
            checks.fail("processes", processes, f"must be {devices}, as the config has it")
    if micro is None and batch is not None:
        micro, over = divmod(batch, device * processes)
        if over:
            checks.fail("generation_batch_size", batch, f"must be a multiple of {device * processes} responses "
                        f"({device} on each of {processes} devices)", HOW_MANY)
    micro = micro or window
    rollout = device * processes * micro
    if rollout % group:
        checks.fail("num_generations", group, f"must divide the {rollout} responses of a generation batch "
                    f"({device} on a device × {processes} devices × {micro} steps)",
                    HOW_MANY)
    return group, *_steps(given, group, rollout, micro, window, iterations), window * processes, micro != window


def _steps(given: Given, group: int, rollout: int, micro: int, window: int, iterations: int) -> tuple[int, int, int]:
    """Prompts per optimiser step, optimiser steps per pass, passes: windows of micro-batches laid over rollouts."""
    key = "gradient_accumulation_steps"
    if micro % window == 0:
        steps = micro // window
        size = rollout // steps
        if size % group:
            given.no_slot(key, f"steps of {size} responses, which are no whole groups of {group}",
                          "set batch sizes to multiples of num_generations")
        return max(round(size / group), 1), steps, iterations
    passes = window // micro
    if window % micro == 0 and iterations % passes == 0:
        return rollout // group, 1, iterations // passes  # a step sees its rollout several times over
    if window % micro == 0 and passes % iterations == 0:
        return rollout // group * (passes // iterations), 1, 1  # a step takes several rollouts
    given.no_slot(key, f"optimiser steps of {window} micro-batches across rollouts of {micro} × {iterations}",
                  "make one a multiple of the other")
    return max(rollout * window // micro // group, 1), 1, iterations
