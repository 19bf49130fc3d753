"""verl 0.9.1: the Hydra config of ``verl.trainer.main_ppo``, as YAML, a mapping, or overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lossim import advantages as adv
from lossim import aggregation as agg
from lossim import surrogates
from lossim._support import checks
from lossim.configs import _source
from lossim.configs._parsed import ParsedConfig
from lossim.configs._settings import WHITENED, Dialect, Given, Options
from lossim.configs._verl_keys import ACTOR, CORRECTION, HINTS, INERT, ROLLOUT, TABLE, VERSION
from lossim.penalties import KL, Entropy
from lossim.rewards import Shaping, SoftOverlong
from lossim.schemes import Scheme

__all__ = ["parse"]

DIALECT = Dialect(trainer="verl", version=VERSION, config="ppo_trainer", title=f"verl {VERSION}", table=TABLE,
                  inert=INERT)
ESTIMATOR = "algorithm.adv_estimator"
GROUP = ROLLOUT + "n"
MINI = ACTOR + "ppo_mini_batch_size"
MODE = ACTOR + "policy_loss.loss_mode"
RULE = ACTOR + "loss_agg_mode"
RULES = {each.verl: each() for each in (agg.TokenMean, agg.TokenSum, agg.SequenceMeanTokenSum,
                                        agg.SequenceMeanTokenMean)}
OWN_RULE = ("sapo", "geo_mean")
K = {"kl": "k1", "k1": "k1", "abs": "abs", "mse": "k2", "k2": "k2", "low_var_kl": "k3", "k3": "k3"}


def parse(config: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    for key in sorted(HINTS.keys() & config.keys() - set(options.ignore)):
        checks.fail(key, config[key], f"is not a setting that lossim knows of verl {VERSION}", HINTS[key])
    given = Given(_source.composed(config), DIALECT, options)
    group, prompts, minibatches, epochs = _steps(given)
    longest = given.older(ROLLOUT + "response_length", "data.max_response_length")
    kl_in_reward = _kl_in_reward(given)
    estimator = given.take(ESTIMATOR)
    advantage = _advantage(given, estimator, group, bool(kl_in_reward))
    if isinstance(advantage, adv.Whitened) and minibatches > 1:
        given.approximate(ESTIMATOR, WHITENED)
    if given.take("algorithm.use_pf_ppo") and estimator == "gae":
        given.no_slot("algorithm.use_pf_ppo", "a batch drawn again by its scores", "set it to False")
    if given.take(CORRECTION + "bypass_mode") and not given.take("trainer.use_v1"):
        # the old trainer replaces the loss where it takes the sampler's log-probabilities for the old ones
        mode = {"ppo_clip": "vanilla", "reinforce": "gpg"}[given.take(CORRECTION + "loss_type")]
    else:
        mode = given.take(MODE)
    if mode == "geo_mean" and advantage.token_level is not None:
        checks.fail(MODE, mode, "needs one advantage per response, for which a scheme has a slot, not the mean of "
                    "those of its tokens", "take a group estimator")
    given.take("distillation.enabled")
    surrogate = _surrogate(given, mode)
    penalties: list[KL | Entropy] = []
    if mode == "dro":  # a term that belongs to its loss
        beta = given.positive(ACTOR + "policy_loss.dro_beta", "verl asks for it too")
        penalties.append(KL(coefficient=beta, estimator="k2", to="old"))
    rule = "seq-mean-token-mean" if mode in OWN_RULE else given.take(RULE)
    aggregation = _aggregation(given, rule, longest)
    penalties += [*kl_in_reward, *_penalties(given, mode)]
    reward = given.reward(*_overlong(given))
    sampling = _filter(given, group, reward.shaping is not None)
    _rollout(given)
    return given.parsed(longest, Scheme(
        name=f"verl {estimator} ({mode}, {rule})", reward=reward, advantage=advantage, surrogate=surrogate,
        aggregation=aggregation, penalties=tuple(penalties), dynamic_sampling=sampling, group_size=group,
        prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs))


def _steps(given: Given) -> tuple[int, int, int, int]:
    """Responses per prompt, prompts per optimiser step, optimiser steps per pass, passes over a rollout."""
    group, batch, mini, epochs = given.take_all(GROUP, "data.train_batch_size", MINI, ACTOR + "ppo_epochs")
    if batch % mini:
        given.no_slot(MINI, f"a rollout of {batch} prompts (data.train_batch_size) in unequal mini-batches",
                      "set one to a multiple of the other")
    if batch > mini:
        given.approximate(MINI, "a mini-batch holds single responses here and there, balanced by length; here whole "
                          "groups")
    return group, min(mini, batch), max(batch // mini, 1), epochs


def _advantage(given: Given, name: str, group: int, kl_in_reward: bool) -> adv.Advantage:
    alone: Any = "raw" if group == 1 else "zero"
    if group == 1 and name not in ("gae", "reinforce_plus_plus", "remax"):
        if name in ("grpo_passk", "rloo_vectorized"):
            checks.fail(GROUP, group, f"must be at least 2 for {name}")
        given.remark(GROUP, "a group of one: verl's advantage is then the reward itself")
    match name:
        case "gae":
            given.remark(ESTIMATOR, "whitened over tokens, which verl cannot switch off")
            gamma, lam, critic = given.take_all("algorithm.gamma", "algorithm.lam", "critic")
            return adv.Whitened(inner=adv.GAE(gamma=gamma, gae_lambda=lam, critic=critic))
        case "reinforce_plus_plus":
            gamma = given.take("algorithm.gamma")
            plain = gamma == 1.0 and not kl_in_reward
            return adv.Whitened(inner=adv.Raw() if plain else adv.ReturnToGo(gamma=gamma))
        case "grpo":
            std = given.take("algorithm.norm_adv_by_std_in_grpo")
            return adv.GroupStandardized() if std else adv.GroupMean(group_of_one=alone)
        case "grpo_passk":
            return adv.PassK(standardize=given.take("algorithm.norm_adv_by_std_in_grpo"))
        case "gdpo":
            given.no_slot(ESTIMATOR, "rewards that are normalised one by one", "take tokens.gdpo on batches")
            return adv.Whitened(inner=adv.GroupStandardized())
        case "remax":
            checks.fail(ESTIMATOR, name, "needs the reward of greedy responses, which no config holds",
                        "build it: schemes.remax(greedy_reward=...)")
        case "optimal_token_baseline" | "tir_optimal_token_baseline":
            checks.fail(ESTIMATOR, name, "needs probabilities of the whole vocabulary, for which a scheme has no slot")
    return {"grpo_vectorized": adv.GroupStandardized(), "gpg": adv.GPG(), "opo": adv.OPO(group_of_one=alone),
            "rloo": adv.LeaveOneOut(group_of_one=alone), "rloo_vectorized": adv.LeaveOneOut(),
            "reinforce_plus_plus_baseline": adv.Whitened(inner=adv.GroupMean(group_of_one=alone))}[name]


def _surrogate(given: Given, mode: str) -> surrogates.Surrogate:
    match mode:
        case "gpg" | "dro":
            return surrogates.PolicyGradient()
        case "sapo":
            return surrogates.SAPO(positive=given.positive(ACTOR + "tau_pos"),
                                   negative=given.positive(ACTOR + "tau_neg"))
        case "kl_cov":
            given.no_slot(MODE, "a KL on the tokens of largest covariance")
            return surrogates.ImportanceWeight()
    low = given.either(ACTOR + "clip_ratio_low", ACTOR + "clip_ratio")
    high = given.either(ACTOR + "clip_ratio_high", ACTOR + "clip_ratio")
    match mode:
        case "gspo":
            return surrogates.GSPO(low=low, high=high)
        case "geo_mean":
            given.approximate(MODE, "a mean over the responses of each micro-batch; here of the step")
            return surrogates.GMPO(low=low, high=high)
        case "cispo":
            return surrogates.CISPO(low=min(low, 1.0), high=high)
        case "clip_cov":
            given.no_slot(MODE, "a loss without random tokens of large covariance")
            return surrogates.PPOClip(low=low, high=high)
    dual = given.take(ACTOR + "clip_ratio_c")
    if dual <= 1.0:
        checks.fail(ACTOR + "clip_ratio_c", dual, "must be above 1, which verl asks for too")
    if mode in ("dppo_tv", "dppo_kl"):
        given.no_slot(MODE, "a mask by how far a token's probability moved", "take tokens.dppo_mask on batches")
        return surrogates.CISPO(low=1.0, high=dual - 1.0)
    return surrogates.PPOClip(low=low, high=high, dual=dual)


def _aggregation(given: Given, rule: str, longest: int) -> agg.Aggregation:
    if rule in RULES:
        return RULES[rule]
    key = ACTOR + "loss_scale_factor"
    if given.take(key) is None:
        given.approximate(key, "null divides by the longest response of each micro-batch (trainer.use_v1) or the "
                          f"padded width; here by {longest}. Set it")
        return agg.ConstantNormalizer(constant=longest)
    return agg.ConstantNormalizer(constant=given.positive(key))


def _kl_in_reward(given: Given) -> list[KL]:
    if not given.take("algorithm.use_kl_in_reward"):
        return []
    coefficient = given.take("algorithm.kl_ctrl.kl_coef")
    given.take_all("algorithm.kl_ctrl.type", "algorithm.kl_penalty")
    return [KL(coefficient=coefficient, place="reward")] if coefficient else []


def _penalties(given: Given, mode: str) -> list[KL | Entropy]:
    found: list[KL | Entropy] = []
    if given.take(ACTOR + "use_kl_loss"):
        coefficient, name = given.take_all(ACTOR + "kl_loss_coef", ACTOR + "kl_loss_type")
        estimator: Any = K[name.removesuffix("+")]
        through = name.endswith("+") and estimator != "k2"
        if coefficient and mode == "dro":
            given.no_slot(ACTOR + "use_kl_loss", "a second KL in the loss beside DRO's own", "set it to False")
        elif coefficient:
            if estimator == "k3":
                given.approximate(ACTOR + "kl_loss_type", "verl holds k3 within ±10; here it is not bounded")
            found.append(KL(coefficient=coefficient, estimator=estimator,
                            gradient="straight_through" if through else "own"))
    entropy = given.take(ACTOR + "entropy_coeff")
    if entropy:
        found.append(Entropy(coefficient=entropy))
    if mode in OWN_RULE and found and given.take(RULE) != "seq-mean-token-mean":
        given.no_slot(RULE, f"a KL or entropy that is aggregated otherwise than {mode}, which always takes "
                      "seq-mean-token-mean", "set it to seq-mean-token-mean")
    return found


def _overlong(given: Given) -> list[Shaping]:
    """DAPO's punishment, which the reward manager of that name pays."""
    if given.older("reward_model.reward_manager", "reward.reward_manager.name") != "dapo":
        return []
    older = any(key.startswith("reward_model.reward_kwargs.") for key in given.values)
    base = "reward_model.reward_kwargs." if older else "reward.reward_kwargs."
    if not given.take(base + "overlong_buffer_cfg.enable"):
        return []
    buffer, factor, longest = (base + name for name in (
        "overlong_buffer_cfg.len", "overlong_buffer_cfg.penalty_factor", "max_resp_len"))
    for key in (buffer, factor, longest):
        if given.take(key) is None:
            checks.fail(key, None, "must be given for the overlong punishment, which verl asks for too")
    end = given.positive(longest)
    return [SoftOverlong(max_tokens=end, factor=given.take(factor), capped=False,
                         buffer=checks.in_interval(buffer, given.positive(buffer), 0.0, end))]


