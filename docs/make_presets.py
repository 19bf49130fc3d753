"""Write docs/presets.md from the presets themselves: ``python docs/make_presets.py``."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import lossim as ls
from lossim import references, schemes

TARGET = Path(__file__).with_name("presets.md")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the code cannot say about a preset: its sources, and who means something else by its name."""

    sources: tuple[references.Reference, ...]
    elsewhere: str
    arguments: tuple[tuple[str, Any], ...] = ()


ENTRIES = {
    "ppo": Entry(
        sources=(references.PPO, references.GAE),
        elsewhere="verl, OpenRLHF and TRL's PPO (which left TRL with 1.13) always whiten the advantages over the "
                  "tokens of the batch; here `whiten=True` does. verl and OpenRLHF put the value 0 behind the last "
                  "token, TRL the critic's value there. λ is 0.95 in TRL, 1 in verl and OpenRLHF, which both take a "
                  "token-mean by default."),
    "grpo": Entry(
        sources=(references.DEEPSEEKMATH,),
        elsewhere="The paper averages over each response's tokens. verl, TRL and OpenRLHF do not unless told: they "
                  "take the token-mean of a step. ε is 1e-6 in verl, 1e-4 in TRL, 1e-9 in OpenRLHF, where it is called "
                  "`group_norm`. NeMo RL leaves the own response out of mean and std. A group of one keeps its raw "
                  "reward in verl; TRL and OpenRLHF refuse it."),
    "dr_grpo": Entry(
        sources=(references.DR_GRPO,),
        elsewhere="Three things. TRL's `loss_type=\"dr_grpo\"` is the constant normaliser alone and needs "
                  "`scale_rewards=\"none\"` beside it. OpenRLHF's `dr_grpo` drops the std alone and keeps the "
                  "token-mean. verl needs both switches set, and its constant too: unset, it is the padded width, "
                  "which need not be the same from one batch to the next."),
    "dapo": Entry(
        sources=(references.DAPO,),
        elsewhere="TRL's default `loss_type=\"dapo\"` is the token-mean alone, over the tokens of the whole generation "
                  "batch. verl composes it from group filtering, clip-higher and a reward manager whose overlong "
                  "penalty keeps falling beyond the cap. With `max_tokens` and `buffer` the preset adds that penalty, "
                  "and then needs Monte Carlo."),
    "rloo": Entry(
        sources=(references.RLOO,),
        elsewhere="TRL takes groups of two and a KL of 0.05 in the reward by default. verl and OpenRLHF have the "
                  "advantage only and aggregate by token-mean unless told otherwise. A group of one: raw reward in "
                  "verl's `rloo`, 0 in its `rloo_vectorized`, refused here."),
    "reinforce_plus_plus": Entry(
        sources=(references.REINFORCE_PLUS_PLUS,),
        elsewhere="OpenRLHF calls it `reinforce`, whitens by the population variance and has a KL of 0.01 in the "
                  "reward by default; verl uses Bessel's correction and no KL."),
    "reinforce_plus_plus_baseline": Entry(
        sources=(references.REINFORCE_PLUS_PLUS,),
        elsewhere="`reinforce_baseline` in OpenRLHF. verl and OpenRLHF whiten over tokens, so long responses count for "
                  "more; ms-swift divides by the std over responses."),
    "remax": Entry(
        sources=(references.REMAX,), arguments=(("greedy_reward", 0.0),),
        elsewhere="verl has the advantage and aggregates it by token-mean unless told otherwise. The reward of the "
                  "greedy response is an input here; the row is for 0."),
    "opo": Entry(
        sources=(references.OPO,),
        elsewhere="In verl a group of one has the baseline 0, so the raw reward; here its advantage is 0, as the "
                  "formula says."),
    "luspo": Entry(
        sources=(references.LUSPO,),
        elsewhere="TRL up to 1.9 multiplies the loss by the length and takes a mean, which is the same only where a "
                  "response has one loss value for all its tokens."),
    "vapo": Entry(
        sources=(references.VAPO,),
        elsewhere="NeMo RL has its parts as options (`length_adaptive_alpha`, a λ of its own for the critic); none of "
                  "the trainers read has it under this name. Pretraining means a better critic here."),
    "delta_l": Entry(
        sources=(references.DELTA_L,),
        elsewhere="The authors' code multiplies the advantages by the weights and divides by responses times padded "
                  "width."),
}


