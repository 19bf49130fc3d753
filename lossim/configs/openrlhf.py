"""OpenRLHF 0.11.2: the flags of ``openrlhf.cli.train_ppo_ray``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from lossim import advantages as adv
from lossim._support import checks
from lossim.aggregation import SequenceMeanTokenMean, TokenMean
from lossim.configs._openrlhf_keys import INERT, TABLE, VERSION
from lossim.configs._parsed import ParsedConfig
from lossim.configs._settings import WHITENED, Dialect, Given, Options, paid
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward, Shaping, SoftOverlong, StopProperly
from lossim.schemes import Scheme
from lossim.surrogates import GSPO, PPOClip, Surrogate

__all__ = ["parse"]

DIALECT = Dialect(trainer="openrlhf", version=VERSION, config="train_ppo_ray", title=f"OpenRLHF {VERSION}",
                  table=TABLE, inert=INERT)
ESTIMATOR = "algo.advantage.estimator"
GROUP = "rollout.n_samples_per_prompt"
GROUPED = ("rloo", "reinforce_baseline", "group_norm", "dr_grpo")


def parse(config: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    given = Given(config, DIALECT, options)
    estimator = given.take(ESTIMATOR)
    group, prompts, minibatches, epochs = _steps(given, estimator)
    longest = given.take("rollout.max_new_tokens")
    reward = given.reward(*_shapings(given))
    kl = _kl(given, estimator)
    in_loss = [term for term in kl if term.place == "loss"]
    advantage = _advantage(given, estimator, minibatches, kl_in_reward=len(kl) > len(in_loss))
    if minibatches > 1:
        given.approximate("train.batch_size", "a mini-batch holds single responses here and there; here whole groups")
    _clip_range(given, estimator, group, reward)
    loss_type = given.take("actor.policy_loss_type")
    surrogate = _surrogate(given, loss_type, advantage)
    token_mean = loss_type == "ppo" and given.take("actor.loss_agg_mode") == "token-mean"
    coefficient = given.take("actor.entropy_coef")
    entropy = (Entropy(coefficient=coefficient),) if coefficient else ()
    if entropy:
        weighed = "" if token_mean else "; its weights are those of the loss, there a token mean"
        given.approximate("actor.entropy_coef", f"of the decision to stop alone, not of the content{weighed}")
    if in_loss and not token_mean:
        given.no_slot("algo.kl.use_loss", "a KL averaged over tokens beside a loss averaged over responses",
                      "set actor.loss_agg_mode to token-mean")
        kl = ()
    sampling = _filter(given, group, reward)
    _rollout(given)
    return given.parsed(longest, Scheme(
        name=f"openrlhf {estimator} ({loss_type})", reward=reward, advantage=advantage, surrogate=surrogate,
        aggregation=TokenMean() if token_mean else SequenceMeanTokenMean(), penalties=(*kl, *entropy),
        dynamic_sampling=sampling, group_size=group, prompts_per_step=prompts, minibatches=minibatches,
        ppo_epochs=epochs))


def _steps(given: Given, estimator: str) -> tuple[int, int, int, int]:
    """Responses per prompt, prompts per optimiser step, optimiser steps per pass, passes over a rollout."""
    group, prompts, batch, epochs = given.take_all(GROUP, "rollout.batch_size", "train.batch_size", "train.max_epochs")
    if group < 2 and estimator in GROUPED:
        checks.fail(GROUP, group, f"must be at least 2 for {estimator}, which OpenRLHF asks for too")
    rollout = prompts * group
    if rollout % batch or batch % group:
        given.no_slot("train.batch_size", f"optimiser steps of {batch} responses on a rollout of {prompts} × {group}",
                      f"set it to a multiple of {GROUP} that divides the rollout")
    return group, max(min(batch, rollout) // group, 1), max(rollout // batch, 1), epochs


def _advantage(given: Given, estimator: str, minibatches: int, kl_in_reward: bool) -> adv.Advantage:
    match estimator:
        case "rloo":
            return adv.LeaveOneOut()
        case "dr_grpo":
            given.remark(ESTIMATOR, "drops the std alone: the loss stays a token mean")
            return adv.GroupMean()
        case "group_norm":
            return adv.GroupStandardized(eps=1e-9)
        case "flash_reinforce":
            checks.fail(ESTIMATOR, estimator, "takes the mean of the whole rollout as baseline, for which a scheme has "
                        "no slot", "on batches make it one group with GroupMean()")
    centred = given.take("algo.advantage.no_std_norm")
    inner: Any = adv.GroupMean()
    if estimator != "reinforce_baseline":
        gamma = given.take("algo.advantage.gamma")
        inner = adv.ReturnToGo(gamma=gamma) if kl_in_reward or gamma != 1.0 else adv.Raw()
    if estimator == "gae":
        lam, critic = given.take_all("algo.advantage.lambd", "critic")
        inner = adv.GAE(gamma=gamma, gae_lambda=lam, critic=critic)
    if minibatches > 1:
        given.approximate(ESTIMATOR, WHITENED)
    return adv.Whitened(inner=inner, scale=not centred, ddof=0, eps=0.0)


def _kl(given: Given, estimator: str) -> tuple[KL, ...]:
    """The KL, in the reward or in the loss; OpenRLHF has one or the other."""
    coefficient = given.take("algo.kl.init_coef")
    if coefficient <= 0.0:
        return ()
    _, name, in_loss = given.take_all("algo.kl.target", "algo.kl.estimator", "algo.kl.use_loss")
    if in_loss:
        given.approximate("algo.kl.estimator", "OpenRLHF holds KL within ±10; here it is not bounded")
        if not given.take("algo.kl.unbiased_gradient"):
            return (KL(coefficient=coefficient, estimator=name),)
        # π/π_old · d, which is the gradient of k3 times the ratio
        given.approximate("algo.kl.unbiased_gradient", "the same gradient; the value is that of k3 times the ratio, "
                          "whatever the estimator")
        return (KL(coefficient=coefficient, estimator="k3", gradient="bias_corrected"),)
    if name != "k1":
        given.no_slot("algo.kl.estimator", "a KL in the reward other than k1", "set it to k1")
    if estimator not in ("gae", "reinforce"):
        given.no_slot("algo.kl.init_coef", f"a KL in the reward behind the baseline of {estimator}; in a scheme it is "
                      "part of the return that the group is compared by", "set it to 0, or algo.kl.use_loss")
        return ()
    return (KL(coefficient=coefficient, place="reward"),)


def _surrogate(given: Given, loss_type: str, advantage: adv.Advantage) -> Surrogate:
    low, high = given.take("actor.eps_clip_low_high") or [given.take("actor.eps_clip")] * 2
    dual = given.take("actor.dual_clip")
    if dual is not None and dual <= 1.0:
        checks.fail("actor.dual_clip", dual, "must be above 1, which OpenRLHF asks for too")
    if loss_type == "ppo":
        return PPOClip(low=low, high=high, dual=dual)
    if dual is not None:
        given.no_slot("actor.dual_clip", "a dual clip on the ratio of the whole response", "leave it out")
    if advantage.token_level is not None:
        given.no_slot("actor.policy_loss_type", "the ratio of a response that weighs the mean advantage of its tokens",
                      "take a group estimator")
    return GSPO(low=low, high=high)


def _shapings(given: Given) -> list[Shaping]:
    made: list[Shaping] = []
    key = "reward.overlong_buffer_len"
    if given.take(key) is not None:
        end = given.either("rollout.max_new_tokens", "data.max_len")
        factor = given.take("reward.overlong_penalty_factor")
        made.append(SoftOverlong(max_tokens=end, factor=factor,
                                 buffer=checks.in_interval(key, given.positive(key), 0.0, end)))
    stop = given.take("reward.stop_properly_penalty_coef")
    if stop is not None:
        made.append(StopProperly(coefficient=stop))
    return made


def _clip_range(given: Given, estimator: str, group: int, reward: Reward) -> None:
    """OpenRLHF clips what is left of a reward behind the baseline: say so where that could bind."""
    key = "reward.clip_range"
    low, high = given.take(key)
    if given.take("reward").shaping is not None:
        given.approximate(key, "clips what the shaping of reward= may pay; here nothing is clipped")
        return
    least = min(paid(reward))
    most = max(paid(reward))
    buffer, stop = given.take_all("reward.overlong_buffer_len", "reward.stop_properly_penalty_coef")
    if buffer is not None:
        least -= given.take("reward.overlong_penalty_factor")
    if stop is not None:  # what a truncated response is paid: the coefficient below 0, else its share of the reward
        cut = [stop] if stop < 0 else [stop * least, stop * most]
        least = min(least, *cut)
        most = max(most, *cut)
    if estimator in GROUPED:
        most = (group - 1) / group**0.5 if estimator == "group_norm" else most - least
        least = -most
    if least < low or most > high:
        given.no_slot(key, f"a clip of what lies between {least:g} and {most:g}, behind the baseline", "widen it")


def _filter(given: Given, group: int, reward: Reward) -> Literal["none", "resample"]:
    key = "algo.dynamic_filtering_enable"
    if not given.take(key):
        return "none"
    if group < 2:
        checks.fail(GROUP, group, "must be at least 2 with dynamic filtering, which OpenRLHF asks for too")
    low, high = given.take("algo.dynamic_filtering_range")
    if (reward.incorrect, reward.correct) != (low, high) or reward.truncated not in (None, low, high):
        given.no_slot("algo.dynamic_filtering_range", f"groups with a mean score within ({low:g}, {high:g}), where "
                      f"rewards are {reward.incorrect:g} and {reward.correct:g}", "give the range of the rewards")
    if reward.shaping is not None:
        given.approximate(key, "groups equal in their scores; here in the whole reward, length penalties included")
    return "resample"


def _rollout(given: Given) -> None:
    """How responses are drawn: what makes the sampler another policy than the one that is trained."""
    base = "algo.advantage.is_correction_"
    if given.take(base + "level") != "off":
        shown = {name: given.take(base + name) for name in ("mode", "gating", "threshold")}
        given.approximate(base + "level", "weights are 1, as if the engine and the policy agreed; on batches: "
                          f"tokens.importance_weights, {shown}")
    given.take_all("train.async_enable", "train.partial_rollout_enable", "rollout.top_p", "train.agent_func_path")