def _filter(given: Given, group: int, shaped: bool) -> Literal["none", "resample"]:
    key = "algorithm.filter_groups.enable"
    if not given.take(key):
        return "none"
    if group < 2:
        checks.fail(GROUP, group, f"must be at least 2 with {key}")
    if not given.take("trainer.use_v1"):
        given.approximate(key, "the trainer that trainer.use_v1=False names does not read it, DAPO's recipe does; here "
                          "groups are filtered")
    metric = given.take("algorithm.filter_groups.metric")
    if metric is None:
        checks.fail("algorithm.filter_groups.metric", metric, f"must be given with {key}, which verl asks for too")
    if shaped and metric != "reward":
        given.approximate("algorithm.filter_groups.metric", "groups equal in this metric; here in the whole reward")
    return "resample"


def _rollout(given: Given) -> None:
    """How responses are drawn: what makes the sampler another policy than the one that is trained."""
    level, rejected, bypass = given.take_all(
        CORRECTION + "rollout_is", CORRECTION + "rollout_rs", CORRECTION + "bypass_mode")
    if bypass:
        given.approximate(CORRECTION + "bypass_mode", "ratios to what the sampling engine said; here it agrees with "
                          "the policy")
    if level is not None:
        threshold = given.take(CORRECTION + "rollout_is_threshold")
        over = ", over their mean" if given.take(CORRECTION + "rollout_is_batch_normalize") else ""
        given.approximate(CORRECTION + "rollout_is", "weights are 1, as if the engine and the policy agreed; on "
                          f"batches: tokens.importance_weights(level={level!r}), threshold {threshold}{over}")
    if rejected is not None:
        bounds = given.take(CORRECTION + "rollout_rs_threshold")
        given.approximate(CORRECTION + "rollout_rs", f"nothing is rejected (threshold {bounds}), as if the engine and "
                          "the policy agreed")
    given.take("trainer.v1.trainer_mode")
    given.take_given(*(ROLLOUT + name for name in (
        "top_p", "top_k", "repetition_penalty", "do_sample", "ignore_eos", "multi_turn.enable")))
