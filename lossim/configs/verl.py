"""verl 0.9.1: the Hydra config of ``verl.trainer.main_ppo``, as YAML, a mapping, or overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lossim import advantages as adv
from lossim import aggregation as agg
from lossim import surrogates
from lossim._support import checks
from lossim.configs import _hydra
from lossim.configs._given import Dialect, Given, Options, Reading, parsed
from lossim.configs._parsed import ParsedConfig
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
WHITENED = ("gae", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "gdpo")
OWN_RULE = ("sapo", "geo_mean")
K = {"kl": "k1", "k1": "k1", "abs": "abs", "mse": "k2", "k2": "k2", "low_var_kl": "k3", "k3": "k3"}


def parse(config: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    for key in sorted(HINTS.keys() & config.keys() - set(options.ignore)):
        checks.fail(key, config[key], f"is not a setting that lossim knows of verl {VERSION}", HINTS[key])
    _hydra.check_composed(config.get("defaults"))
    values = {key: _hydra.resolved(key, value, config) if key in TABLE else value for key, value in config.items()}
    given = Given.read(values, DIALECT, options)
    return parsed(given, _scheme(given))


def _scheme(given: Given) -> Reading[tuple[Scheme, int]]:
    group, prompts, minibatches, epochs = yield from _steps(given)
    longest = yield from given.older(ROLLOUT + "response_length", "data.max_response_length")
    kl_in_reward = yield from _kl_in_reward(given)
    estimator = yield from given.take(ESTIMATOR)
    advantage = yield from _advantage(given, estimator, group, bool(kl_in_reward))
    if estimator in WHITENED and minibatches > 1:
        yield given.approximated(ESTIMATOR, "whitened over the rollout's tokens; so in train, but drift takes those of "
                                 "one optimiser step")
    if (yield from given.take("algorithm.use_pf_ppo")) and estimator == "gae":
        yield given.no_slot("algorithm.use_pf_ppo", "a batch drawn again by its scores", "set it to False")
    mode = yield from _mode(given)
    if mode == "geo_mean" and advantage.token_level is not None:
        checks.fail(MODE, mode, "needs one advantage per response, for which a scheme has a slot, not the mean of "
                    "those of its tokens", "take a group estimator")
    yield from given.take("distillation.enabled")
    surrogate = yield from _surrogate(given, mode)
    kl_to_old = yield from _kl_to_old(given, mode)
    rule = "seq-mean-token-mean"
    if mode not in OWN_RULE:
        rule = yield from given.take(RULE)
    aggregation = yield from _aggregation(given, rule, longest)
    penalties = yield from _penalties(given, mode)
    shapings = yield from _overlong(given)
    reward = yield from given.reward(*shapings)
    sampling = yield from _filter(given, group, reward.shaping is not None)
    yield from _rollout(given)
    return Scheme(
        name=f"verl {estimator} ({mode}, {rule})", reward=reward, advantage=advantage, surrogate=surrogate,
        aggregation=aggregation, penalties=(*kl_to_old, *kl_in_reward, *penalties), dynamic_sampling=sampling,
        group_size=group, prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs), longest


def _steps(given: Given) -> Reading[tuple[int, int, int, int]]:
    """Responses per prompt, prompts per optimiser step, optimiser steps per pass, passes over a rollout."""
    group, batch, mini, epochs = yield from given.take_all(GROUP, "data.train_batch_size", MINI, ACTOR + "ppo_epochs")
    if batch % mini:
        yield given.no_slot(MINI, f"a rollout of {batch} prompts (data.train_batch_size) in unequal mini-batches",
                            "set one to a multiple of the other")
    if batch > mini:
        yield given.approximated(MINI, "a mini-batch holds single responses here and there, balanced by length; here "
                                 "whole groups")
    return group, min(mini, batch), max(batch // mini, 1), epochs


def _advantage(given: Given, name: str, group: int, kl_in_reward: bool) -> Reading[adv.Advantage]:
    alone: Any = "raw" if group == 1 else "zero"
    if group == 1 and name not in ("gae", "reinforce_plus_plus", "remax"):
        if name in ("grpo_passk", "rloo_vectorized"):
            checks.fail(GROUP, group, f"must be at least 2 for {name}")
        yield given.remark(GROUP, "a group of one: verl's advantage is then the reward itself")
    match name:
        case "gae":
            yield given.remark(ESTIMATOR, "whitened over tokens, which verl cannot switch off")
            gamma, lam, critic = yield from given.take_all("algorithm.gamma", "algorithm.lam", "critic")
            return adv.Whitened(inner=adv.GAE(gamma=gamma, gae_lambda=lam, critic=critic))
        case "reinforce_plus_plus":
            gamma = yield from given.take("algorithm.gamma")
            plain = gamma == 1.0 and not kl_in_reward
            return adv.Whitened(inner=adv.Raw() if plain else adv.ReturnToGo(gamma=gamma))
        case "grpo":
            std = yield from given.take("algorithm.norm_adv_by_std_in_grpo")
            return adv.GroupStandardized() if std else adv.GroupMean(group_of_one=alone)
        case "grpo_passk":
            std = yield from given.take("algorithm.norm_adv_by_std_in_grpo")
            return adv.PassK(standardize=std)
        case "gdpo":
            yield given.no_slot(ESTIMATOR, "rewards that are normalised one by one", "take tokens.gdpo on batches")
            return adv.Whitened(inner=adv.GroupStandardized())
        case "remax":
            checks.fail(ESTIMATOR, name, "needs the reward of greedy responses, which no config holds",
                        "build it: schemes.remax(greedy_reward=...)")
        case "optimal_token_baseline" | "tir_optimal_token_baseline":
            checks.fail(ESTIMATOR, name, "needs probabilities of the whole vocabulary, for which a scheme has no slot")
    return {"grpo_vectorized": adv.GroupStandardized(), "gpg": adv.GPG(), "opo": adv.OPO(group_of_one=alone),
            "rloo": adv.LeaveOneOut(group_of_one=alone), "rloo_vectorized": adv.LeaveOneOut(),
            "reinforce_plus_plus_baseline": adv.Whitened(inner=adv.GroupMean(group_of_one=alone))}[name]


def _mode(given: Given) -> Reading[Any]:
    """The loss; the old trainer replaces it where it takes the sampler's log-probabilities for the old ones."""
    if (yield from given.take(CORRECTION + "bypass_mode")) and not (yield from given.take("trainer.use_v1")):
        loss_type = yield from given.take(CORRECTION + "loss_type")
        return {"ppo_clip": "vanilla", "reinforce": "gpg"}[loss_type]
    return (yield from given.take(MODE))


