"""verl 0.9.1: the Hydra config of ``verl.trainer.main_ppo``, as YAML, a mapping, or overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lossim._support import checks
from lossim.advantages import (
    GAE,
    GPG,
    OPO,
    Advantage,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    PassK,
    Raw,
    ReturnToGo,
    Whitened,
)
from lossim.aggregation import (
    Aggregation,
    ConstantNormalizer,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
    TokenSum,
)
from lossim.configs import _hydra
from lossim.configs._parsed import ParsedConfig
from lossim.configs._settings import Options, Settings
from lossim.configs._verl_keys import ACTOR, HINTS, INERT, ROLLOUT, TABLE, VERSION
from lossim.penalties import KL, Entropy
from lossim.rewards import Shaping, SoftOverlong
from lossim.schemes import Scheme
from lossim.surrogates import CISPO, GMPO, GSPO, SAPO, ImportanceWeight, PolicyGradient, PPOClip, Surrogate

__all__ = ["parse"]

IDLE = {
    ACTOR + "clip_ratio": "counts only where clip_ratio_low or clip_ratio_high is null, and both are 0.2 by default",
    ACTOR + "loss_agg_mode": "sapo and geo_mean take seq-mean-token-mean",
    "algorithm.norm_adv_by_std_in_grpo": "reaches grpo and grpo_passk alone",
    "algorithm.rollout_correction.loss_type": "read by the trainer that trainer.use_v1=False names alone",
}
K = {"kl": "k1", "k1": "k1", "abs": "abs", "mse": "k2", "k2": "k2", "low_var_kl": "k3", "k3": "k3"}


def parse(given: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    for key in sorted(HINTS.keys() & given.keys() - set(options.ignore)):
        checks.fail(key, given[key], f"is not a setting that lossim knows of verl {VERSION}", HINTS[key])
    _hydra.check_composed(given.get("defaults"))
    given = {key: _hydra.resolved(key, value, given) if key in TABLE else value for key, value in given.items()}
    settings = Settings(given, TABLE, INERT, f"verl {VERSION}", options)
    scheme, max_tokens = _scheme(settings)
    return settings.parsed(scheme, "verl", VERSION, "ppo_trainer", max_tokens, IDLE)


def _scheme(settings: Settings) -> tuple[Scheme, int]:
    group, prompts, minibatches, epochs = _steps(settings)
    own = settings.take(ROLLOUT + "response_length") if settings.has(ROLLOUT + "response_length") else None
    longest: int = settings.take("data.max_response_length") if own is None else own
    kl = _kl_in_reward(settings)
    advantage = _advantage(settings, group, bool(kl))
    if isinstance(advantage, Whitened) and minibatches > 1:
        settings.approximate("algorithm.adv_estimator", "whitened over the rollout's tokens; so in train, but drift "
                             "takes those of one optimiser step")
    if settings.take("algorithm.use_pf_ppo") and isinstance(advantage, Whitened) and type(advantage.inner) is GAE:
        settings.no_slot("algorithm.use_pf_ppo", "a batch drawn again by its scores", "set it to False")
    mode = _mode(settings)
    if mode == "geo_mean" and isinstance(advantage, Whitened) and isinstance(advantage.inner, GAE):
        checks.fail(ACTOR + "policy_loss.loss_mode", mode, "needs one advantage per response, for which a scheme has a "
                    "slot, not the mean of those of its tokens", "take a group estimator")
    if settings.take("distillation.enabled"):
        settings.no_slot("distillation.enabled", "a loss to a teacher")
    surrogate, extra = _surrogate(settings, mode)
    aggregation, agg_mode = _aggregation(settings, mode, longest)
    penalties = (*extra, *kl, *_penalties(settings, mode, bool(extra)))
    reward = settings.reward(*_overlong(settings))
    sampling = _filter(settings, group, reward.shaping is not None)
    _rollout(settings)
    name = f"verl {settings.peek('algorithm.adv_estimator')} ({mode}, {agg_mode})"
    return Scheme(name=name, reward=reward, advantage=advantage, surrogate=surrogate, aggregation=aggregation,
                  penalties=penalties, dynamic_sampling=sampling, group_size=group, prompts_per_step=prompts,  # type: ignore[arg-type]
                  minibatches=minibatches, ppo_epochs=epochs), longest


def _steps(settings: Settings) -> tuple[int, int, int, int]:
    """Responses per prompt, prompts per optimiser step, optimiser steps per pass, passes over a rollout."""
    group = settings.take(ROLLOUT + "n")
    batch, mini = settings.take("data.train_batch_size"), settings.take(ACTOR + "ppo_mini_batch_size")
    epochs = settings.take(ACTOR + "ppo_epochs")
    if batch % mini:
        settings.no_slot(ACTOR + "ppo_mini_batch_size", f"a rollout of {batch} prompts (data.train_batch_size) in "
                         "unequal mini-batches", "set one to a multiple of the other")
    if batch > mini:
        settings.approximate(ACTOR + "ppo_mini_batch_size", "a mini-batch holds single responses here and there, "
                             "balanced by length; here whole groups")
    return group, min(mini, batch), max(batch // mini, 1), epochs


def _advantage(settings: Settings, group: int, kl_in_reward: bool) -> Advantage:
    key = "algorithm.adv_estimator"
    name = settings.take(key)
    alone: Any = "raw" if group == 1 else "zero"
    if group == 1 and name not in ("gae", "reinforce_plus_plus", "remax"):
        if name in ("grpo_passk", "rloo_vectorized"):
            checks.fail(ROLLOUT + "n", group, f"must be at least 2 for {name}")
        settings.remark(ROLLOUT + "n", "a group of one: verl's advantage is then the reward itself")
    if name in ("gae", "reinforce_plus_plus"):
        gamma = settings.take("algorithm.gamma")
        if name == "gae":
            settings.remark(key, "whitened over tokens, which verl cannot switch off")
            lam = settings.take("algorithm.lam")
            return Whitened(inner=GAE(gamma=gamma, gae_lambda=lam, critic=settings.critic()))
        return Whitened(inner=ReturnToGo(gamma=gamma) if kl_in_reward or gamma != 1.0 else Raw())
    if name in ("grpo", "grpo_passk"):
        std = settings.take("algorithm.norm_adv_by_std_in_grpo")
        if name == "grpo_passk":
            return PassK(standardize=std)
        return GroupStandardized() if std else GroupMean(group_of_one=alone)
    if name == "remax":
        checks.fail(key, name, "needs the reward of greedy responses, which no config holds",
                    "build it: schemes.remax(greedy_reward=...)")
    if name.endswith("optimal_token_baseline"):
        checks.fail(key, name, "needs probabilities of the whole vocabulary, for which a scheme has no slot")
    if name == "gdpo":
        settings.no_slot(key, "rewards that are normalised one by one", "take tokens.gdpo on batches")
        return Whitened(inner=GroupStandardized())
    return {"grpo_vectorized": GroupStandardized(), "gpg": GPG(), "opo": OPO(group_of_one=alone),
            "rloo": LeaveOneOut(group_of_one=alone), "rloo_vectorized": LeaveOneOut(),
            "reinforce_plus_plus_baseline": Whitened(inner=GroupMean(group_of_one=alone))}[name]


def _mode(settings: Settings) -> str:
    """The loss; the old trainer replaces it where it takes the sampler's log-probabilities for the old ones."""
    base = "algorithm.rollout_correction."
    if settings.take(base + "bypass_mode") and not settings.take("trainer.use_v1"):
        return {"ppo_clip": "vanilla", "reinforce": "gpg"}[settings.take(base + "loss_type")]
    mode: str = settings.take(ACTOR + "policy_loss.loss_mode")
    return mode


