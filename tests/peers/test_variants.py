"""Trainers near TRL and verl: Unsloth's own rules run beside what lossim makes of the same, and defaults as written."""

from __future__ import annotations

import ast
import itertools
import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lossim.configs import read_config
from tests.peers.releases import _fields, folder, versions


@cache
def rules(version: str) -> tuple[str, str]:
    """What Unsloth puts into the config that it makes of TRL's: rules by loss, and a batch without whole groups."""
    source = ast.parse((folder("unsloth", version) / "unsloth" / "models" / "rl.py").read_text())
    texts: dict[str, str] = {}
    for node in ast.walk(source):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(
                node.value, ast.Constant) and isinstance(node.value.value, str):
            texts.setdefault(node.targets[0].id, node.value.value)
    return texts["check_dr_grpo"], texts["check_num_generations"]


def by_unsloth(version: str, told: dict[str, Any]) -> dict[str, Any]:
    """Values of the config after Unsloth's rules; defaults that it has no rule for are those of its own template."""
    newest = not version.startswith("2026.9")
    unset = {"loss_type": None, "beta": None, "mask_truncated_completions": None} if newest else {
        "loss_type": "bnpo", "beta": 0.001, "mask_truncated_completions": False}
    made = {**unset, "scale_rewards": "group", "epsilon_high": None, "steps_per_generation": None,
            "generation_batch_size": None, "os": os, "print": lambda *words: None, **told}
    if newest:
        made["_unsloth_default_loss_type"] = made["loss_type"] is None
        made["loss_type"] = made["loss_type"] or "dapo"
        if made["beta"] is None:
            made["beta"] = 0.0 if made["loss_type"] in ("dapo", "dr_grpo") else 0.001
    for rule in rules(version):
        exec(rule, made)
    return made


@pytest.mark.parametrize("version", versions("unsloth"))
def test_unsloths_rules(version: str, tmp_path: Path) -> None:
    choices = {"loss_type": (None, "grpo", "dr_grpo", "dapo", "cispo"), "scale_rewards": (None, True, False),
               "mask_truncated_completions": (None, True), "epsilon_high": (None, 0.4, 2.0), "beta": (None, 0.02),
               "per_device_train_batch_size": (1, 4), "gradient_accumulation_steps": (1, 2)}
    for values in itertools.product(*choices.values()):
        told = {name: value for name, value in zip(choices, values, strict=True) if value is not None}
        told |= {"num_generations": 4, "max_completion_length": 100}
        script = tmp_path / "train.py"
        call = ", ".join(f"{name}={value!r}" for name, value in told.items())
        script.write_text(f"import unsloth\nfrom trl import GRPOConfig\nGRPOConfig({call})\n")
        scheme = read_config(script, version=version).scheme
        right = by_unsloth(version, told)
        high = right["epsilon_high"] if right["epsilon_high"] is not None else 0.2
        assert (type(scheme.advantage).__name__ == "GroupStandardized") == (right["scale_rewards"] in (True, "group"))
        assert (scheme.truncation == "mask") == bool(right["mask_truncated_completions"])
        assert sum(term.coefficient for term in scheme.penalties) == right["beta"]
        responses = right["per_device_train_batch_size"] * right["gradient_accumulation_steps"]
        assert 4 * scheme.prompts_per_step == responses
        if right["loss_type"] != "cispo":
            assert scheme.surrogate.high == high
        elif high >= 1.0:
            assert scheme.surrogate.high == pytest.approx(high - 1.0)


def classes(trainer: str, version: str, *paths: str) -> dict[str, ast.ClassDef]:
    """The classes of files of a release."""
    return {node.name: node for path in paths for node in ast.parse((folder(trainer, version) / path).read_text()).body
            if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize("version", versions("ms-swift"))
def test_defaults_of_swift(version: str) -> None:
    found = classes("ms-swift", version, "swift/rlhf_trainers/args_mixin.py", "swift/arguments/rlhf_args.py")
    fields = {key: value for name in ("GRPOArgumentsMixin", "GRPOArguments", "RLHFArguments")
              for key, value in _fields(found, name).items()}
    parsed = read_config("swift rlhf --rlhf_type grpo --per_device_train_batch_size 8 --reward_funcs cosine",
                         version=version, processes=1)
    assert "cosine_min_len_value_wrong" in {entry.key for entry in parsed.assumed}
    assert_defaults(parsed, fields, {"mask_truncated_completions": "overlong_filter", "sapo_temperature_pos": "tau_pos",
                                     "sapo_temperature_neg": "tau_neg"},
                    computed={"beta", "loss_type", "scale_rewards", "kl_in_reward", "reward_funcs"})


@pytest.mark.parametrize("version", versions("ms-swift"))
def test_cosine_of_swift(version: str) -> None:
    """Its own function of the length, which its reward calls with the values at the far end and at the near one."""
    reward = classes("ms-swift", version, "swift/rewards/orm.py")["CosineReward"]
    theirs: dict[str, Any] = {}
    function = next(node for node in reward.body if isinstance(node, ast.FunctionDef) and node.name == "cosfn")
    function.decorator_list = []
    exec(ast.unparse(function), theirs)
    ours = read_config("swift rlhf --rlhf_type grpo --per_device_train_batch_size 8 --reward_funcs cosine",
                       version=version, processes=1).scheme.reward
    lengths = list(range(1, 513))
    for right, far, near in ((True, 0.5, 1.0), (False, 0.0, -0.5)):
        paid = ours.values(lengths, [right] * 512, [False] * 512)
        assert paid == pytest.approx([theirs["cosfn"](length, 512, far, near) for length in lengths], abs=1e-12)


@pytest.mark.parametrize("version", versions("skyrl"))
def test_defaults_of_skyrl(version: str) -> None:
    found = classes("skyrl", version, "skyrl/train/config/config.py")
    sections = {"trainer.": "TrainerConfig", "trainer.algorithm.": "AlgorithmConfig", "generator.": "GeneratorConfig",
                "generator.sampling_params.": "SamplingParams", "trainer.algorithm.dynamic_sampling.":
                "DynamicSamplingConfig", "trainer.algorithm.sapo.": "SAPOConfig"}
    fields = {prefix + key: value for prefix, name in sections.items() for key, value in _fields(found, name).items()}
    parsed = read_config({"trainer.algorithm.use_kl_loss": True, "generator.batched": True}, version=version)
    assert_defaults(parsed, fields, {}, computed={"trainer.algorithm.overlong_buffer_len"})


def assert_defaults(parsed: Any, fields: dict[str, Any], names: dict[str, str], computed: set[str]) -> None:
    """What was assumed is the default of the field of that name, unless the trainer computes it."""
    compared = {entry.key: entry.value for entry in parsed.assumed
                if names.get(entry.key, entry.key) in fields and entry.key not in computed}
    assert len(compared) >= 5
    assert compared == {key: fields[names.get(key, key)] for key in compared}
