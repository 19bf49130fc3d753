"""LengthWatch under the protocol of TRL's trainers, without them: what one calls, in its order, and what it may do."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from dataclasses import make_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lossim as ls

CAP, GROUP, STOP, PAD = 32, 4, 1, 0
SCHEME = ls.schemes.grpo()


class Trainer:
    """As TRL does it: callbacks around steps, reward functions by keyword, metrics by ``log_metric``."""

    def __init__(self, functions: list[Any], callbacks: list[Any], **settings: Any) -> None:
        self.functions, self.callbacks = functions, callbacks
        fields = {"num_generations": GROUP, "max_completion_length": CAP, "reward_weights": None} | settings
        places = {name: fields.pop(name, default) for name, default in (("process_index", 0), ("world_size", 1))}
        self.args = make_dataclass("GRPOConfig", fields, namespace=places)(**fields)
        self.state = SimpleNamespace(global_step=0, max_steps=20)
        self.logged: list[dict[str, float]] = []

    def event(self, name: str) -> None:
        model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[STOP, 7]))
        for callback in self.callbacks:
            getattr(callback, name)(self.args, self.state, None, model=model,
                                    processing_class=SimpleNamespace(eos_token_id=STOP, pad_token_id=PAD))

    def generate(self, rows: dict[str, Any], **more: Any) -> list[Any]:
        self.logged.append({})
        given = {"prompts": rows["prompts"], "completions": rows["completions"], "completion_ids": rows["ids"],
                 "trainer_state": self.state, "log_metric": self.logged[-1].__setitem__} | more
        given = {name: value for name, value in given.items() if value is not None}
        return [asyncio.run(function(**given)) if inspect.iscoroutinefunction(function.__call__) else function(**given)
                for function in self.functions]

    def step(self, rows: dict[str, Any], **more: Any) -> list[Any]:
        self.event("on_step_begin")
        paid = self.generate(rows, **more)
        self.state.global_step += 1
        self.event("on_step_end")
        return paid


def rows(step: int, prompts: int = 16) -> dict[str, Any]:
    """A generation: ids that end in a stop token, or are cut at the cap."""
    rng = np.random.default_rng(step)
    lengths = np.minimum(rng.geometric(0.08, size=prompts * GROUP), CAP)
    ids = [[5] * (length - 1) + [STOP if length < CAP else 5] for length in lengths.tolist()]
    return {"prompts": [f"question {step}.{i // GROUP}" for i in range(len(ids))], "ids": ids,
            "completions": ["right" if rng.random() < 12 / length else "wrong" for length in lengths.tolist()]}


def right(completions: list[str], **_: Any) -> list[float]:
    return [float(text == "right") for text in completions]


async def sometimes(completion_ids: list[list[int]], **_: Any) -> list[float | None]:
    return [None if len(ids) == 3 else 0.5 for ids in completion_ids]


def log_of(*steps: int, **how: Any) -> ls.Rollouts:
    """The rows of these steps, put together by hand."""
    every = [rows(step, **how) for step in steps]
    ids = [each for made in every for each in made["ids"]]
    return ls.Rollouts(lengths=[len(each) for each in ids], truncated=[each[-1] != STOP for each in ids],
                       rewards=[value for made in every for value in right(made["completions"])],
                       prompt_ids=np.arange(len(ids)) // GROUP, steps=np.repeat(steps, len(every[0]["ids"])))


def begun(functions: list[Any], watch: ls.live.LengthWatch | None = None, **settings: Any) -> Trainer:
    watch = ls.live.LengthWatch(SCHEME, budget=None) if watch is None else watch
    trainer = Trainer(watch.of(functions), [watch.callback], **settings)
    for event in ("on_init_end", "on_train_begin", "on_epoch_begin"):
        trainer.event(event)
    return trainer


def agrees(logged: dict[str, float], log: ls.Rollouts) -> None:
    audit = ls.audit(SCHEME, log, what_if=False, replicates=20, max_tokens=CAP)
    said = {"drift": float(audit.findings[0].length_per_kl), "responses": len(log), "errors": 0,
            "drift_stderr": float(audit.findings[0].length_per_kl.stderr), "cut_share": log.truncated.mean()}
    assert {name: logged[f"lossim/{name}"] for name in said} == pytest.approx(said, rel=1e-12)


def test_metrics_are_an_audit_of_what_was_generated() -> None:
    watch = ls.live.LengthWatch(SCHEME, budget=None)
    trainer = begun([right], watch)
    assert trainer.step(rows(1)) == [right(rows(1)["completions"])]
    trainer.step(rows(2))
    assert watch.verdict == ls.audit(SCHEME, log_of(1, 2), what_if=False, replicates=20, max_tokens=CAP,
                                     pace=ls.pace(log_of(1, 2))).verdict
    agrees(trainer.logged[0], log_of(1))
    agrees(trainer.logged[1], log_of(1, 2))
    trainer.event("on_train_end")


def test_names_and_kinds_of_functions_are_kept() -> None:
    """TRL logs a function under its name, and awaits one that is a coroutine function."""
    class Judge:
        def __call__(self, completions: list[str], **_: Any) -> list[float]:
            return right(completions)

    model = SimpleNamespace(named_parameters=list, name_or_path="a/model")
    seen = ls.live.LengthWatch(SCHEME).of([right, functools.partial(right, extra=1), Judge(), sometimes, model])
    assert [each.__name__ for each in seen[:4]] == ["right", "right", "Judge", "sometimes"]
    assert [inspect.iscoroutinefunction(each.__call__) for each in seen[:4]] == [False, False, False, True]
    assert seen[4] is model


def test_rewards_are_weighed_and_none_counts_nothing() -> None:
    trainer = begun([right, sometimes], reward_weights=[1.0, 0.25])
    paid = trainer.step(rows(1))
    assert paid[1][:3] == asyncio.run(sometimes(rows(1)["ids"]))[:3]
    log = log_of(1)
    rewards = log.rewards + np.where(log.lengths == 3, 0.0, 0.125)
    one = ls.Rollouts(lengths=log.lengths, rewards=rewards, prompt_ids=log.prompt_ids, truncated=log.truncated)
    audit = ls.audit(SCHEME, one, what_if=False, replicates=20, max_tokens=CAP, paths="one")
    assert trainer.logged[0]["lossim/dead_groups"] == pytest.approx(audit.findings[0].dead_groups)
    assert trainer.logged[0]["lossim/graded"] == 0  # rewards of more than two values, and nobody says which are right


def test_a_response_that_nobody_scores_is_left_out() -> None:
    trainer = begun([sometimes])
    generation = rows(1)
    trainer.step(generation)
    short = sum(len(ids) == 3 for ids in generation["ids"])
    assert short
    assert trainer.logged[0]["lossim/left_out"] == short
    assert trainer.logged[0]["lossim/responses"] == len(generation["ids"]) - short


def test_evaluation_is_not_looked_at() -> None:
    trainer = begun([right])
    trainer.generate(rows(8))  # before the first step
    trainer.step(rows(1))
    trainer.generate(rows(9))
    trainer.event("on_evaluate")
    trainer.step(rows(2))
    assert [bool(each) for each in trainer.logged] == [False, True, False, True]
    agrees(trainer.logged[-1], log_of(1, 2))


def test_the_first_process_says_what_it_sees() -> None:
    """A quarter of the responses each; of 10 rows on a process two groups are whole, and the rest is elsewhere."""
    trainer = begun([right], world_size=4)
    trainer.step(rows(1))
    assert trainer.logged[0]["lossim/share_seen"] == 0.25
    other = begun([right], world_size=4, process_index=1)
    other.step(rows(1))
    assert other.logged == [{}]
    part = begun([right], world_size=4)
    part.step({name: column[:10] for name, column in rows(1).items()})
    assert (part.logged[0]["lossim/responses"], part.logged[0]["lossim/left_out"]) == (8, 2)


def test_a_prompt_twice_in_a_step_is_two_groups() -> None:
    trainer = begun([right])
    generation = rows(1) | {"prompts": ["the same"] * 16 * GROUP}
    trainer.step(generation)
    assert trainer.logged[0]["lossim/dead_groups"] == pytest.approx(
        ls.audit(SCHEME, log_of(1), what_if=False, replicates=0).findings[0].dead_groups)


def test_the_scheme_is_that_of_the_config() -> None:
    watch = ls.live.LengthWatch(budget=None)
    begun([right], watch, loss_type="dr_grpo", scale_rewards="none", beta=0.0)
    assert watch.ready
    assert isinstance(watch.watch.scheme.aggregation, ls.aggregation.ConstantNormalizer)
    assert watch.watch.until == 20


FAULTS: dict[str, dict[str, Any]] = {
    "tools": {"completions": [[{"role": "assistant"}, {"role": "tool"}]] * 64}, "ids": {"completion_ids": [[]] * 64},
    "environments": {"environments": [SimpleNamespace(get_reward=None)] * 64}, "prompts": {"prompts": [None] * 3},
    "no ids": {"completion_ids": None}}


@pytest.mark.parametrize("fault", FAULTS)
def test_errors_stay_inside(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a trainer hands on: rewards come back, one warning, a count, and the next step is answered."""
    trainer = begun([lambda **_: [1.0, 0.0] * 32])
    with caplog.at_level(logging.WARNING, logger="lossim.live"):
        for _ in range(2):
            assert trainer.step(rows(1), **FAULTS[fault]) == [[1.0, 0.0] * 32]
    assert [each["lossim/errors"] for each in trainer.logged] == [1, 2]
    assert len(caplog.records) == 1
    trainer.step(rows(3))
    assert "lossim/drift" in trainer.logged[-1]


