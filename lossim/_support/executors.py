"""Work handed to an executor, and taken back as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

from lossim._support import checks

Item = TypeVar("Item")
Result = TypeVar("Result")
IN_FLIGHT = 256
"""Items that an executor holds at once."""


def checked_executor(given: Any) -> Executor | None:
    """An executor, or None."""
    if given is not None and not callable(getattr(given, "submit", None)):
        checks.fail("executor", given, "must have a method submit, as those of concurrent.futures have",
                    "pass a ProcessPoolExecutor(), or of dask client.get_executor()", TypeError)
    return given


def completed(function: Callable[[Item], Result], items: Sequence[Item], executor: Executor | None
              ) -> Iterator[tuple[int, Result]]:
    """What the function makes of each item, with the number of the item, in the order in which they are done.

    Without an executor that is the order of the items. At most `IN_FLIGHT` of them are with the executor; what it
    raises, for example as its workers are gone, is raised here, and what has not begun is cancelled.

    >>> list(completed(abs, [-3, 2], None))
    [(0, 3), (1, 2)]
    """
    if executor is None:
        yield from ((number, function(item)) for number, item in enumerate(items))
        return
    done: SimpleQueue[int] = SimpleQueue()
    waiting = iter(enumerate(items))
    pending: dict[int, Future[Result]] = {}

    def submit(count: int) -> None:
        for number, item in islice(waiting, count):
            pending[number] = executor.submit(function, item)
            pending[number].add_done_callback(partial(_report, done, number))

    try:
        submit(IN_FLIGHT)
        while pending:
            number = done.get()
            result = pending.pop(number).result()
            submit(1)
            yield number, result
    finally:
        for future in pending.values():
            future.cancel()


def in_order(function: Callable[[Item], Result], items: Sequence[Item], executor: Executor | None) -> Iterator[Result]:
    """What the function makes of each item, in the order of the items; the first of them that raises does so here.

    >>> list(in_order(abs, [-3, 2], None))
    [3, 2]
    """
    done: dict[int, _Outcome] = {}
    due = 0
    for number, outcome in completed(partial(_tried, function), items, executor):
        done[number] = outcome
        while due in done:
            value, error = done.pop(due)
            if error is not None:
                raise error
            yield value
            due += 1


_Outcome = tuple[Any, Exception | None]
"""A result, or what was raised instead."""


def _tried(function: Callable[[Item], Result], item: Item) -> _Outcome:
    """What the function makes of an item, or raises."""
    try:
        return function(item), None
    except Exception as error:
        return None, error


def _report(done: SimpleQueue[int], number: int, future: Any) -> None:
    """Say that an item is done."""
    done.put(number)
