"""Beside TRL's trainers: functions see what is generated, a callback the config, and metrics go where TRL's own go.

TRL adds up what reward functions return, and has a weight for each. One more of them is one too many where weights are
given, and a column without numbers in tables and logs if it returns None; if it returns 0, a response that no other
function scores is paid. So the run's own functions are wrapped, and nothing is added that is paid or weighed.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from lossim._support.types import BoolArray, FloatArray
from lossim.configs import read_config
from lossim.live._prompts import Prompts
from lossim.live._watch import LOGGER, Watch
from lossim.schemes import Scheme, grpo


class LengthWatch:
    """lossim beside TRL's GRPOTrainer or RLOOTrainer: two changes in a script, and ``lossim/...`` among its metrics.

    ``reward_funcs=watch.of(...)`` and ``callbacks=[watch.callback]``, as below. Rewards, their names, weights and
    advantages are what they were. The scheme is read from the trainer's config; metrics are written by the first
    process, of the responses that it sees, see :data:`METRICS`. Evaluation is not looked at.

    Args:
        scheme: what the run trains with, instead of what its config says.
        options: of :class:`Watch`: ``correct_above``, ``window``, ``budget``, ``replicates``.

    >>> def mine(completions, **kwargs):
    ...     return [float("4" in completion) for completion in completions]
    >>> watch = LengthWatch()
    >>> reward_funcs, callbacks = watch.of([mine]), [watch.callback]
    >>> # trainer = GRPOTrainer(model, reward_funcs=reward_funcs, callbacks=callbacks, args=GRPOConfig(...), ...)
    >>> reward_funcs[0].__name__, reward_funcs[0](completions=["2", "4"])
    ('mine', [0.0, 1.0])
    """

    def __init__(self, scheme: Scheme | None = None, **options: Any) -> None:
        self.scheme = scheme
        self.options = options
        self.watch = Watch(grpo() if scheme is None else scheme, **options)  # which checks them before the run
        self.ready = False
        self.metrics: dict[str, float] = {}
        self.callback = Callback(self)
        self.generating = False
        self._not_seen: list[str] = []
        self._functions = 0
        self._args: Any = None
        self._stops: frozenset[int] = frozenset()
        self._paid: dict[int, list[Any]] = {}
        self._prompts = Prompts()

    def of(self, reward_funcs: Any) -> list[Any]:
        """The same reward functions, seen. Reward models are left as they are: nobody sees what they pay."""
        several = list(reward_funcs) if isinstance(reward_funcs, list | tuple) else [reward_funcs]
        self._not_seen = [str(getattr(each, "name_or_path", each)) for each in several if _is_model(each)]
        found: list[Any] = []
        self._functions = 0
        for each in several:
            if _is_model(each):
                found.append(each)
                continue
            found.append((_Later if _is_async(each) else _Now)(self, self._functions, each))
            self._functions += 1
        return found

    @property
    def verdict(self) -> str:
        """Which way length goes, in words; "" before the first audit."""
        return self.watch.verdict

    # --- what the callback and the functions say ---------------------------------------------------------------------

    def begin(self, args: Any, state: Any, processing_class: Any, model: Any) -> None:
        """Training begins: the scheme is that of the config."""
        self._args, self.ready = args, False
        self._stops = _stop_tokens(processing_class, model)
        scheme, cap = self.scheme, getattr(args, "max_completion_length", None)
        if scheme is None:
            scheme = read_config(args, trainer="trl", version=_version(), processes=_processes(args)).scheme
        if self._not_seen:
            raise ValueError(f"reward models ({', '.join(self._not_seen)}) pay what lossim does not see, so nothing "
                             "is said of this run; wrap them in functions")
        if not self._functions:
            raise ValueError("no reward function was wrapped, so nothing is seen: use reward_funcs=watch.of([...])")
        until = int(getattr(state, "max_steps", 0) or 0)
        self.watch = Watch(scheme, max_tokens=cap, until=until if until > 0 else None, **self.options)
        self.watch.share_seen = 1.0 / _processes(args)
        self.ready = True

    def saw(self, index: int, rewards: Any, step: int, given: dict[str, Any]) -> None:
        """A function returned; after the last of them the generation is audited."""
        if not self.generating or _process(self._args):
            return
        began = time.perf_counter()
        self._paid[index] = list(rewards)
        if len(self._paid) < self._functions:
            return
        columns = self.watch.guarded(lambda: self._columns(given)) if self.ready else None
        self._paid = {}
        self.metrics = self.watch.step(step, **columns) if columns else self.watch.answered({}, began)
        if "log_metric" not in given:
            raise ValueError("this TRL gives reward functions no log_metric: metrics stay in LengthWatch.metrics")
        for name, value in self.metrics.items():
            given["log_metric"](name, value)

    def new_step(self, generating: bool) -> None:
        """A step begins, or is over."""
        self.generating = generating
        self._paid = {}

    # --- responses --------------------------------------------------------------------------------------------------

    def _columns(self, given: dict[str, Any]) -> dict[str, Any]:
        """The responses of a generation as columns: those of whole groups, that were paid."""
        prompts, completions, ids = given["prompts"], given["completions"], given["completion_ids"]
        if any(_has_tools(each) for each in completions):
            raise ValueError("completions hold turns of tools, whose tokens a reward function cannot tell from the "
                             "policy's; the tables of completions tell it to lossim audit")
        if any(hasattr(each, "get_reward") for each in given.get("environments") or ()):
            raise ValueError("environments pay rewards of their own, which lossim does not see")
        lengths = np.array([len(each) for each in ids])
        stopped = np.array([each[-1] in self._stops for each in ids])
        cap = self._args.max_completion_length
        rewards = self._rewards()
        group, whole = self._groups(prompts)
        # Not scored, cut at another length than the cap, or of a group that is not all here.
        kept = np.isfinite(rewards) & (stopped | (lengths >= cap)) & whole
        self.watch.left_out += int(np.count_nonzero(~kept))
        return {"lengths": lengths[kept], "rewards": rewards[kept], "prompt_ids": group[kept],
                "truncated": ~stopped[kept]}

    def _rewards(self) -> FloatArray:
        """The weighed sum over functions, as TRL has it: None counts nothing, and is nan where all return it."""
        paid = np.array([[np.nan if each is None else float(each) for each in self._paid[index]]
                         for index in range(self._functions)], dtype=np.float32).astype(np.float64)
        weights = getattr(self._args, "reward_weights", None)
        weighed = paid * np.array(weights if weights is not None else np.ones(self._functions))[:, None]
        return np.where(np.isnan(paid).all(axis=0), np.nan, np.nansum(weighed, axis=0))

    def _groups(self, prompts: Sequence[Any]) -> tuple[Any, BoolArray]:
        """The prompt of each response by number, and whether its group is all here; groups stand in one run each."""
        size = self._args.num_generations
        first = _process(self._args) * len(prompts)
        group = (first + np.arange(len(prompts))) // size
        names, start, count = np.unique(group, return_index=True, return_counts=True)
        numbers = self._prompts.of_groups(repr(prompts[at]).encode("utf-8", "replace") for at in start.tolist())
        here = np.searchsorted(names, group)
        return numbers[here], count[here] == size


class Callback:
    """What a trainer of transformers calls; what goes wrong in here is counted, and the run goes on."""

    def __init__(self, owner: LengthWatch) -> None:
        self._owner = owner
        self.step = 1

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Training begins."""
        self._owner.watch.guarded(lambda: self._owner.begin(args, state, more.get("processing_class"),
                                                            more.get("model")))

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A step begins: what is generated from here on is trained on."""
        self.step = int(getattr(state, "global_step", 0)) + 1
        self._owner.new_step(True)

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """A step is over: what is generated from here on is for evaluation."""
        self._owner.new_step(False)

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Training is over: the last verdict, once, as text."""
        if self._owner.ready and self._owner.watch.finding is not None:
            self._owner.watch.guarded(lambda: LOGGER.info(self._owner.watch.verdict))

    def __getattr__(self, name: str) -> Any:
        """All other events, whatever this version of transformers has."""
        if name.startswith("on_"):
            return _nothing
        raise AttributeError(name)