def _range(settings: Settings) -> tuple[float, float]:
    """The clip range: clip_ratio counts only where clip_ratio_low or clip_ratio_high is null."""
    bounds = []
    for key in (ACTOR + "clip_ratio_low", ACTOR + "clip_ratio_high"):
        bound = settings.take(key, "clip_ratio counts only where this is null")
        bounds.append(settings.take(ACTOR + "clip_ratio") if bound is None else bound)
    return bounds[0], bounds[1]


def _surrogate(settings: Settings, mode: str) -> tuple[Surrogate, tuple[KL, ...]]:
    """The surrogate, and a term that belongs to it."""
    key = ACTOR + "policy_loss.loss_mode"
    if mode == "gpg":
        return PolicyGradient(), ()
    if mode == "sapo":
        up, down = (checks.positive(ACTOR + name, settings.take(ACTOR + name)) for name in ("tau_pos", "tau_neg"))
        return SAPO(positive=up, negative=down), ()
    if mode == "dro":
        beta = settings.take(ACTOR + "policy_loss.dro_beta")
        checks.positive(ACTOR + "policy_loss.dro_beta", 0.0 if beta is None else beta, "verl asks for it too")
        return PolicyGradient(), (KL(coefficient=beta, estimator="k2", to="old"),)
    if mode == "kl_cov":
        settings.no_slot(key, "a KL on the tokens of largest covariance")
        return ImportanceWeight(), ()
    low, high = _range(settings)
    if mode == "gspo":
        return GSPO(low=low, high=high), ()
    if mode == "geo_mean":
        settings.approximate(key, "a mean over the responses of each micro-batch; here of the step")
        return GMPO(low=low, high=high), ()
    if mode == "cispo":
        return CISPO(low=min(low, 1.0), high=high), ()
    if mode == "clip_cov":
        settings.no_slot(key, "a loss without random tokens of large covariance")
        return PPOClip(low=low, high=high), ()
    dual = settings.take(ACTOR + "clip_ratio_c", "a dual clip, which verl cannot switch off")
    if dual <= 1.0:
        checks.fail(ACTOR + "clip_ratio_c", dual, "must be above 1, which verl asks for too")
    if mode in ("dppo_tv", "dppo_kl"):
        settings.no_slot(key, "a mask by how far a token's probability moved", "take tokens.dppo_mask on batches")
        return CISPO(low=1.0, high=dual - 1.0), ()
    return PPOClip(low=low, high=high, dual=dual), ()


