"""Configs in the shapes of public ones, each against what its trainer makes of it at the version in use.

The right values come from the trainers' sources (tests/data/public/README.md says which), not from lossim's tables.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lossim.advantages import (
    GAE,
    Advantage,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LeaveOneOutStandardized,
    ReturnToGo,
    Whitened,
)
from lossim.aggregation import Aggregation, ConstantNormalizer, SequenceMeanTokenMean, TokenMean
from lossim.configs import ParsedConfig, read_config
from lossim.critics import NotGiven
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward, SoftOverlong
from lossim.schemes import Scheme, compare
from lossim.surrogates import GSPO, PPOClip, Surrogate

PUBLIC = Path(__file__).parents[1] / "data" / "public" / "configs"
DUAL = PPOClip(dual=3.0)
DAPO = PPOClip(high=0.28, dual=10.0)
TRL_STD = GroupStandardized(eps=1e-4)


class Case(NamedTuple):
    """What is right: a scheme and the cap, or no scheme; what must stand in doubt, and what makes it undecidable."""

    scheme: Scheme | None
    cap: int | None = None
    doubted: tuple[str, ...] = ()


def case(cap: int, advantage: Advantage, surrogate: Surrogate, aggregation: Aggregation,
         sizes: tuple[int, ...], *penalties: KL | Entropy, doubted: tuple[str, ...] = (), **slots: Any) -> Case:
    """``sizes``: responses per prompt, prompts per optimiser step, mini-batches, epochs."""
    group, prompts, minibatches, epochs = (*sizes, 1, 1)[:4]
    return Case(Scheme(advantage=advantage, surrogate=surrogate, aggregation=aggregation, penalties=penalties,
                       group_size=group, prompts_per_step=prompts, minibatches=minibatches, ppo_epochs=epochs,
                       **slots), cap, doubted)


def k3(coefficient: float) -> KL:
    return KL(coefficient=coefficient, estimator="k3")


def paid(coefficient: float) -> KL:
    return KL(coefficient=coefficient, place="reward")


def overlong(max_tokens: int, buffer: float, factor: float = 1.0, **reward: Any) -> Reward:
    return Reward(shaping=SoftOverlong(max_tokens=max_tokens, buffer=buffer, factor=factor, capped=False), **reward)


CASES: dict[str, Case] = {
    # verl
    "verl-arrays.sh": case(1536, GroupStandardized(), DUAL, TokenMean(), (6, 96, 4), k3(0.002)),
    "verl-dapo-ray-submit.sh": case(
        1280, GroupStandardized(), PPOClip(high=0.27, dual=10.0), TokenMean(), (12, 48, 8),
        reward=overlong(1280, 320, 0.5), dynamic_sampling="resample"),
    "verl-estimator-of-a-fork.sh": Case(None, doubted=("adv_estimator",)),
    "verl-search-fork-grpo.sh": case(400, GroupStandardized(), PPOClip(), TokenMean(), (4, 30, 8), k3(0.002),
                                     Entropy(coefficient=0.001), doubted=("state_masking",)),
    "verl-old-ppo.sh": case(768, Whitened(inner=GAE(gamma=1.0, gae_lambda=1.0, critic=NotGiven())), PPOClip(),
                            TokenMean(), (1, 64, 3), paid(0.003), Entropy(coefficient=0.001)),
    "verl-own-options.sh": case(2560, GroupStandardized(), PPOClip(low=0.15, high=0.15), TokenMean(), (10, 80, 4),
                                k3(0.004), Entropy(coefficient=0.002)),
    "verl-old-grpo.sh": case(6144, GroupStandardized(), PPOClip(), TokenMean(), (8, 48, 2), k3(0.001),
                             Entropy(coefficient=0.001)),
    "verl-mask-of-a-fork.sh": case(12288, GroupStandardized(), PPOClip(high=0.26), TokenMean(), (8, 24, 2),
                                   truncation="mask", doubted=("mask_truncated_samples",)),
    "verl-tools.sh": case(12288, GroupStandardized(), PPOClip(high=0.24, dual=10.0), TokenMean(), (12, 24, 4)),
    "verl-rloo.sh": case(896, LeaveOneOut(), PPOClip(high=0.35, dual=3.0), TokenMean(), (8, 144)),
    "verl-config-elsewhere.sh": case(14336, GroupStandardized(), DUAL, TokenMean(), (14, 112),
                                     doubted=("looking_multiturn_grpo",)),
    "verl-dapo-megatron.sh": case(20480, GroupStandardized(), DAPO, TokenMean(), (8, 12, 2),
                                  dynamic_sampling="resample"),
    "verl-advantage-of-a-fork.sh": case(6144, GroupStandardized(), PPOClip(high=0.28, dual=3.0), TokenMean(),
                                        (10, 32, 4), dynamic_sampling="resample", doubted=("branch_adv_enabled",)),
    "verl-in-a-function.sh": case(9216, GroupStandardized(), PPOClip(high=0.3, dual=10.0), TokenMean(), (4, 64),
                                  k3(0.02), doubted=("reward_manager",)),
    "verl-kl-cov.sh": Case(None, doubted=("loss_mode",)),
    "verl-another-loss.sh": Case(None, doubted=("main_sppo",)),
    "verl-loss-of-a-recipe.sh": Case(None, doubted=("loss_mode",)),
    "verl-rollout-correction.sh": case(16384, GroupStandardized(), DAPO, TokenMean(), (16, 50, 8),
                                       reward=overlong(16384, 2048), dynamic_sampling="resample"),
    "verl-gspo.sh": case(5120, GroupStandardized(), GSPO(low=3e-4, high=4e-4), SequenceMeanTokenMean(), (16, 48, 4)),
    "verl-reinforce-plus-plus.sh": case(1024, Whitened(inner=ReturnToGo()), DUAL, TokenMean(), (4, 128, 4),
                                        paid(0.002)),
    "verl-hydra-overrides.yaml": case(3072, GroupStandardized(), DUAL, TokenMean(), (8, 40, 4), k3(0.001)),
    # TRL
    "trl-recipe.yaml": case(3072, TRL_STD, PPOClip(), TokenMean(), (12, 8), k3(0.04)),
    "trl-without-std.yaml": case(1400, GroupMean(), PPOClip(), TokenMean(), (6, 2), k3(0.0002)),
    "trl-mask-and-epochs.yaml": case(3500, TRL_STD, PPOClip(high=0.36), TokenMean(), (16, 3, 1, 2),
                                     truncation="mask"),
    "trl-sections-of-its-own.yaml": case(896, TRL_STD, PPOClip(), TokenMean(), (4, 3), doubted=("kl_coeff",)),
    "trl-run-of-its-own.yaml": case(640, TRL_STD, PPOClip(), TokenMean(), (5, 2), k3(0.015)),
    "trl-accelerate/launch.sh": case(2000, GroupMean(), PPOClip(), SequenceMeanTokenMean(), (14, 16), k3(0.01)),
    "trl-torchrun.sh": case(1800, TRL_STD, PPOClip(), SequenceMeanTokenMean(), (8, 9), k3(0.04)),
    "trl-accelerate-flags.sh": case(12288, TRL_STD, GSPO(low=3e-4, high=4e-4), SequenceMeanTokenMean(), (4, 1)),
    "trl-script.py": case(768, GroupMean(), PPOClip(), ConstantNormalizer(constant=768), (4, 1)),
    "trl-argparse.py": case(384, TRL_STD, GSPO(low=3e-4, high=4e-4), SequenceMeanTokenMean(), (6, 2)),
    "trl-dataclass.py": case(400, TRL_STD, PPOClip(), TokenMean(), (8, 3)),
    "trl-notebook.ipynb": case(96, TRL_STD, PPOClip(), TokenMean(), (4, 24), k3(0.04)),
    # TRL-shaped
    "unsloth-notebook.ipynb": case(1599, TRL_STD, PPOClip(), TokenMean(), (6, 1), k3(0.001)),
    "unsloth-script.py": case(2596, TRL_STD, PPOClip(), TokenMean(), (12, 4), k3(0.004)),
    "unsloth-sequence.py": case(1024, GroupMean(), GSPO(low=0.2, high=0.2), ConstantNormalizer(constant=1024), (4, 2)),
    "unsloth-dapo.py": case(600, TRL_STD, PPOClip(high=0.28), TokenMean(), (8, 1), truncation="mask"),
    "swift-grpo.sh": case(1280, TRL_STD, PPOClip(), SequenceMeanTokenMean(), (6, 6, 1, 2), k3(0.002)),
    "swift-defaults.sh": case(1500, TRL_STD, PPOClip(high=0.28), TokenMean(), (8, 8), k3(0.04), truncation="mask",
                              reward=overlong(1500, 300), dynamic_sampling="resample"),
    "swift-megatron.sh": Case(None),
    "axolotl-grpo.yaml": case(640, TRL_STD, PPOClip(), SequenceMeanTokenMean(), (12, 6), k3(0.002)),
    "axolotl-dr-grpo.yaml": case(900, GroupMean(), PPOClip(high=0.25), ConstantNormalizer(constant=900),
                                 (8, 4, 1, 2), truncation="mask"),
    # OpenRLHF
    "openrlhf-ray-submit.sh": case(
        3584, Whitened(inner=GroupMean(), ddof=0, eps=0.0), PPOClip(), TokenMean(), (12, 24, 6),
        doubted=("init_kl_coef",)),
    "openrlhf-in-an-if.sh": case(
        2560, Whitened(inner=GAE(gamma=1.0, gae_lambda=0.95, critic=NotGiven()), ddof=0, eps=0.0), PPOClip(),
        SequenceMeanTokenMean(), (6, 32, 24), paid(0.02)),
    "openrlhf-dapo.sh": case(1280, GroupStandardized(eps=1e-9), PPOClip(high=0.25), TokenMean(), (8, 24, 4),
                             k3(0.002), dynamic_sampling="resample"),
    "openrlhf-slurm.sh": case(
        896, Whitened(inner=GAE(gamma=1.0, gae_lambda=1.0, critic=NotGiven()), ddof=0, eps=0.0), PPOClip(),
        SequenceMeanTokenMean(), (1, 160, 6), paid(0.015)),
    "openrlhf-dotted.sh": case(1536, GroupMean(), PPOClip(high=0.27), TokenMean(), (8, 16, 4),
                               dynamic_sampling="resample"),
    "openrlhf-here-document.sh": case(1024, LeaveOneOut(), PPOClip(), TokenMean(), (4, 32, 4),
                                      doubted=("init_kl_coef",)),
    # verl-shaped, and NeMo RL
    "easyr1-script/examples/run.sh": case(1792, GroupStandardized(), PPOClip(high=0.28, dual=3.0), TokenMean(),
                                          (6, 112, 4), dynamic_sampling="resample"),
    "easyr1-shipped-config.sh": case(1024, Whitened(inner=ReturnToGo()), PPOClip(high=0.3, dual=3.0), TokenMean(),
                                     (8, 64, 4), paid(0.001)),
    "easyr1-early.yaml": case(1536, GroupStandardized(), PPOClip(), TokenMean(), (5, 96, 4), k3(0.015),
                              Entropy(coefficient=0.001)),
    "skyrl-gsm8k.sh": case(960, GroupStandardized(), PPOClip(), TokenMean(), (6, 192, 4), k3(0.001)),
    "skyrl-dapo.sh": case(1200, GroupStandardized(), DAPO, TokenMean(), (8, 128, 4), truncation="mask",
                          reward=overlong(1200, 400), dynamic_sampling="resample"),
    "skyrl-dr-grpo.sh": case(1024, GroupMean(), PPOClip(), ConstantNormalizer(constant=1600), (5, 256, 1, 2)),
    "nemo-rl-grpo.yaml": case(
        640, LeaveOneOutStandardized(), PPOClip(high=0.22), TokenMean(), (12, 24),
        KL(coefficient=0.01, estimator="k3", gradient="bias_corrected")),
    "nemo-rl-recipe/recipes/dapo.yaml": case(
        8192, GroupStandardized(), DAPO, TokenMean(), (16, 32, 8), reward=overlong(7168, 1024, incorrect=-1.0),
        dynamic_sampling="resample"),
    "nemo-rl-gspo.yaml": case(4096, GroupStandardized(), GSPO(low=0.2, high=0.2), SequenceMeanTokenMean(), (8, 16, 4)),
    # of trainers that are not read
    "slime.sh": Case(None), "prime-rl.toml": Case(None), "open-instruct.sh": Case(None), "rl2.sh": Case(None),
}


def judged(name: str) -> str:
    """``right``; ``doubt``: what is right is among what is in doubt, or cannot be known; ``refused``; ``wrong``."""
    right, cap, doubted = CASES[name]
    try:
        parsed = read_config(PUBLIC / name)
    except (ValueError, TypeError) as refusal:
        return "right" if right is None else f"refused: {refusal}"
    return same(parsed, right, cap, doubted)


def same(parsed: ParsedConfig, right: Scheme | None, cap: int | None, doubted: tuple[str, ...]) -> str:
    open_ended = [doubt.unknown for doubt in parsed.doubts if any(slots is None for _, slots in doubt.options)]
    missing = [word for word in doubted if not any(word in str(doubt) for doubt in parsed.doubts)]
    if missing:
        return f"wrong: {missing} not in doubt"
    if right is None:
        return "doubt" if open_ended else f"wrong: {parsed.scheme}"
    choices = [[slots or {} for _, slots in doubt.options] for doubt in parsed.doubts]
    plausible = (replace(parsed.scheme, **{name: value for slots in chosen for name, value in slots.items()})
                 for chosen in islice(product(*choices), 512))
    if not compare(parsed.scheme, right) and parsed.max_tokens == cap:
        return "right"
    if (open_ended and doubted) or (parsed.doubts and any(not compare(scheme, right) for scheme in plausible)):
        return "doubt"
    return f"wrong: {compare(parsed.scheme, right)}, cap {parsed.max_tokens}"


@pytest.mark.parametrize("name", CASES)
def test_none_is_accepted_wrong(name: str) -> None:
    assert not judged(name).startswith("wrong"), judged(name)


def test_nine_of_ten_are_read_as_they_are() -> None:
    verdicts = {name: judged(name).partition(":")[0] for name, right in CASES.items() if right.scheme is not None}
    counts = Counter(verdicts.values())
    assert counts["right"] + counts["doubt"] >= 0.9 * len(verdicts), verdicts


def test_every_file_is_judged() -> None:
    beside = {"trl-accelerate/recipes/zero2.yaml", "trl-accelerate/recipes/grpo.yaml",
              "easyr1-script/examples/config.yaml", "nemo-rl-recipe/base.yaml"}
    files = {str(path.relative_to(PUBLIC)) for path in PUBLIC.rglob("*") if path.is_file()}
    assert files == beside | CASES.keys()
