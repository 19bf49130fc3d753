"""What tests of sweeps have in common: an executor with an order of its own, and a result as bits."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future

import numpy as np

import lossim as ls


class Shuffled(Executor):
    """Runs what it was given when it has enough of it, in an order of its own, on the thread of whoever asks last."""

    def __init__(self, seed: int, hold: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.hold = hold
        self.held: list[tuple[Future, tuple]] = []
        self.timer: threading.Timer | None = None

    def submit(self, function, /, *args, **kwargs) -> Future:
        future: Future = Future()
        self.held.append((future, (function, args)))
        if self.timer is None:
            self.timer = threading.Timer(0.005, self.run)
            self.timer.start()
        return future

    def run(self) -> None:
        self.timer = None
        held, self.held = self.held, []
        for number in self.rng.permutation(len(held)):
            future, (function, args) = held[number]
            future.set_result(function(*args))


def bits(swept: ls.Sweep) -> list[bytes]:
    arrays = [*swept.values.values(), swept.sign, swept.decided, swept.low, swept.high]
    return [array.tobytes() for array in arrays] + [repr(swept.failures).encode(), repr(swept.notes).encode()]