def _aggregation(settings: Settings, mode: str, longest: int) -> tuple[Aggregation, str]:
    """The rule and its name; SAPO and GMPO have one of their own."""
    key = ACTOR + "loss_agg_mode"
    if mode in ("sapo", "geo_mean"):
        return SequenceMeanTokenMean(), "seq-mean-token-mean"
    name = settings.take(key)
    if name != "seq-mean-token-sum-norm":
        return {"token-mean": TokenMean(), "token-sum": TokenSum(), "seq-mean-token-sum": SequenceMeanTokenSum(),
                "seq-mean-token-mean": SequenceMeanTokenMean()}[name], name
    constant = settings.take(ACTOR + "loss_scale_factor")
    if constant is None:
        settings.approximate(ACTOR + "loss_scale_factor", "null divides by the longest response of each micro-batch "
                             f"(trainer.use_v1) or the padded width; here by {longest}. Set it")
        return ConstantNormalizer(constant=longest), name
    return ConstantNormalizer(constant=checks.positive(ACTOR + "loss_scale_factor", constant)), name


def _kl_in_reward(settings: Settings) -> tuple[KL, ...]:
    if not settings.take("algorithm.use_kl_in_reward"):
        return ()
    coefficient = settings.take("algorithm.kl_ctrl.kl_coef")
    if settings.take("algorithm.kl_ctrl.type") == "adaptive":
        settings.no_slot("algorithm.kl_ctrl.type", "a coefficient that follows the KL", "set it to fixed")
    if K[settings.take("algorithm.kl_penalty").removesuffix("+")] != "k1":
        settings.no_slot("algorithm.kl_penalty", "a KL in the reward other than k1", "set it to kl")
    return (KL(coefficient=coefficient, place="reward"),) if coefficient else ()


def _penalties(settings: Settings, mode: str, occupied: bool) -> tuple[KL | Entropy, ...]:
    terms: list[KL | Entropy] = []
    if settings.take(ACTOR + "use_kl_loss"):
        coefficient, name = settings.take(ACTOR + "kl_loss_coef"), settings.take(ACTOR + "kl_loss_type")
        estimator: Any = K[name.removesuffix("+")]
        if coefficient and occupied:
            settings.no_slot(ACTOR + "use_kl_loss", "a second KL in the loss beside DRO's own", "set it to False")
        elif coefficient:
            bound = name.endswith("+") and estimator != "k2"
            terms.append(KL(coefficient=coefficient, estimator=estimator,
                            gradient="straight_through" if bound else "own"))
            if estimator == "k3":
                settings.approximate(ACTOR + "kl_loss_type", "verl holds k3 within ±10; here it is not bounded")
    entropy = settings.take(ACTOR + "entropy_coeff")
    if entropy:
        terms.append(Entropy(coefficient=entropy))
        settings.approximate(ACTOR + "entropy_coeff", "of the decision to stop alone, not of the content")
    if terms and mode in ("sapo", "geo_mean") and settings.take(ACTOR + "loss_agg_mode") != "seq-mean-token-mean":
        settings.no_slot(ACTOR + "loss_agg_mode", f"a KL or entropy that is aggregated otherwise than {mode}, which "
                         "always takes seq-mean-token-mean", "set it to seq-mean-token-mean")
    return tuple(terms)