def _surrogate(given: Given, mode: str) -> Reading[surrogates.Surrogate]:
    match mode:
        case "gpg" | "dro":
            return surrogates.PolicyGradient()
        case "sapo":
            up, down = yield from given.take_all(ACTOR + "tau_pos", ACTOR + "tau_neg")
            return surrogates.SAPO(positive=checks.positive(ACTOR + "tau_pos", up),
                                   negative=checks.positive(ACTOR + "tau_neg", down))
        case "kl_cov":
            yield given.no_slot(MODE, "a KL on the tokens of largest covariance")
            return surrogates.ImportanceWeight()
    low = yield from given.either(ACTOR + "clip_ratio_low", ACTOR + "clip_ratio")
    high = yield from given.either(ACTOR + "clip_ratio_high", ACTOR + "clip_ratio")
    match mode:
        case "gspo":
            return surrogates.GSPO(low=low, high=high)
        case "geo_mean":
            yield given.approximated(MODE, "a mean over the responses of each micro-batch; here of the step")
            return surrogates.GMPO(low=low, high=high)
        case "cispo":
            return surrogates.CISPO(low=min(low, 1.0), high=high)
        case "clip_cov":
            yield given.no_slot(MODE, "a loss without random tokens of large covariance")
            return surrogates.PPOClip(low=low, high=high)
    dual = yield from given.take(ACTOR + "clip_ratio_c")
    if dual <= 1.0:
        checks.fail(ACTOR + "clip_ratio_c", dual, "must be above 1, which verl asks for too")
    if mode in ("dppo_tv", "dppo_kl"):
        yield given.no_slot(MODE, "a mask by how far a token's probability moved", "take tokens.dppo_mask on batches")
        return surrogates.CISPO(low=1.0, high=dual - 1.0)
    return surrogates.PPOClip(low=low, high=high, dual=dual)


def _kl_to_old(given: Given, mode: str) -> Reading[tuple[KL, ...]]:
    """The term that belongs to the loss of DRO."""
    if mode != "dro":
        return ()
    key = ACTOR + "policy_loss.dro_beta"
    beta = yield from given.take(key)
    checks.positive(key, 0.0 if beta is None else beta, "verl asks for it too")
    return (KL(coefficient=beta, estimator="k2", to="old"),)


def _aggregation(given: Given, rule: str, longest: int) -> Reading[agg.Aggregation]:
    if rule != "seq-mean-token-sum-norm":
        return {"token-mean": agg.TokenMean(), "token-sum": agg.TokenSum(),
                "seq-mean-token-sum": agg.SequenceMeanTokenSum(),
                "seq-mean-token-mean": agg.SequenceMeanTokenMean()}[rule]
    key = ACTOR + "loss_scale_factor"
    constant = yield from given.take(key)
    if constant is None:
        yield given.approximated(key, "null divides by the longest response of each micro-batch (trainer.use_v1) or "
                                 f"the padded width; here by {longest}. Set it")
        return agg.ConstantNormalizer(constant=longest)
    return agg.ConstantNormalizer(constant=checks.positive(key, constant))


def _kl_in_reward(given: Given) -> Reading[tuple[KL, ...]]:
    if not (yield from given.take("algorithm.use_kl_in_reward")):
        return ()
    coefficient, _, _ = yield from given.take_all(
        "algorithm.kl_ctrl.kl_coef", "algorithm.kl_ctrl.type", "algorithm.kl_penalty")
    return (KL(coefficient=coefficient, place="reward"),) if coefficient else ()


