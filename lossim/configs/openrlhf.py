"""OpenRLHF 0.11.2: the flags of ``openrlhf.cli.train_ppo_ray``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lossim._support import checks
from lossim.advantages import GAE, Advantage, GroupMean, GroupStandardized, LeaveOneOut, Raw, ReturnToGo, Whitened
from lossim.aggregation import Aggregation, SequenceMeanTokenMean, TokenMean
from lossim.configs import _source
from lossim.configs._openrlhf_keys import INERT, TABLE, VERSION
from lossim.configs._parsed import ParsedConfig
from lossim.configs._settings import Options, Settings
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward, Shaping, SoftOverlong, StopProperly
from lossim.schemes import Scheme
from lossim.surrogates import GSPO, PPOClip, Surrogate

__all__ = ["flags", "parse"]

IDLE = {"algo.advantage.gamma": "1 for group estimators, whatever is given",
        "actor.loss_agg_mode": "gspo takes seq-mean-token-mean"}
GROUPED = ("rloo", "reinforce_baseline", "group_norm", "dr_grpo")


def flags(tokens: Sequence[str]) -> dict[str, Any]:
    """Flags and what follows each; of a flag given twice the last counts, as in argparse."""
    found: dict[str, Any] = {}
    name, rest = "", _source.after_module(tokens, ("openrlhf.cli.train_ppo_ray",))
    for token in rest:
        if token.startswith("--"):
            name, equals, value = token[2:].partition("=")
            found[name] = [value] if equals else []
        elif name:
            found[name].append(token)
        else:
            checks.fail("source", token, "must begin with a flag, or name openrlhf.cli.train_ppo_ray before the flags")
    for name, values in found.items():
        for value in values if name in TABLE else ():
            _source.no_shell(name, value)
        if name in TABLE and TABLE[name].of == "flag" and values:
            checks.fail(name, values, "must be given without a value")
        if name in TABLE and TABLE[name].of not in ("flag", "pair", "any") and len(values) != 1:
            checks.fail(name, values, "must be given with one value")
        found[name] = True if not values else values[0] if len(values) == 1 else values
    return found


def parse(given: Mapping[str, Any], options: Options) -> ParsedConfig:
    """The scheme of a flat config."""
    settings = Settings(given, TABLE, INERT, f"OpenRLHF {VERSION}", options)
    scheme, max_tokens = _scheme(settings)
    return settings.parsed(scheme, "openrlhf", VERSION, "train_ppo_ray", max_tokens, IDLE)


def _scheme(settings: Settings) -> tuple[Scheme, int | None]:
    estimator = settings.take("algo.advantage.estimator", "token-whitened GAE with a critic")
    group, prompts, minibatches, epochs = _steps(settings, estimator)
    longest = settings.take("rollout.max_new_tokens", "whatever data.max_len leaves behind the prompt")
    reward = settings.reward(*_shapings(settings, longest))
    kl_reward, kl_loss = _kl(settings, estimator, minibatches * epochs)
    advantage = _advantage(settings, estimator, bool(kl_reward))
    if isinstance(advantage, Whitened) and minibatches > 1:
        settings.approximate("algo.advantage.estimator", "whitened over the rollout's tokens; so in train, but drift "
                             "takes those of one optimiser step")
    if minibatches > 1:
        settings.approximate("train.batch_size", "a mini-batch holds single responses here and there; here whole "
                             "groups")
    _clip_range(settings, estimator, group, reward)
    loss_type = settings.take("actor.policy_loss_type")
    constant = not isinstance(advantage, GAE) and not (
        isinstance(advantage, Whitened) and isinstance(advantage.inner, GAE))
    surrogate = _surrogate(settings, loss_type, constant)
    aggregation = _aggregation(settings, loss_type)
    terms = (*kl_reward, *kl_loss, *_entropy(settings, aggregation))
    if kl_loss and not isinstance(aggregation, TokenMean):
        settings.no_slot("algo.kl.use_loss", "a KL averaged over tokens beside a loss averaged over responses",
                         "set actor.loss_agg_mode to token-mean")
        terms = tuple(term for term in terms if term not in kl_loss)
    sampling = _filter(settings, group, reward)
    _rollout(settings)
    return Scheme(name=f"openrlhf {estimator} ({loss_type})", reward=reward, advantage=advantage, surrogate=surrogate,
                  aggregation=aggregation, penalties=terms, dynamic_sampling=sampling, group_size=group,  # type: ignore[arg-type]
                  prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs), longest


def _steps(settings: Settings, estimator: str) -> tuple[int, int, int, int]:
    """Responses per prompt, prompts per optimiser step, optimiser steps per pass, passes over a rollout."""
    group, prompts = settings.take("rollout.n_samples_per_prompt"), settings.take("rollout.batch_size")
    batch, epochs = settings.take("train.batch_size", "in responses"), settings.take("train.max_epochs")
    if group < 2 and estimator in GROUPED:
        checks.fail("rollout.n_samples_per_prompt", group, f"must be at least 2 for {estimator}, which OpenRLHF asks "
                    "for too")
    if prompts * group % batch or batch % group:
        settings.no_slot("train.batch_size", f"optimiser steps of {batch} responses on a rollout of {prompts} × "
                         f"{group}", "set it to a multiple of rollout.n_samples_per_prompt that divides the rollout")
    steps = max(prompts * group // batch, 1)
    return group, max(min(batch, prompts * group) // group, 1), steps, epochs


def _advantage(settings: Settings, estimator: str, kl_in_reward: bool) -> Advantage:
    if estimator == "rloo":
        return LeaveOneOut()
    if estimator == "dr_grpo":
        settings.remark("algo.advantage.estimator", "drops the std alone: the loss stays a token mean")
        return GroupMean()
    if estimator == "group_norm":
        return GroupStandardized(eps=1e-9)
    if estimator == "flash_reinforce":
        checks.fail("algo.advantage.estimator", estimator, "takes the mean of the whole rollout as baseline, for which "
                    "a scheme has no slot", "on batches make it one group with GroupMean()")
    scale = not settings.take("algo.advantage.no_std_norm")
    inner: Any = GroupMean()
    if estimator != "reinforce_baseline":
        gamma = settings.take("algo.advantage.gamma")
        inner = ReturnToGo(gamma=gamma) if kl_in_reward or gamma != 1.0 else Raw()
        if estimator == "gae":
            inner = GAE(gamma=gamma, gae_lambda=settings.take("algo.advantage.lambd"), critic=settings.critic())
    return Whitened(inner=inner, scale=scale, ddof=0, eps=0.0)


def _kl(settings: Settings, estimator: str, steps: int) -> tuple[tuple[KL, ...], tuple[KL, ...]]:
    """The KL in the reward and the one in the loss; OpenRLHF has one or the other."""
    coefficient = settings.take("algo.kl.init_coef")
    if coefficient <= 0.0:
        return (), ()
    if settings.take("algo.kl.target") is not None:
        settings.no_slot("algo.kl.target", "a coefficient that follows the KL", "leave it out")
    name = settings.take("algo.kl.estimator")
    if settings.take("algo.kl.use_loss"):
        settings.approximate("algo.kl.estimator", "OpenRLHF holds KL within ±10; here it is not bounded")
        if settings.take("algo.kl.unbiased_gradient"):  # π/π_old · d, which is the gradient of k3 times the ratio
            settings.approximate("algo.kl.unbiased_gradient", "the same gradient; the value is that of k3 times the "
                                 "ratio, whatever the estimator")
            return (), (KL(coefficient=coefficient, estimator="k3", gradient="bias_corrected"),)
        return (), (KL(coefficient=coefficient, estimator=name),)
    if name != "k1":
        settings.no_slot("algo.kl.estimator", "a KL in the reward other than k1", "set it to k1")
    if estimator not in ("gae", "reinforce"):
        settings.no_slot("algo.kl.init_coef", f"a KL in the reward behind the baseline of {estimator}; in a scheme it "
                         "is part of the return that the group is compared by",
                         "set it to 0, or algo.kl.use_loss")
        return (), ()
    return (KL(coefficient=coefficient, place="reward"),), ()


def _surrogate(settings: Settings, loss_type: str, constant: bool) -> Surrogate:
    both = settings.take("actor.eps_clip_low_high", "None stands for actor.eps_clip on both sides")
    low, high = (settings.take("actor.eps_clip"),) * 2 if both is None else both
    dual = settings.take("actor.dual_clip")
    if dual is not None and dual <= 1.0:
        checks.fail("actor.dual_clip", dual, "must be above 1, which OpenRLHF asks for too")
    if loss_type == "ppo":
        return PPOClip(low=low, high=high, dual=dual)
    if dual is not None:
        settings.no_slot("actor.dual_clip", "a dual clip on the ratio of the whole response", "leave it out")
    if not constant:
        settings.no_slot("actor.policy_loss_type", "the ratio of a response that weighs the mean advantage of its "
                         "tokens", "take a group estimator")
    return GSPO(low=low, high=high)


def _aggregation(settings: Settings, loss_type: str) -> Aggregation:
    if loss_type == "gspo":
        return SequenceMeanTokenMean()  # whatever loss_agg_mode says
    return TokenMean() if settings.take("actor.loss_agg_mode") == "token-mean" else SequenceMeanTokenMean()


def _entropy(settings: Settings, aggregation: Aggregation) -> tuple[Entropy, ...]:
    coefficient = settings.take("actor.entropy_coef")
    if not coefficient:
        return ()
    weighed = "" if isinstance(aggregation, TokenMean) else "; its weights are those of the loss, there a token mean"
    settings.approximate("actor.entropy_coef", f"of the decision to stop alone, not of the content{weighed}")
    return (Entropy(coefficient=coefficient),)


def _shapings(settings: Settings, longest: int | None) -> tuple[Shaping, ...]:
    made: list[Shaping] = []
    buffer = settings.take("reward.overlong_buffer_len")
    if buffer is not None:
        end = settings.take("data.max_len") if longest is None else longest
        made.append(SoftOverlong(max_tokens=end, factor=settings.take("reward.overlong_penalty_factor"),
                                 buffer=checks.in_interval("reward.overlong_buffer_len", checks.positive(
                                     "reward.overlong_buffer_len", buffer), 0.0, end)))
    stop = settings.take("reward.stop_properly_penalty_coef")
    if stop is not None:
        made.append(StopProperly(coefficient=stop))
    return tuple(made)


def _clip_range(settings: Settings, estimator: str, group: int, reward: Reward) -> None:
    """OpenRLHF clips what is left of a reward behind the baseline: say so where that could bind."""
    low, high = settings.take("reward.clip_range")
    paid = [reward.correct, reward.incorrect, *([] if reward.truncated is None else [reward.truncated])]
    own = settings.options.reward
    if own is not None and own.shaping is not None:
        settings.approximate("reward.clip_range", "clips what the shaping of reward= may pay; here nothing is clipped")
        return
    least, most = min(paid), max(paid)
    if settings.peek("reward.overlong_buffer_len") is not None:
        least -= settings.peek("reward.overlong_penalty_factor")
    stop = settings.peek("reward.stop_properly_penalty_coef")
    if stop is not None:
        least, most = (min(least, stop), max(most, stop)) if stop < 0 else (min(least, stop * least),
                                                                             max(most, stop * most))
    if estimator == "group_norm":
        least, most = -(group - 1) / group**0.5, (group - 1) / group**0.5
    elif estimator in GROUPED:
        least, most = least - most, most - least
    if least < low or most > high:
        settings.no_slot("reward.clip_range", f"a clip of what lies between {least:g} and {most:g}, behind the "
                         "baseline", "widen it")


def _filter(settings: Settings, group: int, reward: Reward) -> str:
    key = "algo.dynamic_filtering_enable"
    if not settings.take(key):
        return "none"
    if group < 2:
        checks.fail("rollout.n_samples_per_prompt", group, "must be at least 2 with dynamic filtering, which OpenRLHF "
                    "asks for too")
    low, high = settings.take("algo.dynamic_filtering_range")
    if (reward.incorrect, reward.correct) != (low, high) or reward.truncated not in (None, low, high):
        settings.no_slot("algo.dynamic_filtering_range", f"groups with a mean score within ({low:g}, {high:g}), where "
                         f"rewards are {reward.incorrect:g} and {reward.correct:g}", "give the range of the rewards")
    if reward.shaping is not None:
        settings.approximate(key, "groups equal in their scores; here in the whole reward, length penalties included")
    return "resample"


def _rollout(settings: Settings) -> None:
    """How responses are drawn: what makes the sampler another policy than the one that is trained."""
    base = "algo.advantage.is_correction_"
    level = settings.take(base + "level")
    if level != "off":
        shown = {name: settings.take(base + name) for name in ("mode", "gating", "threshold")}
        settings.approximate(base + "level", "weights are 1, as if the engine and the policy agreed; on batches: "
                             f"tokens.importance_weights, {shown}")
    for key in ("train.async_enable", "train.partial_rollout_enable"):
        if settings.take(key):
            settings.approximate(key, "responses of earlier policies; here of the present one")
    if settings.take("rollout.top_p") != 1.0:
        settings.approximate("rollout.top_p", "responses are drawn from another distribution than the loss has; here "
                             "from it")
    if settings.take("train.agent_func_path") is not None:
        settings.approximate("train.agent_func_path", "responses with turns between; here of one turn")
