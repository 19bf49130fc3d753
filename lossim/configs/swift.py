"""ms-swift: ``swift rlhf --rlhf_type grpo``, TRL's names as flags, with defaults and settings of its own.

Read off ``swift/rlhf_trainers`` and ``swift/arguments/rlhf_args.py`` of 3.2 to 4.6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lossim import advantages as adv
from lossim._launch import Call, Launch, Unknown
from lossim.configs import _words, trl
from lossim.configs._dialect import Asked, Claim, Dialect
from lossim.configs._given import Given
from lossim.configs._kinds import Kind, Was, choice, each, flag, number, whole
from lossim.configs._parsed import ParsedConfig
from lossim.penalties import KL
from lossim.rewards import Cosine, Reward, Shaping, SoftOverlong

__all__ = ["GRPO", "claim"]

RELEASES = ("3.3", "3.6", "4.6.0")
WAS = (
    Was("gradient_accumulation_steps", "3.6", "16 responses", "__post_init__ in swift/trainers/arguments.py of 3.3 to "
        "3.6: what makes 16 responses of all devices; 1 from 3.7, _init_grpo in rlhf_args.py"),
    Was("loss_type", "3.3", "bnpo", "compute_loss in grpo_trainer.py of 3.2 and 3.3: a token mean"),
)
TABLE: dict[str, Kind] = {
    **trl.GRPO.table,
    "per_device_train_batch_size": whole(1),
    "loss_type": choice("grpo bnpo dr_grpo dapo cispo sapo fipo real"),
    "beta": number(0.04, low=0.0),
    "max_completion_length": whole(512),
    "importance_sampling_level": choice("token sequence sequence_token"),
    "scale_rewards": choice("group batch none gdpo"),
    "use_bias_correction_kl": flag(False),
    "vllm_importance_sampling_correction": flag(False),
    "advantage_estimator": choice("grpo rloo reinforce_plus_plus"),
    "kl_in_reward": flag(None, why="on for rloo and reinforce_plus_plus"),
    **each(flag(False), "dynamic_sample"),
    "async_generate": flag(False, approximated="responses of earlier policies; here of the present one"),
    "soft_max_length": whole(None, why="None stands for max_completion_length"),
    "soft_cache_length": whole(None),
    "cosine_min_len_value_wrong": number(-0.5),
    "cosine_max_len_value_wrong": number(0.0),
    "cosine_min_len_value_correct": number(1.0),
    "cosine_max_len_value_correct": number(0.5),
    "cosine_max_len": whole(None, why="None stands for max_completion_length"),
    "rollout_importance_sampling_mode": choice(
        "token_truncate token_mask sequence_truncate sequence_mask", default=None,
        approximated="weights are 1, as if vLLM and the policy agreed"),
    "multi_turn_scheduler": Kind("text", None, approximated="responses with turns between; here of one turn"),
    "sdar_loss_coef": number(0.0, no_slot="a loss to a teacher"),
    "advantage_reweight": choice("rlsd", default=None, no_slot="advantages that a teacher weighs"),
}
NAMES = {"overlong_filter": "mask_truncated_completions", "tau_pos": "sapo_temperature_pos",
         "tau_neg": "sapo_temperature_neg", "off_policy_sequence_mask_delta": "off_policy_mask_threshold",
         "max_new_tokens": "max_completion_length", "response_length": "max_completion_length"}
OWN = ("cosine", "repetition", "soft_overlong")
"""Reward functions that pay by length."""


def claim(call: Call, launch: Launch, asked: Asked, forced: bool) -> Claim | None:
    """The flags of a command, or the settings of a file with ``rlhf_type``."""
    processes: int | Unknown | None = None
    if call.settings is not None:
        values = dict(call.settings)
        how, told = "swift: told from rlhf_type", frozenset[str]()
    else:
        at, name = _words.program(call.words)
        if not forced and not (name == "swift rlhf" or name.startswith("swift.cli.rlhf")):
            return None
        found, _ = _words.flags(call.words[at + 1:], TABLE)
        values = {key.replace("-", "_"): value for key, value in found.items()}
        how, told = f"swift: {name}", frozenset(values)
        before = dict(word.partition("=")[::2] for word in call.words[:at] if "=" in word)
        processes = _processes({**call.environment, **before})
    kind = values.pop("rlhf_type", "grpo" if forced or call.words else None)
    if kind != "grpo":
        return None
    scale = str(values.get("scale_rewards", "")).lower()
    if scale in ("true", "false"):
        values["scale_rewards"] = "group" if scale == "true" else "none"
    return Claim(dialect=GRPO, how=how, sure=3.5, values=values, text=told & values.keys(), processes=processes,
                 line=call.line)


def _processes(environment: Mapping[str, str]) -> int | Unknown | None:
    """Devices: NPROC_PER_NODE times NNODES, which ms-swift hands to torchrun."""
    told = [environment.get(name, default) for name, default in (("NPROC_PER_NODE", ""), ("NNODES", "1"))]
    if not told[0]:
        return None
    unknown = next((each for each in told if isinstance(each, Unknown) or not each.isdigit()), None)
    return Unknown.of(unknown) if unknown is not None else int(told[0]) * int(told[1])


def _scheme(given: Given) -> ParsedConfig:
    """TRL's, with what ms-swift adds."""
    estimator, resampled = given.take_all("advantage_estimator", "dynamic_sample")
    given.take_given("async_generate", "rollout_importance_sampling_mode", "multi_turn_scheduler",
                     "advantage_reweight", "sdar_loss_coef")
    in_reward = given.take("kl_in_reward")
    in_reward = estimator != "grpo" if in_reward is None else in_reward
    shapings = _length_rewards(given)
    _rules(given, estimator)
    parsed = trl.GRPO.scheme(given)
    made = parsed.scheme
    if resampled:
        given.approximate("dynamic_sample", "tries again a few times at most; here until the step is full")
    advantage: adv.Advantage = made.advantage
    if estimator == "rloo":
        advantage = adv.LeaveOneOut()
    penalties = tuple(KL(coefficient=term.coefficient, place="reward") if in_reward and isinstance(term, KL) else term
                      for term in made.penalties)
    if estimator == "reinforce_plus_plus":
        given.no_slot("advantage_estimator", "advantages over their own std in the batch")
        advantage = adv.GroupMean()
    scheme = replace(made, name=f"swift {estimator} (loss_type {given.take('loss_type')})", advantage=advantage,
                     penalties=penalties, reward=given.reward(*shapings),
                     dynamic_sampling="resample" if resampled else "none")
    return given.parsed(parsed.max_tokens, scheme, parsed.optimizer, parsed.epochs, parsed.steps)


