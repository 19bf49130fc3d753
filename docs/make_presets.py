"""Write docs/presets.md from the presets themselves: ``python docs/make_presets.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lossim as ls
from lossim import references, schemes
from lossim._scheme import short

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
    "gspo": Entry(
        sources=(references.GSPO,),
        elsewhere="One ratio per response, exp of the mean log ratio. verl's later heads hard-code the mean over each "
                  "response's tokens, 0.9.1 honours the configured aggregation, token-mean by default. TRL has it as "
                  "`importance_sampling_level=\"sequence\"` beside any loss type."),
    "gmpo": Entry(
        sources=(references.GMPO,),
        elsewhere="verl's `geo_mean` takes the mean over the rows of a micro-batch whatever the aggregation says. The "
                  "clip range is in log space, 0.4 in TRL's experimental trainer."),
    "cispo": Entry(
        sources=(references.CISPO,),
        elsewhere="The bounds differ most here: [1 - low, 1 + high] in verl with its PPO defaults; in TRL the upper "
                  "bound is `epsilon_high` itself, which left unset is 0.2; SkyRL's are those of this preset, [0, 5]. "
                  "torchrl lets the gradient through the ratio."),
    "sapo": Entry(
        sources=(references.SAPO,),
        elsewhere="verl hard-codes the mean over each response's tokens for it."),
    "luspo": Entry(
        sources=(references.LUSPO,),
        elsewhere="TRL up to 1.9 multiplies the loss by the length and takes a mean, which is the same only where a "
                  "response has one loss value for all its tokens; its ratio is per token unless the level is set."),
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
- **on-policy**: what `ls.drift(scheme, policy)` does, found by trying it; **off-policy**: the same with `old_policy=`.
  A sum and a quadrature are both exact, the latter to the error it reports. "For a large batch" is a limit;
  `method="monte_carlo"` is not. `dapo` with its overlong penalty: SOFT.
- KL is 0 unless given; `grpo` puts it in the loss (k3), `rloo` and `reinforce_plus_plus` in the reward (k1).
"""


def start() -> ls.Policy:
    """A small start on which everything can be tried."""
    return ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=20),
                                 wrong=ls.lengths.geometric(mean=35), max_tokens=64)


def how(scheme: ls.Scheme, old: bool = False) -> str:
    """How ``drift`` computes the scheme, on batches of its own or of an old policy: tried, not looked up."""
    policy = start()
    drawing = policy.moved(np.full(policy.motion.size, 0.1)) if old else None
    try:
        method = ls.drift(scheme, policy, old_policy=drawing).length.method
    except ls.NoClosedForm:
        try:
            ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(0), batches=16, old_policy=drawing)
        except ls.NoClosedForm:
            return "no"
        return "Monte Carlo"
    return "exact for a large batch" if method == "large-batch limit" else f"exact ({method})"


def row(name: str, entry: Entry) -> str:
    """One line of the table."""
    scheme: ls.Scheme = getattr(schemes, name)(**dict(entry.arguments))
    rule, reward = scheme.aggregation, scheme.reward
    sources = ", ".join(f"[{source.key}]({source.url})" for source in entry.sources)
    columns = (f"`{name}`", short(scheme.advantage), short(scheme.surrogate), short(rule), rule.verl, rule.trl,
               f"{reward.correct:g} / {reward.incorrect:g}", scheme.dynamic_sampling, scheme.truncation,
               f"{scheme.prompts_per_step} × {scheme.group_size}", how(scheme), how(scheme, old=True), sources)
    return "| " + " | ".join(columns) + " |"


def page() -> str:
    """The whole of docs/presets.md."""
    names = ("preset", "advantage", "surrogate", "aggregation", "verl", "TRL", "reward", "equal groups", "truncated",
             "step", "on-policy", "off-policy", "source")
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
