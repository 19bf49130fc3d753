"""Beside verl's trainer, from 0.9 on, by a line of its config.

    +actor_rollout_ref.rollout.agent.agent_loop_manager_class=lossim.live.verl.AgentLoopManager

verl loads this class in the process that trains, when the trainer is made. It is verl's own; on the way
``PPOTrainer._compute_metrics`` is given what is said here besides. The scheme is read from the run's config. Options of
:class:`lossim.live.Watch` are ``+trainer.lossim.correct_above=0.5`` and the like. Where a run has a manager of its own,
``lossim.live.verl.install()`` in its module does the same.
"""

from __future__ import annotations

import functools
import importlib
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from lossim.configs import read_config
from lossim.live._prompts import Prompts
from lossim.live._watch import LOGGER, Watch
from lossim.schemes import grpo

__all__ = ["install"]

FIELDS = ["uid", "prompts", "responses", "response_mask", "rm_scores"]


def __getattr__(name: str) -> Any:
    """``AgentLoopManager``: verl's own, after the trainer was told to say more."""
    if name != "AgentLoopManager":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        install()
    except Exception as error:  # a verl that is made otherwise
        LOGGER.warning("%s: %s; the run goes on, and lossim says nothing", type(error).__name__, error)
    return importlib.import_module("verl.trainer.ppo.v1").AgentLoopManagerTQ


def install() -> None:
    """Have verl's trainers put what lossim says to their metrics; once is enough."""
    base = importlib.import_module("verl.trainer.ppo.v1.trainer_base")
    computed = base.PPOTrainer._compute_metrics
    if getattr(computed, "watched", False):
        return

    @functools.wraps(computed)
    def computed_and_watched(trainer: Any, batch: Any, metrics: dict[str, Any], *more: Any, **named: Any) -> Any:
        found = computed(trainer, batch, metrics, *more, **named)
        metrics.update(beside(trainer, batch, base.tq))
        return found

    computed_and_watched.watched = True  # type: ignore[attr-defined]
    base.PPOTrainer._compute_metrics = computed_and_watched


class State:
    """What a trainer is watched by; the first watch counts what goes wrong before there is one with the scheme."""

    def __init__(self) -> None:
        self.watch = Watch(grpo())
        self.ready = False
        self.prompts = Prompts()


def beside(trainer: Any, batch: Any, queue: Any) -> dict[str, float]:
    """The metrics of a step of this trainer; what goes wrong is counted."""
    began = time.perf_counter()
    state = vars(trainer).setdefault("lossim", State())
    if not state.ready:
        until = getattr(trainer, "total_training_steps", None)
        own = state.watch.guarded(lambda: watch_of(trainer.config, until))
        if own is None:
            return state.watch.answered({}, began)
        state.watch, state.ready = own, True
    columns = state.watch.guarded(lambda: columns_of(trainer, batch, queue, state.prompts))
    return state.watch.step(trainer.global_steps, **columns) if columns else state.watch.answered({}, began)


def watch_of(config: Any, until: int | None) -> Watch:
    """The watch for a config of verl."""
    settings = importlib.import_module("omegaconf").OmegaConf.to_container(config, resolve=True)
    options = settings["trainer"].pop("lossim", None) or {}
    settings["actor_rollout_ref"]["rollout"].get("agent", {}).pop("agent_loop_manager_class", None)
    parsed = read_config(settings, trainer="verl", version=_version())
    return Watch(parsed.scheme, max_tokens=settings["data"]["max_response_length"],
                 until=None if until is None else int(until), **options)


def columns_of(trainer: Any, batch: Any, queue: Any, prompts: Prompts) -> dict[str, Any]:
    """The responses of a step as columns, in the order of verl's dumps, but for rows that pad the batch.

    Lengths are the policy's own tokens, which the loss counts. A response is cut that has as many tokens as there may
    be and does not end in a stop token; where tools took a part of it that is not said.
    """
    data = queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=FIELDS)
    order = np.array(sorted(range(len(batch.keys)), key=lambda row: _by_key(batch.keys[row])))
    rows = order[[not batch.tags[row].get("is_padding", False) for row in order]]
    ends = _array(data["responses"].offsets())
    span = np.diff(ends)[rows]
    lengths = _array(data["response_mask"].to_padded_tensor(0)).sum(axis=1).astype(np.int64)[rows]
    rewards = _array(data["rm_scores"].to_padded_tensor(0.0).double().sum(dim=1))[rows]
    last = _array(data["responses"].values())[np.maximum(ends[1:] - 1, 0)][rows]
    cut = (span >= int(trainer.config.data.max_response_length)) & (last != trainer.tokenizer.eos_token_id)
    # Groups by the id of each prompt in the step, prompts by their tokens.
    uid = data["uid"]
    names = np.array(list(uid.tolist() if hasattr(uid, "tolist") else uid), dtype=str)[rows]
    _, first, group = np.unique(names, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))  # of each id, in the order of the rows
    starts, tokens = _array(data["prompts"].offsets()), _array(data["prompts"].values())
    numbers = prompts.of_groups(tokens[starts[row]:starts[row + 1]].tobytes() for row in rows[np.sort(first)])
    return {"lengths": lengths, "rewards": rewards, "prompt_ids": numbers[place[group]],
            "truncated": cut if bool((lengths == span).all()) else None}


def _by_key(key: str) -> tuple[str, int, int]:
    """A row's key, {sample}_{rollout}_{output}, as verl sorts its dumps by it."""
    parts = key.rsplit("_", 2)
    whole = len(parts) == 3 and all(part.isdecimal() for part in parts[1:])
    return (parts[0], int(parts[1]), int(parts[2])) if whole else (key, 0, 0)


def _array(tensor: Any) -> Any:
    """A tensor as an array."""
    return np.asarray(tensor.detach().cpu())


def _version() -> str | None:
    """The version of verl that is installed."""
    try:
        return version("verl")
    except PackageNotFoundError:
        return None