INTRODUCTION = """\
# Presets

One row for each preset of `lossim.schemes`, as it comes without arguments. This page is written by
`docs/make_presets.py` from the presets themselves, and a test compares the two.

A preset follows the paper. Trainers use the same names for something else often enough to matter; the last section
says where. Read from the source of verl 0.9.1, TRL 1.16.0 and OpenRLHF 0.11.2, and of other trainers as they were in
mid-2026.

- **verl**, **TRL**: the trainer's word for the aggregation. That `rloo` has TRL's `luspo` there means the same
  denominator, nothing more.
- **reward**: of a correct and of an incorrect response; a truncated one is paid by its grade.
- **equal groups**: what becomes of groups whose rewards are all equal. **truncated**: what becomes of cut responses.
- **step**: prompts × responses per prompt.
- **computed**: what `ls.drift(scheme, policy)` does, found by trying it. A sum and a quadrature are both exact, the
  latter to the error it reports. "For a large batch" is a limit; `method="monte_carlo"` is not. `dapo` with its
  overlong penalty: SOFT.
- KL is 0 unless given; `grpo` puts it in the loss (k3), `rloo` and `reinforce_plus_plus` in the reward (k1).
"""


def start() -> ls.Policy:
    """A small start on which everything can be tried."""
    return ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=20),
                                 wrong=ls.lengths.geometric(mean=35), max_tokens=64)


def words(value: Any) -> str:
    """A slot's value: its name, and the fields that differ from their defaults."""
    parts = []
    for slot in fields(value):
        given = getattr(value, slot.name)
        default = slot.default if slot.default_factory is MISSING else slot.default_factory()
        if given != default or slot.name in ("gae_lambda", "critic", "alpha"):
            inner = words(given) if hasattr(given, "__dataclass_fields__") else repr(given)
            parts.append(f"{slot.name}={inner}")
    return type(value).__name__ + (f"({', '.join(parts)})" if parts else "")


def how(scheme: ls.Scheme) -> str:
    """How ``drift`` computes the scheme: tried, not looked up."""
    try:
        method = ls.drift(scheme, start()).length.method
    except ls.NoClosedForm:
        ls.drift(scheme, start(), "monte_carlo", rng=np.random.default_rng(0), batches=16)
        return "Monte Carlo"
    return "exact for a large batch" if method == "large-batch limit" else f"exact ({method})"


def row(name: str, entry: Entry) -> str:
    """One line of the table."""
    scheme: ls.Scheme = getattr(schemes, name)(**dict(entry.arguments))
    rule, reward = scheme.aggregation, scheme.reward
    sources = ", ".join(f"[{source.key}]({source.url})" for source in entry.sources)
    columns = (f"`{name}`", words(scheme.advantage), words(rule), rule.verl, rule.trl,
               f"{reward.correct:g} / {reward.incorrect:g}", scheme.dynamic_sampling, scheme.truncation,
               f"{scheme.prompts_per_step} × {scheme.group_size}", how(scheme), sources)
    return "| " + " | ".join(columns) + " |"


def page() -> str:
    """The whole of docs/presets.md."""
    names = ("preset", "advantage", "aggregation", "verl", "TRL", "reward", "equal groups", "truncated", "step",
             "computed", "source")
    soft = how(schemes.dapo(max_tokens=64, buffer=32))
    lines = [
        INTRODUCTION.replace("SOFT", soft),
        "| " + " | ".join(names) + " |", "|" + "---|" * len(names),
        *(row(name, entry) for name, entry in ENTRIES.items()), "",
        "## The same name elsewhere", "",
    ]
    for name, entry in ENTRIES.items():
        lines += [f"**`{name}`** {entry.elsewhere}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET.name}")