def _penalties(given: Given, mode: str) -> Reading[tuple[KL | Entropy, ...]]:
    kl = yield from _kl_in_loss(given, mode)
    coefficient = yield from given.take(ACTOR + "entropy_coeff")
    entropy = (Entropy(coefficient=coefficient),) if coefficient else ()
    if mode in OWN_RULE and (kl or entropy) and (yield from given.take(RULE)) != "seq-mean-token-mean":
        yield given.no_slot(RULE, f"a KL or entropy that is aggregated otherwise than {mode}, which always takes "
                            "seq-mean-token-mean", "set it to seq-mean-token-mean")
    return (*kl, *entropy)


def _kl_in_loss(given: Given, mode: str) -> Reading[tuple[KL, ...]]:
    if not (yield from given.take(ACTOR + "use_kl_loss")):
        return ()
    coefficient, name = yield from given.take_all(ACTOR + "kl_loss_coef", ACTOR + "kl_loss_type")
    if not coefficient:
        return ()
    if mode == "dro":
        yield given.no_slot(ACTOR + "use_kl_loss", "a second KL in the loss beside DRO's own", "set it to False")
        return ()
    estimator: Any = K[name.removesuffix("+")]
    if estimator == "k3":
        yield given.approximated(ACTOR + "kl_loss_type", "verl holds k3 within ±10; here it is not bounded")
    through = name.endswith("+") and estimator != "k2"
    return (KL(coefficient=coefficient, estimator=estimator, gradient="straight_through" if through else "own"),)


def _overlong(given: Given) -> Reading[tuple[Shaping, ...]]:
    """DAPO's punishment, which the reward manager of that name pays."""
    manager = yield from given.older("reward_model.reward_manager", "reward.reward_manager.name")
    if manager != "dapo":
        return ()
    older = any(key.startswith("reward_model.reward_kwargs.") for key in given.values)
    base = "reward_model.reward_kwargs." if older else "reward.reward_kwargs."
    if not (yield from given.take(base + "overlong_buffer_cfg.enable")):
        return ()
    needed = [base + name for name in ("overlong_buffer_cfg.len", "overlong_buffer_cfg.penalty_factor", "max_resp_len")]
    buffer, factor, longest = yield from given.take_all(*needed)
    for key, value in zip(needed, (buffer, factor, longest), strict=True):
        if value is None:
            checks.fail(key, None, "must be given for the overlong punishment, which verl asks for too")
    return (SoftOverlong(max_tokens=checks.positive(needed[2], longest), factor=factor, capped=False,
                         buffer=checks.in_interval(needed[0], checks.positive(needed[0], buffer), 0.0, longest)),)


def _filter(given: Given, group: int, shaped: bool) -> Reading[Literal["none", "resample"]]:
    key = "algorithm.filter_groups.enable"
    if not (yield from given.take(key)):
        return "none"
    if group < 2:
        checks.fail(GROUP, group, f"must be at least 2 with {key}")
    if not (yield from given.take("trainer.use_v1")):
        yield given.approximated(key, "the trainer that trainer.use_v1=False names does not read it, DAPO's recipe "
                                 "does; here groups are filtered")
    metric = yield from given.take("algorithm.filter_groups.metric")
    if metric is None:
        checks.fail("algorithm.filter_groups.metric", metric, f"must be given with {key}, which verl asks for too")
    if shaped and metric != "reward":
        yield given.approximated("algorithm.filter_groups.metric", "groups equal in this metric; here in the whole "
                                 "reward")
    return "resample"


def _rollout(given: Given) -> Reading[None]:
    """How responses are drawn: what makes the sampler another policy than the one that is trained."""
    level, rejected, bypass = yield from given.take_all(
        CORRECTION + "rollout_is", CORRECTION + "rollout_rs", CORRECTION + "bypass_mode")
    if bypass:
        yield given.approximated(CORRECTION + "bypass_mode", "ratios to what the sampling engine said; here it agrees "
                                 "with the policy")
    if level is not None:
        threshold, normed = yield from given.take_all(
            CORRECTION + "rollout_is_threshold", CORRECTION + "rollout_is_batch_normalize")
        over = ", over their mean" if normed else ""
        yield given.approximated(
            CORRECTION + "rollout_is", "weights are 1, as if the engine and the policy agreed; on batches: "
            f"tokens.importance_weights(level={level!r}), threshold {threshold}{over}")
    if rejected is not None:
        bounds = yield from given.take(CORRECTION + "rollout_rs_threshold")
        yield given.approximated(CORRECTION + "rollout_rs", f"nothing is rejected (threshold {bounds}), as if the "
                                 "engine and the policy agreed")
    yield from given.take("trainer.v1.trainer_mode")
    yield from given.take_given(*(ROLLOUT + name for name in (
        "top_p", "top_k", "repetition_penalty", "do_sample", "ignore_eos", "multi_turn.enable")))