def _length_rewards(given: Given) -> list[Shaping]:
    """Reward functions of ms-swift's own that pay by length: along a cosine, and soft overlong punishment."""
    named = given.take("reward_funcs")
    functions = named.split() if isinstance(named, str) else list(named) if isinstance(named, Sequence) else []
    made: list[Shaping] = []
    if "soft_overlong" in functions:
        buffer = given.positive("soft_cache_length", "which ms-swift asks for too")
        end = given.either("soft_max_length", "max_completion_length")
        made.append(SoftOverlong(max_tokens=end, buffer=buffer, factor=1.0, capped=False))
    if "cosine" in functions:
        graded = any(name not in OWN and "format" not in name for name in functions)
        made[:0] = _cosine(given, given.take("reward") if graded or given.asked.reward else Reward(correct=0.0))
    if functions:
        given.values["reward_funcs"] = [name for name in functions if name not in OWN] or None
    return made


def _cosine(given: Given, beside: Reward) -> list[Shaping]:
    """``CosineReward`` of ms-swift added to what is paid beside it, by grade; what no shaping can hold is a doubt."""
    right, right_at_last, wrong, wrong_at_last = given.take_all(
        "cosine_min_len_value_correct", "cosine_max_len_value_correct", "cosine_min_len_value_wrong",
        "cosine_max_len_value_wrong")
    end, cap = given.either("cosine_max_len", "max_completion_length"), given.take("max_completion_length")
    if end < cap:  # where ms-swift's cosine turns back
        given.no_slot("reward_funcs", f"cosine, which turns back at {end} tokens", "make cosine_max_len the cap")
        return []
    if beside.shaping is not None or beside.grades or given.values.get("reward_weights") is not None:
        given.no_slot("reward_funcs", "cosine beside weights, other grades or another reward by length",
                      "leave those out and build the reward by rewards.Cosine")
        return []
    along = Cosine(max_tokens=end, correct=(beside.correct + right, beside.correct + right_at_last),
                   incorrect=(beside.incorrect + wrong, beside.incorrect + wrong_at_last))
    if beside.truncated is None:
        return [along]
    share = (1.0 + math.cos(math.pi * cap / end)) / 2.0
    return [replace(along, exceed=beside.truncated + wrong_at_last + (wrong - wrong_at_last) * share)]


def _rules(given: Given, estimator: str) -> None:
    """Settings of ms-swift's own in TRL's terms."""
    if "gradient_accumulation_steps" in given.defaults:
        told = given.values.get("processes")
        devices = told if isinstance(told, int) else 1
        given.defaults["gradient_accumulation_steps"] = math.ceil(
            16 / given.take("per_device_train_batch_size") / devices)
    if given.values.get("importance_sampling_level") == "sequence_token":
        given.values["importance_sampling_level"] = "sequence"
    if given.values.get("scale_rewards") == "gdpo":
        given.no_slot("scale_rewards", "rewards that are normalised one by one (GDPO)")
        given.values["scale_rewards"] = "group"
    if "scale_rewards" not in given.values and estimator != "grpo":
        given.defaults["scale_rewards"] = "none"
    loss = given.values.get("loss_type")
    if loss in ("fipo", "real"):
        given.no_slot("loss_type", f"{loss}, a loss of ms-swift's own")
        given.values["loss_type"] = "dapo" if loss == "fipo" else "grpo"


GRPO = Dialect(**{**vars(trl.GRPO), "trainer": "swift", "config": "swift rlhf", "title": "ms-swift",
                  "releases": RELEASES, "table": TABLE, "scheme": _scheme, "was": WAS, "since": {}, "upto": {},
                  "hints": {}, "names": NAMES, "neutral": (
                      *trl.GRPO.neutral, "chord_*", "fipo_*", "real_tau", "rlsd_*", "sdar_gate_beta",
                      "max_resample_times", "truncation_strategy", "max_length", "repetition_*",
                      "template*", "sleep_level", "offload_*", "reward_model*", "log_entropy", "lmbda",
                      "external_plugins", "freeze_*", "tuner_type", "train_type")})
