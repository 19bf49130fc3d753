"""TRL 1.16.0: ``GRPOConfig`` and ``RLOOConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lossim import aggregation as agg
from lossim import surrogates
from lossim._support import checks
from lossim._support.text import Phrase, argument
from lossim.advantages import GroupMean, GroupStandardized, LeaveOneOut
from lossim.configs._given import Dialect, Given, Options, Reading, parsed
from lossim.configs._parsed import ParsedConfig
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
    algorithm, guess = _algorithm(config, options)
    scale = config.get("scale_rewards")
    if isinstance(scale, bool):
        config = {**config, "scale_rewards": "group" if scale else "none"}
    name = {"grpo": "GRPOConfig", "rloo": "RLOOConfig"}[algorithm]
    dialect = Dialect(trainer="trl", version=VERSION, config=name, title=f"TRL {VERSION} {name}",
                      table=TABLES[algorithm], inert=INERT[algorithm])
    given = Given.read(config, dialect, options)
    if given.values.get("auto_find_batch_size"):
        checks.fail("auto_find_batch_size", True, "must be False, which TRL asks for too")
    return parsed(given, _scheme(given, algorithm, guess))


def _algorithm(config: Mapping[str, Any], options: Options) -> tuple[str, str]:
    """Which of the two configs it is, and a remark if it is a guess."""
    if options.algorithm is not None:
        return checks.choice("algorithm", options.algorithm, TABLES), ""
    grpo = [key for key in config if key in TABLES["grpo"] and key not in TABLES["rloo"]]
    rloo = [key for key in config if key in TABLES["rloo"] and key not in TABLES["grpo"]]
    if grpo and rloo:
        checks.fail("algorithm", None, f"must be given: {grpo[0]} is of GRPOConfig, {rloo[0]} of RLOOConfig",
                    Phrase(argument("algorithm", "grpo"), " or 'rloo'"))
    if grpo:
        return "grpo", f"told from {grpo[0]}"
    if rloo:
        return "rloo", f"told from {rloo[0]}"
    return "grpo", "nothing in the config tells GRPO from RLOO; algorithm='rloo' says otherwise"


def _scheme(given: Given, algorithm: str, guess: str) -> Reading[tuple[Scheme, int | None]]:
    if guess:
        yield from given.assuming("algorithm", algorithm, guess).take("algorithm")
    if algorithm == "grpo":
        return (yield from _grpo(given))
    return (yield from _rloo(given))


def _grpo(given: Given) -> Reading[tuple[Scheme, int | None]]:
    group, rollout, micro, window, iterations, processes = yield from _sizes(given)
    prompts, minibatches, epochs = yield from _steps(given, group, rollout, micro, window, iterations)
    loss_type, longest = yield from given.take_all("loss_type", "max_completion_length")
    _, scale = yield from given.take_all("multi_objective_aggregation", "scale_rewards")
    advantage = GroupMean() if scale == "none" else GroupStandardized(eps=EPS, scope=scale)
    surrogate = yield from _surrogate(given, loss_type)
    surrogate = yield from _masked(given, surrogate)
    aggregation = yield from _aggregation(given, loss_type, longest, window * processes, windows=micro != window)
    yield from _engine(given)
    yield from _sampling(given)
    yield from given.take("top_entropy_quantile")
    if minibatches > 1:
        yield given.approximated("steps_per_generation", "a mini-batch holds single responses here and there; here "
                                 "whole groups")
    reward = yield from given.reward()
    penalties = yield from _penalties(given, loss_type)
    truncation = yield from _truncation(given)
    return Scheme(
        name=f"trl grpo (loss_type {loss_type})", reward=reward, advantage=advantage, surrogate=surrogate,
        aggregation=aggregation, penalties=penalties, truncation=truncation, group_size=group,
        prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs), longest


def _surrogate(given: Given, loss_type: str) -> Reading[surrogates.Surrogate]:
    if loss_type == "vespo":
        up = yield from given.take_all("vespo_k_pos", "vespo_lambda_pos")
        down = yield from given.take_all("vespo_k_neg", "vespo_lambda_neg")
        return surrogates.VESPO(positive=up, negative=down)
    level = yield from given.take(LEVEL)
    if level == "sequence" and loss_type not in CLIPPED:
        yield given.no_slot(LEVEL, f"{loss_type} on the ratio of the whole response", "set it to token")
    if loss_type == "sapo":
        up, down = yield from given.take_all("sapo_temperature_pos", "sapo_temperature_neg")
        return surrogates.SAPO(positive=checks.positive("sapo_temperature_pos", up),
                               negative=checks.positive("sapo_temperature_neg", down))
    if loss_type == "cispo":
        bound = yield from given.either("epsilon_high", "epsilon")
        if bound < 1.0:
            key = "epsilon" if given.values.get("epsilon_high") is None else "epsilon_high"
            yield given.no_slot(key, "ratios cut at a number below 1 (TRL's CISPO cuts the ratio at epsilon_high "
                                "itself, not at 1 + epsilon_high)", "set epsilon_high to 1 or more, 5.0 in ScaleRL")
        return surrogates.CISPO(low=1.0, high=max(bound - 1.0, 0.0))
    high, low, delta = yield from given.take_all("epsilon_high", "epsilon", "delta")
    if high is None:
        high = low
    if level == "sequence":
        if delta is not None:
            yield given.no_slot("delta", "a two-sided clip on the ratio of the whole response", "leave it out")
        return surrogates.GSPO(low=low, high=high)
    if delta is not None and delta <= 1.0 + high:
        yield given.no_slot("delta", f"a bound on ratios within the clip range, at or below {1.0 + high:g}",
                            "set it above 1 + epsilon_high")
        delta = None
    return surrogates.PPOClip(low=low, high=high, delta=delta)


def _masked(given: Given, surrogate: surrogates.Surrogate) -> Reading[surrogates.Surrogate]:
    threshold = yield from given.take("off_policy_mask_threshold")
    if threshold is None:
        return surrogate
    if surrogate.response_level:
        yield given.no_slot("off_policy_mask_threshold", "a mask of responses beside a ratio of whole responses",
                            "leave it out")
        return surrogate
    return surrogates.OffPolicyMask(inner=surrogate, threshold=threshold)


def _aggregation(given: Given, loss_type: str, longest: int | None, pieces: int, windows: bool
                 ) -> Reading[agg.Aggregation]:
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
        yield given.approximated("loss_type", f"a token mean of each of {pieces} micro-batches, then their mean; here "
                                 "one over the step")
    if loss_type in BY_TOKENS and windows:
        yield given.approximated("loss_type", "divides by the tokens of the generation batch, times the step's share "
                                 "of it; here by those of the step")
    return agg.TokenMean()


def _penalties(given: Given, loss_type: str) -> Reading[tuple[KL | Entropy, ...]]:
    terms: list[KL | Entropy] = []
    beta = yield from given.take("beta")
    if beta:
        corrected = yield from given.take("use_bias_correction_kl")
        if corrected and (yield from given.take(LEVEL)) == "sequence":
            yield given.no_slot("use_bias_correction_kl", "a KL times the ratio of the whole response; here it is the "
                                "token's", f"set it to False or {LEVEL} to token")
        terms.append(KL(coefficient=beta, estimator="k3", gradient="bias_corrected" if corrected else "own"))
    yield from _reference(given, beta)
    _, coefficient = yield from given.take_all("use_adaptive_entropy", "entropy_coef")
    if coefficient:
        terms.append(Entropy(coefficient=coefficient))
        weighed = "" if loss_type in ("dapo", "bnpo") else "; its weights are those of the loss, in TRL a token mean"
        yield given.approximated("entropy_coef", f"of the decision to stop alone, not of the content{weighed}")
    return tuple(terms)


def _reference(given: Given, beta: float) -> Reading[None]:
    if (yield from given.take("sync_ref_model")) and not beta:
        checks.fail("sync_ref_model", True, "must be False without a KL, which TRL asks for too", "set beta")


def _truncation(given: Given) -> Reading[Literal["keep", "mask"]]:
    return "mask" if (yield from given.take("mask_truncated_completions")) else "keep"


def _engine(given: Given) -> Reading[None]:
    """What makes vLLM another policy than the one that is trained."""
    if not (yield from given.take("use_vllm")):
        return
    if not (yield from given.take("vllm_importance_sampling_correction")):
        return
    mode = yield from given.take("vllm_importance_sampling_mode")
    high = yield from given.older("vllm_importance_sampling_cap", "vllm_importance_sampling_clip_max")
    low = yield from given.take("vllm_importance_sampling_clip_min")
    level, _, outside = mode.partition("_")
    outside = {"mask": "zero", "truncate": "clip"}[outside]
    bounds = f"low={low or 0.0:g}" if high is None else f"low={low or 0.0:g}, high={high:g}"
    yield given.approximated(
        "vllm_importance_sampling_mode", "weights are 1, as if vLLM and the policy agreed; on batches: "
        f"tokens.importance_weights(level={level!r}, {bounds}, outside={outside!r})")


def _sampling(given: Given) -> Reading[None]:
    """What of responses and rewards is not quite so, where the config speaks of it."""
    yield from given.take_given("top_p", "top_k", "min_p", "repetition_penalty", "vllm_structured_outputs_regex")
    if "generation_kwargs" in given:
        extra = yield from given.take("generation_kwargs")
        if extra is not None and not (isinstance(extra, (Mapping, str)) and not extra):
            yield given.approximated("generation_kwargs", "whatever they say of sampling; here it is plain")
    if "reward_weights" in given and (yield from given.take("reward_weights")) is not None:
        yield given.approximated("reward_weights", "sums of several rewards; the scheme pays reward= alone")


def _rloo(given: Given) -> Reading[tuple[Scheme, int | None]]:
    group, rollout, micro, window, iterations, _ = yield from _sizes(given)
    prompts, minibatches, epochs = yield from _steps(given, group, rollout, micro, window, iterations)
    if minibatches * epochs > 1:
        yield from given.take_all("epsilon", "epsilon_high")
        yield given.no_slot("num_iterations" if epochs > 1 else "steps_per_generation", "several optimiser "
                            "steps on a rollout, where RLOO clips the product of a response's ratios",
                            "take one step on each")
    yield from given.take("normalize_advantages")
    reward = yield from given.reward()
    bounds = yield from given.take("reward_clip_range")
    if bounds is not None:
        paid = [value for value in (reward.correct, reward.incorrect, reward.truncated) if value is not None]
        if reward.shaping is not None or min(paid) < bounds[0] or max(paid) > bounds[1]:
            yield given.no_slot("reward_clip_range", "a clip of rewards, which here could bind", "leave it out")
    beta = yield from given.take("beta")
    truncation = yield from _truncation(given)
    if beta and truncation == "mask":
        yield given.approximated("mask_truncated_completions", "a masked response pays no KL; here it pays as any "
                                 "other")
    yield from _reference(given, beta)
    yield from _sampling(given)
    longest = yield from given.take("max_completion_length")
    return Scheme(
        name="trl rloo", reward=reward, advantage=LeaveOneOut(), surrogate=surrogates.PolicyGradient(),
        aggregation=agg.SequenceMeanTokenSum(), truncation=truncation,
        penalties=(KL(coefficient=beta, place="reward"),) if beta else (), group_size=group,
        prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs), longest


def _sizes(given: Given) -> Reading[tuple[int, ...]]:
    """Responses of a prompt and of a rollout, micro-batches of a rollout and of an optimiser step, passes, devices.

    They are checked as by TRL. A config that TRL has dumped tells how many devices there are.
    """
    group = yield from given.take("num_generations")
    if group < 2:
        checks.fail("num_generations", group, "must be at least 2, which TRL asks for too")
    device, window, batch, micro, iterations = yield from given.take_all(
        "per_device_train_batch_size", "gradient_accumulation_steps", "generation_batch_size", "steps_per_generation",
        "num_iterations")
    devices = 1
    why = "not in the config: one device; processes= says otherwise"
    told = batch is not None and micro is not None
    if told:
        devices = batch // (device * micro)
        why = "told from generation_batch_size and steps_per_generation"
        if batch % (device * micro):
            checks.fail("generation_batch_size", batch, "must not be given beside steps_per_generation, of which it is "
                        f"no multiple ({device} responses on a device × {micro})")
    processes = yield from given.assuming("processes", devices, why).take("processes")
    if told and processes != devices:
        checks.fail("processes", processes, f"must be {devices}, as the config has it")
    if micro is None and batch is not None:
        micro = batch // (device * processes)
        if batch % (device * processes):
            checks.fail("generation_batch_size", batch, f"must be a multiple of {device * processes} responses "
                        f"({device} on each of {processes} devices)", HOW_MANY)
    if micro is None:
        micro = window
    rollout = device * processes * micro
    if rollout % group:
        checks.fail("num_generations", group, f"must divide the {rollout} responses of a generation batch "
                    f"({device} on a device × {processes} devices × {micro} steps)",
                    HOW_MANY)
    return group, rollout, micro, window, iterations, processes


def _steps(given: Given, group: int, rollout: int, micro: int, window: int, iterations: int
           ) -> Reading[tuple[int, int, int]]:
    """Prompts per optimiser step, optimiser steps per pass, passes: windows of micro-batches laid over rollouts."""
    key = "gradient_accumulation_steps"
    if micro % window == 0:
        steps = micro // window
        size = rollout // steps
        if size % group == 0:
            return size // group, steps, iterations
        yield given.no_slot(key, f"steps of {size} responses, which are no whole groups of {group}",
                            "set batch sizes to multiples of num_generations")
        return max(round(size / group), 1), steps, iterations
    passes = window // micro
    if window % micro == 0 and iterations % passes == 0:
        return rollout // group, 1, iterations // passes  # a step sees its rollout several times over
    if window % micro == 0 and passes % iterations == 0:
        return rollout // group * (passes // iterations), 1, 1  # a step takes several rollouts
    yield given.no_slot(key, f"optimiser steps of {window} micro-batches across rollouts of {micro} × {iterations}",
                        "make one a multiple of the other")
    return max(rollout * window // micro // group, 1), 1, iterations
