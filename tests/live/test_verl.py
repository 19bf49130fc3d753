"""The line of verl's config, without verl: its own class comes back, and whatever is wrong stays inside."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

V1 = "verl.trainer.ppo.v1"
METHOD = "_compute_metrics"  # which verl calls for a step's metrics
SETTINGS = {"trainer": {"lossim": {"budget": None}}, "data": {"max_response_length": 8, "train_batch_size": 4},
            "algorithm": {"adv_estimator": "grpo"}, "actor_rollout_ref": {"rollout": {"n": 2}}}


class Ragged:
    """As a tensor of torch whose rows have lengths of their own."""

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows

    def offsets(self) -> Any:
        return Whole(np.cumsum([0, *map(len, self.rows)]))

    def values(self) -> Any:
        return Whole(np.concatenate([np.array(row) for row in self.rows]))

    def to_padded_tensor(self, padding: float) -> Any:
        width = max(map(len, self.rows))
        return Whole(np.array([[*row, *[padding] * (width - len(row))] for row in self.rows]))


class Whole(SimpleNamespace):
    """As a tensor of torch."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    def detach(self) -> Whole:
        return self

    cpu = double = detach

    def sum(self, dim: int) -> Whole:
        return Whole(self.array.sum(axis=dim))

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.array


ROWS = {"uid": ["b", "a", "b", "a", "c"], "prompts": Ragged([[4, 4], [5], [4, 4], [5], [0]]),
        "responses": Ragged([[7, 1], [7] * 8, [7] * 5 + [1], [7, 7, 1], [0]]),
        "response_mask": Ragged([[1] * 2, [1] * 8, [1] * 6, [1] * 3, [0]]),
        "rm_scores": Ragged([[0, 1.0], [0] * 8, [0] * 6, [0, 0, 1.0], [0]])}
BATCH = SimpleNamespace(keys=["b_0_0", "a_1_0", "b_1_0", "a_0_0", "pad_0_0"], partition_id="train",
                        tags=[{}, {}, {}, {}, {"is_padding": True}])


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What of verl is asked for."""
    class PPOTrainer:
        global_steps, total_training_steps, tokenizer = 3, 9, SimpleNamespace(eos_token_id=1)
        config: Any = SimpleNamespace(data=SimpleNamespace(max_response_length=8), settings=SETTINGS)

        def _compute_metrics(self, batch: Any, metrics: dict[str, Any], timing_raw: Any, global_steps: int) -> None:
            metrics["critic/rewards/mean"] = 0.5

    made = {name: ModuleType(name) for name in (V1, f"{V1}.trainer_base", "omegaconf")}
    made[V1].AgentLoopManagerTQ = type("AgentLoopManagerTQ", (), {})
    made[f"{V1}.trainer_base"].PPOTrainer = PPOTrainer
    made[f"{V1}.trainer_base"].tq = SimpleNamespace(kv_batch_get=lambda **_: ROWS)
    made["omegaconf"].OmegaConf = SimpleNamespace(to_container=lambda config, resolve: {
        name: dict(section) for name, section in config.settings.items()})
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made[f"{V1}.trainer_base"]


def manager() -> Any:
    return importlib.import_module("lossim.live.verl").AgentLoopManager


def computed(trainer: Any) -> dict[str, Any]:
    """As verl calls it."""
    metrics: dict[str, Any] = {}
    getattr(trainer, METHOD)(BATCH, metrics, {}, global_steps=trainer.global_steps)
    return metrics


def test_the_line_of_the_config(base: Any) -> None:
    assert manager().__name__ == manager().__name__ == "AgentLoopManagerTQ"  # and once more, which changes nothing
    trainer = base.PPOTrainer()
    metrics = computed(trainer)
    assert metrics.pop("critic/rewards/mean") == 0.5
    right = {"responses": 4, "mean_length": 19 / 4, "cut_share": 0.25, "dead_groups": 0, "errors": 0, "graded": 1}
    assert {name: metrics[f"lossim/{name}"] for name in right} == right
    # In the order of verl's dumps, without the row that pads.
    log = trainer.lossim.watch.rollouts
    assert log.lengths.tolist() == [3, 8, 2, 6]
    assert log.rewards.tolist() == [1, 0, 1, 0]
    assert log.prompt_ids.tolist() == [0, 0, 1, 1]
    assert log.truncated is not None
    assert log.truncated.tolist() == [False, True, False, False]
    assert log.steps is not None
    assert set(log.steps.tolist()) == {3}


def test_tokens_of_tools_are_no_tokens_of_the_policy(base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = Ragged([[1] * 2, [1, 1, 0, 0, 1, 1, 1, 1], [1] * 6, [1] * 3, [0]])
    monkeypatch.setattr(base.tq, "kv_batch_get", lambda **_: ROWS | {"response_mask": masks})
    manager()
    trainer = base.PPOTrainer()
    computed(trainer)
    assert trainer.lossim.watch.rollouts.lengths.tolist() == [3, 6, 2, 6]


def test_errors_are_counted_and_said_once(base: Any, caplog: pytest.LogCaptureFixture,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(**_: Any) -> None:
        raise ConnectionError("no queue")

    manager()
    trainer = base.PPOTrainer()
    monkeypatch.setattr(base.tq, "kv_batch_get", gone)
    with caplog.at_level(logging.WARNING, logger="lossim.live"):
        said = [computed(trainer) for _ in range(2)]
    assert [each["lossim/errors"] for each in said] == [1, 2]
    assert all(each["critic/rewards/mean"] == 0.5 for each in said)
    assert len(caplog.records) == 1
    monkeypatch.undo()


def test_a_config_that_is_no_scheme_is_an_error_that_is_counted(base: Any, caplog: pytest.LogCaptureFixture) -> None:
    manager()
    trainer = base.PPOTrainer()
    trainer.config = SimpleNamespace(data=trainer.config.data, settings=SETTINGS | {
        "actor_rollout_ref": {"rollout": {"n": 0}}})
    assert [computed(trainer)["lossim/errors"] for _ in range(2)] == [1, 2]
    assert "rollout.n must be at least 1" in caplog.text


def test_a_verl_made_otherwise_goes_on_without(base: Any, caplog: pytest.LogCaptureFixture) -> None:
    del base.PPOTrainer
    assert manager().__name__ == "AgentLoopManagerTQ"
    assert "lossim says nothing" in caplog.text


def test_nothing_else_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Manager'"):
        importlib.import_module("lossim.live.verl").Manager  # noqa: B018


def test_no_trainer_is_imported() -> None:
    code = "import sys, lossim.live.verl; print({'verl', 'trl', 'transformers', 'torch', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