def test_a_tracker_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(name: str, value: float) -> None:
        raise RuntimeError("no network")

    trainer = begun([right])
    assert trainer.step(rows(1), log_metric=broken) == [right(rows(1)["completions"])]
    assert "no network" in caplog.text
    trainer.step(rows(2))
    assert trainer.logged[-1]["lossim/errors"] == 1


@pytest.mark.parametrize(("settings", "functions", "said"), [
    ({"loss_type": "of tomorrow"}, [right], "loss_type must be"), ({}, [], "no reward function was wrapped"),
    ({}, [right, "a/model"], "pay what lossim does not see")])
def test_a_run_that_cannot_be_watched_goes_on(settings: dict[str, Any], functions: list[Any], said: str,
                                              caplog: pytest.LogCaptureFixture) -> None:
    trainer = begun(functions, ls.live.LengthWatch(budget=None), **settings)
    assert said in caplog.text
    trainer.functions = [each for each in trainer.functions if callable(each)]
    trainer.step(rows(1))
    assert all(value == 1 for name, value in trainer.logged[0].items() if name == "lossim/errors")
    assert "lossim/drift" not in trainer.logged[0]


def test_arguments_are_checked_before_the_run() -> None:
    with pytest.raises(ValueError, match="window must be at least 1"):
        ls.live.LengthWatch(window=0)
    with pytest.raises(TypeError, match="scheme must be a Scheme"):
        ls.live.LengthWatch("grpo")  # type: ignore[arg-type]
