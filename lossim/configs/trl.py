"""TRL 1.16.0: ``GRPOConfig`` and ``RLOOConfig``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossim._support import checks
from lossim.advantages import GroupMean, GroupStandardized, LeaveOneOut, ResponseAdvantage
from lossim.aggregation import (
    Aggregation,
    ConstantNormalizer,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
)
from lossim.configs._parsed import ParsedConfig
from lossim.configs._settings import Options, Settings
from lossim.configs._trl_keys import INERT, TABLES, VERSION
from lossim.penalties import KL, Entropy
from lossim.schemes import Scheme
from lossim.surrogates import CISPO, GSPO, SAPO, VESPO, OffPolicyMask, PolicyGradient, PPOClip, Surrogate

__all__ = ["parse"]

EPS = 1e-4
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
BY_TOKENS = ("dapo", "cispo", "vespo")


def parse(given: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    algorithm, told = _algorithm(given, options)
    given = {key: {True: "group", False: "none"}[value] if key == "scale_rewards" and isinstance(value, bool) else value
             for key, value in given.items()}
    config = {"grpo": "GRPOConfig", "rloo": "RLOOConfig"}[algorithm]
    settings = Settings(given, TABLES[algorithm], INERT[algorithm], f"TRL {VERSION} {config}", options)
    if told:
        settings.say_assumed("algorithm", algorithm, told)
    if settings.peek("auto_find_batch_size"):
        checks.fail("auto_find_batch_size", True, "must be False, which TRL asks for too")
    scheme, max_tokens = _grpo(settings) if algorithm == "grpo" else _rloo(settings)
    return settings.parsed(scheme, "trl", VERSION, config, max_tokens, {})


def _algorithm(given: Mapping[str, Any], options: Options) -> tuple[str, str]:
    """Which of the two configs it is, and a remark if it is a guess."""
    if options.algorithm is not None:
        return checks.choice("algorithm", options.algorithm, TABLES), ""
    own = {name: [key for key in given if key in table and not all(key in other for other in TABLES.values())]
           for name, table in TABLES.items()}
    if own["grpo"] and own["rloo"]:
        checks.fail("algorithm", None, f"must be given: {own['grpo'][0]} is of GRPOConfig, {own['rloo'][0]} of "
                    "RLOOConfig", "algorithm='grpo' or 'rloo'")
    if own["grpo"] or own["rloo"]:
        name = "grpo" if own["grpo"] else "rloo"
        return name, f"told from {own[name][0]}"
    return "grpo", "nothing in the config tells GRPO from RLOO; algorithm='rloo' says otherwise"


def _grpo(settings: Settings) -> tuple[Scheme, int | None]:
    group, prompts, minibatches, epochs = _steps(settings)
    loss_type = settings.take("loss_type", "the token-mean; DAPO's other parts are settings of their own")
    longest = settings.take("max_completion_length")
    advantage = _advantage(settings)
    surrogate = _masked(settings, _surrogate(settings, loss_type))
    aggregation = _aggregation(settings, loss_type, longest)
    _rollout(settings)
    if settings.take("top_entropy_quantile") < 1.0:
        settings.no_slot("top_entropy_quantile", "a loss on the tokens of highest entropy", "set it to 1.0")
    if minibatches > 1:
        settings.approximate("steps_per_generation", "a mini-batch holds single responses here and there; here whole "
                             "groups")
    name = f"trl grpo (loss_type {loss_type})"
    return Scheme(name=name, reward=settings.reward(), advantage=advantage, surrogate=surrogate,
                  aggregation=aggregation, penalties=_penalties(settings, loss_type), truncation=_truncation(settings),
                  group_size=group, prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs), longest


def _advantage(settings: Settings) -> ResponseAdvantage:
    if settings.take("multi_objective_aggregation") == "normalize_then_sum":
        settings.no_slot("multi_objective_aggregation", "rewards that are normalised one by one (GDPO)",
                         "take tokens.gdpo(..., over='responses') on batches")
    scale = settings.take("scale_rewards")
    return GroupMean() if scale == "none" else GroupStandardized(eps=EPS, scope=scale)


def _surrogate(settings: Settings, loss_type: str) -> Surrogate:
    if loss_type == "vespo":
        return VESPO(positive=(settings.take("vespo_k_pos"), settings.take("vespo_lambda_pos")),
                     negative=(settings.take("vespo_k_neg"), settings.take("vespo_lambda_neg")))
    sequence = settings.take("importance_sampling_level") == "sequence"
    if sequence and loss_type not in CLIPPED:
        settings.no_slot("importance_sampling_level", f"{loss_type} on the ratio of the whole response",
                         "set it to token")
    if loss_type == "sapo":
        for key in ("sapo_temperature_pos", "sapo_temperature_neg"):
            checks.positive(key, settings.take(key))
        return SAPO(positive=settings.take("sapo_temperature_pos"), negative=settings.take("sapo_temperature_neg"))
    high = settings.take("epsilon_high", "None stands for epsilon")
    if loss_type == "cispo":
        key = "epsilon" if high is None else "epsilon_high"
        bound = settings.take("epsilon") if high is None else high
        if bound < 1.0:
            settings.no_slot(key, "ratios cut at a number below 1 (TRL's CISPO cuts the ratio at epsilon_high itself, "
                             "not at 1 + epsilon_high)", "set epsilon_high to 1 or more, 5.0 in ScaleRL")
        return CISPO(low=1.0, high=max(bound - 1.0, 0.0))
    low = settings.take("epsilon")
    high = low if high is None else high
    delta = settings.take("delta")
    if sequence:
        if delta is not None:
            settings.no_slot("delta", "a two-sided clip on the ratio of the whole response", "leave it out")
        return GSPO(low=low, high=high)
    if delta is not None and delta <= 1.0 + high:
        settings.no_slot("delta", f"a bound on ratios within the clip range, at or below {1.0 + high:g}",
                         "set it above 1 + epsilon_high")
        delta = None
    return PPOClip(low=low, high=high, delta=delta)


def _masked(settings: Settings, surrogate: Surrogate) -> Surrogate:
    threshold = settings.take("off_policy_mask_threshold")
    if threshold is None:
        return surrogate
    if surrogate.response_level:
        settings.no_slot("off_policy_mask_threshold", "a mask of responses beside a ratio of whole responses",
                         "leave it out")
        return surrogate
    return OffPolicyMask(inner=surrogate, threshold=threshold)


def _aggregation(settings: Settings, loss_type: str, longest: int | None) -> Aggregation:
    if loss_type in ("grpo", "sapo"):
        return SequenceMeanTokenMean()
    if loss_type == "luspo":
        return SequenceMeanTokenSum()
    if loss_type == "dr_grpo":
        if longest is None:
            checks.fail("max_completion_length", None, "must be given for loss_type dr_grpo, which divides by it")
        return ConstantNormalizer(constant=longest)
    window = settings.peek("gradient_accumulation_steps")
    if loss_type == "bnpo" and window * settings.processes > 1:
        settings.approximate("loss_type", f"a token mean of each of {window * settings.processes} micro-batches, then "
                             "their mean; here one over the step")
    if loss_type in BY_TOKENS and _micro(settings) != window:
        settings.approximate("loss_type", "divides by the tokens of the generation batch, times the step's share of "
                             "it; here by those of the step")
    return TokenMean()


def _penalties(settings: Settings, loss_type: str) -> tuple[KL | Entropy, ...]:
    terms: list[KL | Entropy] = []
    beta = settings.take("beta")
    if beta:
        corrected = settings.take("use_bias_correction_kl", "False up to TRL 1.9")
        if corrected and settings.take("importance_sampling_level") == "sequence":
            settings.no_slot("use_bias_correction_kl", "a KL times the ratio of the whole response; here it is the "
                             "token's", "set it to False or importance_sampling_level to token")
        terms.append(KL(coefficient=beta, estimator="k3", gradient="bias_corrected" if corrected else "own"))
    _reference(settings, beta)
    if settings.take("use_adaptive_entropy"):
        settings.no_slot("use_adaptive_entropy", "a coefficient that follows the entropy",
                         "set it to False and entropy_coef to a number")
    coefficient = settings.take("entropy_coef")
    if coefficient:
        terms.append(Entropy(coefficient=coefficient))
        weighed = "" if loss_type in ("dapo", "bnpo") else "; its weights are those of the loss, in TRL a token mean"
        settings.approximate("entropy_coef", f"of the decision to stop alone, not of the content{weighed}")
    return tuple(terms)


def _reference(settings: Settings, beta: float) -> None:
    if not settings.take("sync_ref_model"):
        return
    if not beta:
        checks.fail("sync_ref_model", True, "must be False without a KL, which TRL asks for too", "set beta")
    settings.approximate("sync_ref_model", "the reference moves with the policy; here it stands")


def _truncation(settings: Settings) -> Any:
    return "mask" if settings.take("mask_truncated_completions") else "keep"


def _rollout(settings: Settings) -> None:
    """How responses are drawn: what makes the sampler another policy than the one that is trained."""
    if settings.take("use_vllm") and settings.take("vllm_importance_sampling_correction"):
        level, outside = settings.take("vllm_importance_sampling_mode").split("_")
        key = "vllm_importance_sampling_cap"
        cap = settings.take(key) if settings.has(key) else None
        high = settings.take("vllm_importance_sampling_clip_max") if cap is None else cap
        low = settings.take("vllm_importance_sampling_clip_min") or 0.0
        bounds = f"level={level!r}, low={low:g}" + ("" if high is None else f", high={high:g}")
        settings.approximate(
            "vllm_importance_sampling_mode", "weights are 1, as if vLLM and the policy agreed; on batches: "
            f"tokens.importance_weights({bounds}, outside={'zero' if outside == 'mask' else 'clip'!r})")
    _sampling(settings)


def _sampling(settings: Settings) -> None:
    for key, neutral in (("top_p", (1.0,)), ("top_k", (0, -1)), ("min_p", (None, 0.0)), ("repetition_penalty", (1.0,)),
                         ("vllm_structured_outputs_regex", (None,))):
        if settings.has(key) and settings.take(key) not in neutral:
            settings.approximate(key, "responses are drawn from another distribution than the loss has; here from it")
    extra = settings.take("generation_kwargs") if settings.has("generation_kwargs") else None
    if extra is not None and not (isinstance(extra, (Mapping, str)) and not extra):
        settings.approximate("generation_kwargs", "whatever they say of sampling; here it is plain")
    if settings.has("reward_weights") and settings.take("reward_weights") is not None:
        settings.approximate("reward_weights", "sums of several rewards; the scheme pays reward= alone")


def _rloo(settings: Settings) -> tuple[Scheme, int | None]:
    group, prompts, minibatches, epochs = _steps(settings)
    if minibatches * epochs > 1:
        settings.take("epsilon")
        settings.take("epsilon_high", "None stands for epsilon")
        settings.no_slot("num_iterations" if epochs > 1 else "steps_per_generation", "several optimiser steps on a "
                         "rollout, where RLOO clips the product of a response's ratios", "take one step on each")
    if settings.take("normalize_advantages"):
        settings.no_slot("normalize_advantages", "advantages over their std in the batch", "set it to False")
    reward = settings.reward()
    bounds = settings.take("reward_clip_range")
    if bounds is not None:
        paid = [reward.correct, reward.incorrect, *([] if reward.truncated is None else [reward.truncated])]
        if reward.shaping is not None or not all(bounds[0] <= x <= bounds[1] for x in paid):
            settings.no_slot("reward_clip_range", "a clip of rewards, which here could bind", "leave it out")
    beta, truncation = settings.take("beta"), _truncation(settings)
    if beta and truncation == "mask":
        settings.approximate("mask_truncated_completions", "a masked response pays no KL; here it pays as any other")
    _reference(settings, beta)
    _sampling(settings)
    scheme = Scheme(name="trl rloo", reward=reward, advantage=LeaveOneOut(), surrogate=PolicyGradient(),
                    aggregation=SequenceMeanTokenSum(), truncation=truncation,
                    penalties=(KL(coefficient=beta, place="reward"),) if beta else (), group_size=group,
                    prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs)
    return scheme, settings.take("max_completion_length")


def _steps(settings: Settings) -> tuple[int, int, int, int]:
    """Responses per prompt, prompts per optimiser step, optimiser steps per pass and passes over a rollout."""
    group = settings.take("num_generations")
    if group < 2:
        checks.fail("num_generations", group, "must be at least 2, which TRL asks for too")
    device, window = settings.take("per_device_train_batch_size"), settings.take("gradient_accumulation_steps")
    batch, micro = settings.take("generation_batch_size"), settings.take("steps_per_generation")
    iterations = settings.take("num_iterations")
    if batch is not None and micro is not None:  # as a config that TRL has filled in and dumped
        if batch % (device * micro):
            checks.fail("generation_batch_size", batch, "must not be given beside steps_per_generation, of which it is "
                        f"no multiple ({device} responses on a device × {micro})")
        processes = settings.processes_from(batch // (device * micro), "told from generation_batch_size and "
                                            "steps_per_generation")
    else:
        processes = settings.processes_from(None, "not in the config: one device; processes= says otherwise")
    if batch is not None and micro is None and batch % (device * processes):
        checks.fail("generation_batch_size", batch, f"must be a multiple of {device * processes} responses "
                    f"({device} on each of {processes} devices)", "processes= says how many devices there are")
    micro = _micro(settings)
    batch = device * processes * micro
    if batch % group:
        checks.fail("num_generations", group, f"must divide the {batch} responses of a generation batch "
                    f"({device} on a device × {processes} devices × {micro} steps)",
                    "processes= says how many devices there are")
    return (group, *_inner(settings, batch, group, window, micro, iterations))


def _micro(settings: Settings) -> int:
    """Micro-batches that a generation batch is cut into."""
    micro, batch = settings.peek("steps_per_generation"), settings.peek("generation_batch_size")
    if micro is None and batch is not None:
        micro = batch // (settings.peek("per_device_train_batch_size") * settings.processes)
    made: int = settings.peek("gradient_accumulation_steps") if micro is None else micro
    return made


def _inner(settings: Settings, batch: int, group: int, window: int, micro: int, iterations: int
           ) -> tuple[int, int, int]:
    """Prompts per optimiser step, optimiser steps per pass, passes: windows of micro-batches laid over rollouts."""
    if micro % window == 0:
        steps = micro // window
        if (batch // steps) % group == 0:
            return batch // steps // group, steps, iterations
        what = f"steps of {batch // steps} responses, which are no whole groups of {group}"
        settings.no_slot("gradient_accumulation_steps", what, "set batch sizes to multiples of num_generations")
        return max(round(batch / steps / group), 1), steps, iterations
    passes = window // micro
    if window % micro == 0 and iterations % passes == 0:
        return batch // group, 1, iterations // passes  # a step sees its rollout several times over
    if window % micro == 0 and passes % iterations == 0:
        return batch // group * (passes // iterations), 1, 1  # a step takes several rollouts
    settings.no_slot("gradient_accumulation_steps", f"optimiser steps of {window} micro-batches across rollouts of "
                     f"{micro} × {iterations}", "make one a multiple of the other")
    return max(batch * window // micro // group, 1), 1, iterations