def _overlong(settings: Settings) -> tuple[Shaping, ...]:
    """DAPO's punishment, which the reward manager of that name pays."""
    legacy = settings.take("reward_model.reward_manager") if settings.has("reward_model.reward_manager") else None
    manager = settings.take("reward.reward_manager.name") if legacy is None else legacy
    top = "reward_model" if any(key.startswith("reward_model.reward_kwargs.") for key in settings.values) else "reward"
    base = f"{top}.reward_kwargs."
    if manager != "dapo" or not settings.take(base + "overlong_buffer_cfg.enable"):
        return ()
    needed = [base + name for name in ("overlong_buffer_cfg.len", "overlong_buffer_cfg.penalty_factor", "max_resp_len")]
    for key in needed:
        if settings.take(key) is None:
            checks.fail(key, None, "must be given for the overlong punishment, which verl asks for too")
    buffer, factor, longest = (settings.peek(key) for key in needed)
    return (SoftOverlong(max_tokens=checks.positive(needed[2], longest), factor=factor, capped=False,
                         buffer=checks.in_interval(needed[0], checks.positive(needed[0], buffer), 0.0, longest)),)


def _filter(settings: Settings, group: int, shaped: bool) -> str:
    key = "algorithm.filter_groups.enable"
    if not settings.take(key):
        return "none"
    if group < 2:
        checks.fail(ROLLOUT + "n", group, f"must be at least 2 with {key}")
    if not settings.take("trainer.use_v1"):
        settings.approximate(key, "the trainer that trainer.use_v1=False names does not read it, DAPO's recipe does; "
                             "here groups are filtered")
    metric = settings.take("algorithm.filter_groups.metric")
    if metric is None:
        checks.fail("algorithm.filter_groups.metric", metric, f"must be given with {key}, which verl asks for too")
    if shaped and metric != "reward":
        settings.approximate("algorithm.filter_groups.metric", "groups equal in this metric; here in the whole reward")
    return "resample"


def _rollout(settings: Settings) -> None:
    """How responses are drawn: what makes the sampler another policy than the one that is trained."""
    base = "algorithm.rollout_correction."
    level, rejected = settings.take(base + "rollout_is"), settings.take(base + "rollout_rs")
    if settings.take(base + "bypass_mode"):
        settings.approximate(base + "bypass_mode", "ratios to what the sampling engine said; here it agrees with the "
                             "policy")
    if level is not None:
        threshold = settings.take(base + "rollout_is_threshold")
        normed = ", over their mean" if settings.take(base + "rollout_is_batch_normalize") else ""
        settings.approximate(base + "rollout_is", "weights are 1, as if the engine and the policy agreed; on batches: "
                             f"tokens.importance_weights(level={level!r}), threshold {threshold}{normed}")
    if rejected is not None:
        bounds = settings.take(base + "rollout_rs_threshold")
        settings.approximate(base + "rollout_rs", f"nothing is rejected (threshold {bounds}), as if the engine and the "
                             "policy agreed")
    if settings.take("trainer.v1.trainer_mode") != "sync":
        settings.approximate("trainer.v1.trainer_mode", "responses of earlier policies; here of the present one")
    for name, neutral in (("top_p", (1.0,)), ("top_k", (-1, 0)), ("repetition_penalty", (1.0,)), ("do_sample", (True,)),
                          ("ignore_eos", (False,)), ("multi_turn.enable", (False,))):
        if settings.has(ROLLOUT + name) and settings.take(ROLLOUT + name) not in neutral:
            what = {"ignore_eos": "responses go on after their stop token; here they end with it",
                    "multi_turn.enable": "responses with turns of tools between; here of one turn"}.get(
                        name, "responses are drawn from another distribution than the loss has; here from it")
            settings.approximate(ROLLOUT + name, what)
