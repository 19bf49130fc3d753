"""Say the same world and setting to the library and to the plain reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import lossim as ls
import reference as ref
from lossim import advantages, aggregation, critics, penalties, surrogates


def policies(world: ref.World) -> tuple[ls.Policy, ls.Policy]:
    """The world's policy and its reference policy."""
    made = all_policies(world)
    return made["policy"], made["reference"]


def all_policies(world: ref.World) -> dict[str, ls.Policy]:
    """The world's policy, its reference policy and the old policy that draws."""

    def build(hazard: str, probability: str) -> ls.Policy:
        def pick(path: ref.RefPath, name: str, fallback: str) -> Any:
            value = getattr(path, name)
            return getattr(path, fallback) if value is None else value

        def law(state: ref.RefPath) -> ls.lengths.Length:
            return ls.lengths.table(pick(state, hazard, "hazard"))

        def work(path: ref.RefPath) -> ls.Work | None:
            if path.done is None:
                return None
            return ls.Work(answer=ls.lengths.table(path.arrival), done=law(path.done),
                           p_correct=list(path.done.p_correct), p_correct_truncated=path.done.p_correct_truncated)

        return ls.Policy([
            ls.PromptClass(f"class {j}", weight=c.weight, paths=[
                ls.Path(f"path {k}", probability=pick(p, probability, "probability"), p_correct=list(p.p_correct),
                        length=law(p), p_correct_truncated=p.p_correct_truncated, work=work(p))
                for k, p in enumerate(c.paths)])
            for j, c in enumerate(world.classes)], max_tokens=world.max_tokens,
            coordinates=ls.coordinates(bins="table", sharing=0.3, class_sharing=0.4, path_scale=3.0))

    return {"policy": build("hazard", "probability"), "old": build("old_hazard", "old_probability"),
            "reference": build("reference_hazard", "reference_probability")}


AGGREGATIONS: dict[str, tuple[aggregation.Aggregation, dict[str, Any]]] = {
    "1/T": (aggregation.SequenceMeanTokenMean(), {"aggregation": "sequence_mean_token_mean"}),
    "1/T kept": (aggregation.SequenceMeanTokenMean(counting="kept"),
                 {"aggregation": "sequence_mean_token_mean", "counting": "kept"}),
    "sum": (aggregation.SequenceMeanTokenSum(), {"aggregation": "sequence_mean_token_sum"}),
    "sum kept": (aggregation.SequenceMeanTokenSum(counting="kept"),
                 {"aggregation": "sequence_mean_token_sum", "counting": "kept"}),
    "constant": (aggregation.ConstantNormalizer(constant=7.0), {"aggregation": "constant", "constant": 7.0}),
    "token sum": (aggregation.TokenSum(), {"aggregation": "token_sum"}),
    "token mean": (aggregation.TokenMean(), {"aggregation": "token_mean_step"}),
    "token mean group": (aggregation.TokenMean(scope="group"), {"aggregation": "token_mean_group"}),
    "turns": (aggregation.TurnMean(tokens_per_turn=2), {"aggregation": "turns_response", "tokens_per_turn": 2}),
    "turns of the step": (aggregation.TurnMean(tokens_per_turn=2, scope="step"),
                          {"aggregation": "turns_step", "tokens_per_turn": 2}),
    "ΔL": (aggregation.LengthPower(alpha=0.75, constant=5.0),
           {"aggregation": "length_power", "alpha": 0.75, "constant": 5.0}),
}


BALANCED = {"balanced": (aggregation.BalancedTokenMean(), {"aggregation": "balanced"})}
"""Rules that read signs, which not every estimator has."""


