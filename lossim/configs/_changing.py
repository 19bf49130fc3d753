"""Which setting of a trainer makes a change: what other settings and stops are called, as keys of a config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lossim._display import Cell, Page, Table
from lossim.aggregation import ConstantNormalizer, SequenceMeanTokenMean, TokenMean
from lossim.schemes import Scheme
from lossim.surrogates import PPOClip

__all__ = ["KNOWN", "setting_of", "with_settings"]

KNOWN = ("trl", "unsloth", "verl", "openrlhf")
"""Trainers whose keys are known here."""
PAID = "what the reward function pays"
_CUT = re.compile(r"cut at ([\d,]+) tokens")
_KL = re.compile(r"KL coefficient \((\w+) in the (\w+)\)")
_ACTOR = "actor_rollout_ref.actor."
_RULES = {"trl": {TokenMean.verl: "dapo", SequenceMeanTokenMean.verl: "grpo", ConstantNormalizer.verl: "dr_grpo"},
          "unsloth": {TokenMean.verl: "bnpo", SequenceMeanTokenMean.verl: "grpo"},
          "verl": {each: each for each in (TokenMean.verl, SequenceMeanTokenMean.verl, ConstantNormalizer.verl)}}
"""By trainer, what aggregations are called there, by verl's names for them."""
_TRL = {
    "truncated responses kept": "mask_truncated_completions=False",
    "truncated responses masked": "mask_truncated_completions=True",
    "no std": "scale_rewards=none", "divided by the group's std": "scale_rewards=group",
    "no KL": "beta=0.0", "no entropy bonus": "entropy_coef=0.0",
    "cut": "max_completion_length", "max_tokens": "max_completion_length", "group size": "num_generations",
    "clip range, low and high alike": "epsilon, epsilon_high", "k3 in the loss": "beta", "k1 in the reward": "beta"}
_WORDS: dict[str, Mapping[str, str]] = {
    "trl": _TRL,
    "unsloth": _TRL,
    "verl": {
        "no std": "algorithm.norm_adv_by_std_in_grpo=False",
        "divided by the group's std": "algorithm.norm_adv_by_std_in_grpo=True",
        "equal groups stay": "algorithm.filter_groups.enable=False",
        "λ = 1": "algorithm.lam=1.0", "λ": "algorithm.lam",
        "no entropy bonus": f"{_ACTOR}entropy_coeff=0.0",
        "cut": "data.max_response_length", "max_tokens": "data.max_response_length",
        "group size": "actor_rollout_ref.rollout.n",
        "clip range, low and high alike": f"{_ACTOR}clip_ratio_low, {_ACTOR}clip_ratio_high",
        "k3 in the loss": f"{_ACTOR}kl_loss_coef", "k1 in the reward": "algorithm.kl_ctrl.kl_coef"},
    "openrlhf": {
        "no std": "algo.advantage.estimator=dr_grpo",
        "divided by the group's std": "algo.advantage.estimator=group_norm",
        "aggregation token-mean": "actor.loss_agg_mode=token-mean",
        "aggregation seq-mean-token-mean": "actor.loss_agg_mode=seq-mean-token-mean",
        "λ = 1": "algo.advantage.lambd=1.0", "λ": "algo.advantage.lambd",
        "no KL": "algo.kl.init_coef=0.0", "no entropy bonus": "actor.entropy_coef=0.0",
        "cut": "rollout.max_new_tokens", "max_tokens": "rollout.max_new_tokens",
        "group size": "rollout.n_samples_per_prompt", "clip range, low and high alike": "actor.eps_clip",
        "k1 in the reward": "algo.kl.init_coef", "k3 in the loss": "algo.kl.init_coef"}}
"""By trainer and by what a change or a knob is called: KEY=VALUE of a change, KEY of a number that is turned."""


def setting_of(words: str, trainer: str, scheme: Scheme) -> str:
    """The setting that makes a change, or that is the number that is turned, beside a scheme; "" where none is known.

    >>> from lossim import schemes
    >>> setting_of("aggregation token-mean", "verl", schemes.grpo())
    'actor_rollout_ref.actor.loss_agg_mode=token-mean'
    >>> setting_of("cut at 1,024 tokens", "trl", schemes.grpo())
    'max_completion_length=1024'
    """
    known = _WORDS.get(trainer, {})
    cut = _CUT.fullmatch(words)
    kl = _KL.fullmatch(words)
    if cut and known:
        return f"{known['cut']}={cut[1].replace(',', '')}"
    if kl and scheme.kl_in_loss is None and scheme.kl_in_reward is None and trainer == "verl":
        return ""  # a switch comes before the number
    if kl:
        return known.get(f"{kl[1]} in the {kl[2]}", "")
    if words == "no KL" and trainer == "verl":
        off = [f"{_ACTOR}use_kl_loss=False"] * (scheme.kl_in_loss is not None)
        return ", ".join([*off, *["algorithm.use_kl_in_reward=False"] * (scheme.kl_in_reward is not None)])
    kind, _, rule = words.partition("aggregation ")
    if known and rule and not kind and trainer != "openrlhf":
        return _aggregating(rule, trainer, scheme)
    if rule and scheme.kl_in_loss is not None:
        return ""  # OpenRLHF averages a KL in its own way
    if known and (words.startswith("reward ") or words == "penalty per token"):
        return PAID
    return known.get(words, "")


def _aggregating(rule: str, trainer: str, scheme: Scheme) -> str:
    """The setting of another aggregation, where it leaves the ratio alone."""
    if type(scheme.surrogate) is not PPOClip:
        return ""
    named = _RULES[trainer].get(rule)
    return "" if named is None else f"{_ACTOR}loss_agg_mode={named}" if trainer == "verl" else f"loss_type={named}"


def with_settings(page: Page, trainer: str, scheme: Scheme) -> Page:
    """The page with the settings of a trainer below the names of changes, and of numbers that are turned, in tables."""
    return _replaced(page, sections=tuple(_replaced(section, parts=tuple(
        _table(part, trainer, scheme) if isinstance(part, Table) else part for part in section.parts))
        for section in page.sections))


def _table(table: Table, trainer: str, scheme: Scheme) -> Table:
    """A table with the settings that its rows are called by on a line below their names; as it is if there are none."""
    found = [setting_of(row[0].strip(), trainer, scheme) if isinstance(row[0], str) else "" for row in table.rows]
    if not any(found):
        return table
    below = ["" if not each else f"\n{each}" if each == PAID else f"\n{trainer}: {each}" for each in found]
    rows: list[tuple[Cell, ...]] = [(f"{row[0]}{line}", *row[1:]) if line else row
                                    for row, line in zip(table.rows, below, strict=True)]
    return _replaced(table, rows=tuple(rows))


def _replaced(record: Any, **fields: Any) -> Any:
    """A part of a page with other fields."""
    return replace(record, **fields)