class _Now:
    """A reward function that is seen."""

    def __init__(self, owner: LengthWatch, index: int, function: Callable[..., Any]) -> None:
        self.owner, self.index, self.function = owner, index, function
        inner = _unwrapped(function)
        self.__name__ = getattr(inner, "__name__", type(inner).__name__)  # by which TRL logs it
        self.__doc__ = inner.__doc__

    def __call__(self, *args: Any, **given: Any) -> Any:
        rewards = self.function(*args, **given)
        return self.told(rewards, given)

    def told(self, rewards: Any, given: dict[str, Any]) -> Any:
        """The rewards as they are, after they were seen."""
        self.owner.watch.guarded(lambda: self.owner.saw(self.index, rewards, self.owner.callback.step, given))
        return rewards


class _Later(_Now):
    """The same of a coroutine function."""

    async def __call__(self, *args: Any, **given: Any) -> Any:
        rewards = await self.function(*args, **given)
        return self.told(rewards, given)


# --- what trainers differ in ------------------------------------------------------------------------------------------


def _nothing(*args: Any, **more: Any) -> None:
    """An event that nobody asks for."""


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _is_async(function: Any) -> bool:
    inner = _unwrapped(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004


def _is_model(function: Any) -> bool:
    """A reward model or the name of one."""
    return isinstance(function, str) or hasattr(function, "named_parameters")


def _has_tools(completion: Any) -> bool:
    """Whether a conversation has turns of tools."""
    return isinstance(completion, list) and any(isinstance(turn, dict) and turn.get("role") == "tool"
                                                for turn in completion)


def _stop_tokens(processing_class: Any, model: Any) -> frozenset[int]:
    """Tokens that end a response, as TRL tells it: the tokenizer's end and padding, and the model's ends."""
    tokenizer = getattr(processing_class, "tokenizer", processing_class)
    config = getattr(getattr(model, "module", model), "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    several = list(ends) if isinstance(ends, list | tuple) else [ends]
    every = [*several, getattr(tokenizer, "eos_token_id", None), getattr(tokenizer, "pad_token_id", None)]
    found = frozenset(int(token) for token in every if token is not None)
    if not found:
        raise ValueError("neither tokenizer nor model names a token that ends a response: nothing tells what was cut")
    return found


def _process(args: Any) -> int:
    """Which of the processes this is."""
    return int(getattr(args, "process_index", 0) or 0)


def _processes(args: Any) -> int:
    """How many there are."""
    return max(int(getattr(args, "world_size", 1) or 1), 1)


def _version() -> str | None:
    """The version of TRL that is installed."""
    try:
        return version("trl")
    except PackageNotFoundError:
        return None