def reward(kind: str) -> tuple[ls.Reward, Any]:
    """A reward rule as the library's value and as a plain function."""
    if kind == "binary":
        return ls.Reward(correct=1.0, incorrect=-1.0), lambda t, correct, cut: 1.0 if correct else -1.0
    if kind == "three levels":  # a truncated response is paid unlike an incorrect one
        return ls.Reward(correct=1.0, incorrect=-0.5, truncated=-2.0), (
            lambda t, correct, cut: -2.0 if cut else 1.0 if correct else -0.5)
    if kind == "four levels":
        def late(paid: Any, length: Any, outcome: Any) -> Any:
            return np.where((length >= 2) & (outcome == ls.Outcome.CORRECT), 0.25, paid)

        return ls.Reward(correct=1.0, incorrect=0.0, truncated=-1.0, shaping=late), (
            lambda t, correct, cut: -1.0 if cut else (0.25 if t >= 2 else 1.0) if correct else 0.0)
    assert kind == "any shape"
    return ls.Reward(correct=1.0, incorrect=-0.3, truncated=-0.7, shaping=ls.rewards.LinearPenalty(slope=0.37)), (
        lambda t, correct, cut: (-0.7 if cut else 1.0 if correct else -0.3) - 0.37 * t)


def kl_and_entropy(kind: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Penalties as the library's values and as fields of the reference's setting."""
    if kind == "none":
        return (), {}
    if kind == "entropy":
        return (penalties.Entropy(coefficient=0.3),), {"entropy": 0.3}
    if kind == "reward":
        return ((penalties.KL(coefficient=0.4, place="reward", content_per_token=0.05),), {"kl_reward": (0.4, 0.05)})
    if kind == "all":
        return ((penalties.KL(coefficient=0.2, estimator="k2"), penalties.Entropy(coefficient=-0.1),
                 penalties.KL(coefficient=0.4, place="reward")),
                {"kl_loss": (0.2, "k2"), "entropy": -0.1, "kl_reward": (0.4, 0.0)})
    name, fields = kind.removeprefix("old "), {"to": "old"} if kind.startswith("old ") else {}
    plain = name.removeprefix("corrected ").removesuffix("+")
    gradient = "straight_through" if name.endswith("+") else "bias_corrected" if "corrected" in name else "own"
    return ((penalties.KL(coefficient=0.2, estimator=plain, gradient=gradient, **fields),),  # type: ignore[arg-type]
            {"kl_loss": (0.2, name), "kl_to_old": bool(fields)})


def table_critic(world: ref.World, rng: np.random.Generator) -> tuple[critics.Critic, dict[str, Any]]:
    """A random critic per cell, its first value per class."""
    values = rng.normal(size=(world.cells, world.max_tokens))
    first = []
    for j, prompts in enumerate(world.classes):
        total = 0.0
        for k, path in enumerate(prompts.paths):
            drawn = path.probability if path.old_probability is None else path.old_probability  # the policy that draws
            done = path.chance_done(1)
            total += drawn * (1.0 - done) * values[world.cell(j, k), 0]
            if path.done is not None:
                total += drawn * done * values[world.cell(j, k, True), 0]
        first.append(float(total))
    return critics.Table(table=values), {"first_values": first, "values": values.tolist()}


def advantage(kind: str, world: ref.World, rng: np.random.Generator) -> tuple[advantages.Advantage, dict[str, Any]]:
    """An estimator as the library's value and as fields of the reference's setting."""
    if kind.startswith("positive "):
        inner, fields = advantage(kind.removeprefix("positive "), world, rng)
        return advantages.PositiveOnly(inner=inner), fields | {"wrappers": ["positive_only"]}  # type: ignore[arg-type]
    if kind.startswith("whitened "):
        inner, fields = advantage(kind.removeprefix("whitened "), world, rng)
        return advantages.Whitened(inner=inner), fields | {"wrappers": ["whiten"]}
    if kind.startswith("population whitened "):
        inner, fields = advantage(kind.removeprefix("population whitened "), world, rng)
        return advantages.Whitened(inner=inner, ddof=0), fields | {"wrappers": ["whiten"], "whiten_ddof": 0}
    if kind.startswith("centred "):
        inner, fields = advantage(kind.removeprefix("centred "), world, rng)
        return advantages.Whitened(inner=inner, scale=False), fields | {"wrappers": ["center"]}
    if kind == "raw":
        fixed = tuple(rng.normal(size=len(world.classes)).tolist())
        return advantages.Raw(baseline=fixed), {"advantage": "raw", "baseline": list(fixed)}
    if kind == "group mean":
        return advantages.GroupMean(), {"advantage": "group_mean"}
    if kind.endswith(", alone raw"):
        inner, fields = advantage(kind.removesuffix(", alone raw"), world, rng)
        return replace(inner, group_of_one="raw"), fields | {"group_of_one": "raw"}  # type: ignore[call-arg]
    if kind == "gpg":
        return advantages.GPG(), {"advantage": "gpg"}
    if kind == "maxrl":
        return advantages.MaxRL(eps=1e-3), {"advantage": "max_rl", "eps": 1e-3}
    if kind == "pass at k":
        return advantages.PassK(eps=1e-3), {"advantage": "pass_k", "eps": 1e-3}
    if kind == "leave one out":
        return advantages.LeaveOneOut(), {"advantage": "leave_one_out"}
    if kind == "leave one out std":
        return advantages.LeaveOneOutStandardized(eps=1e-3), {"advantage": "leave_one_out_std", "eps": 1e-3}
    if kind == "standardized":
        return advantages.GroupStandardized(eps=1e-3), {"advantage": "standardized", "ddof": 1, "eps": 1e-3}
    if kind == "standardized ddof 0":
        return advantages.GroupStandardized(ddof=0, eps=1e-2), {"advantage": "standardized", "ddof": 0, "eps": 1e-2}
    if kind == "batch standardized":
        return advantages.GroupStandardized(eps=1e-3, scope="batch"), {
            "advantage": "standardized", "ddof": 1, "eps": 1e-3, "scope": "batch"}
    if kind == "opo":
        return advantages.OPO(), {"advantage": "opo"}
    critic, fields = table_critic(world, rng)
    if kind == "gae adaptive":
        given = advantages.GAE(gamma=0.95, gae_lambda=advantages.LengthAdaptive(alpha=0.8), critic=critic)
        return given, fields | {"advantage": "gae", "gamma": 0.95, "gae_lambda": ("adaptive", 0.8)}
    assert kind == "gae"
    return advantages.GAE(gamma=0.9, gae_lambda=0.8, critic=critic), fields | {
        "advantage": "gae", "gamma": 0.9, "gae_lambda": 0.8}


def both(world: ref.World, rng: np.random.Generator, *, kind: str, rule: str, paid: str = "binary",
         truncation: str = "keep", sampling: str = "none", penalty: str = "none", group_size: int = 2,
         prompts: int = 1, deadline: tuple[float, str] | None = None,
         surrogate: tuple[Any, dict[str, Any]] | None = None) -> tuple[ls.Scheme, ref.Setting]:
    """One scheme, said twice."""
    estimator, fields = advantage(kind, world, rng)
    rule_value, rule_fields = (AGGREGATIONS | BALANCED)[rule]
    terms, term_fields = kl_and_entropy(penalty)
    task, function = REWARDS[paid]
    gain, gain_fields = surrogate or (surrogates.PolicyGradient(), {})
    common: dict[str, Any] = {"truncation": truncation, "dynamic_sampling": sampling, "group_size": group_size,
                              "prompts_per_step": prompts}
    late = {} if deadline is None else {"deadline": deadline[0], "late": deadline[1]}
    selection = None if deadline is None else ls.selection.Deadline(
        tokens=deadline[0], drops=deadline[1])  # type: ignore[arg-type]
    return (ls.Scheme(reward=task, advantage=estimator, aggregation=rule_value, penalties=terms, surrogate=gain,
                      selection=selection, **common),
            ref.Setting(reward=function, **fields, **rule_fields, **term_fields, **gain_fields, **common,
                        **late))


REWARDS = {kind: reward(kind) for kind in ("binary", "three levels", "four levels", "any shape")}


def flat(world: ref.World, update: ref.Update) -> np.ndarray[Any, np.dtype[np.float64]]:
    """All logits of an update in one vector: hazards by cell, then paths by class."""
    return np.concatenate([np.ravel(update.hazard_gradient), *(np.asarray(p) for p in update.path_gradient)])


def engine_flat(result: ls.Drift) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same of a drift."""
    paths = result.path_gradient.value.ravel()
    return np.concatenate([result.hazard_gradient.value.ravel(), paths[~np.isnan(paths)]])
