"""How ``drift()`` grows from N = 4,096 to 32,768, how much memory it takes, and how long the import lasts.

    python -m benchmarks.scaling           a table
    python -m benchmarks.scaling --json    the same as JSON, for publish.py

The sizes take turns, round by round, and the best time of each counts: on a machine that others use too, measurements
minutes apart would compare two loads. Times are CPU seconds of one thread, on an idle machine those on the clock.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

import benchmarks.conftest  # noqa: F401 - one thread, before numpy is imported
import lossim as ls
from benchmarks.worlds import many_cells, with_work
from lossim._engine.denominators import reciprocal

SIZES = (4096, 8192, 16_384, 32_768)
SCHEMES: dict[str, tuple[Callable[[], ls.Scheme], int]] = {
    "GRPO": (ls.schemes.grpo, 7),
    "Dr. GRPO": (ls.schemes.dr_grpo, 5),
    "RLOO": (ls.schemes.rloo, 5),
    "PPO": (ls.schemes.ppo, 5),
    "PPO, exact critic": (lambda: ls.schemes.ppo(critic=ls.critics.Exact()), 5),
    "DAPO": (ls.schemes.dapo, 4),
    "OPO": (ls.schemes.opo, 1),
}
IMPORT = "import time, numpy, scipy.linalg, scipy.special; start = time.perf_counter(); import lossim; " \
         "lossim.drift; print(time.perf_counter() - start)"


SHAPES = ((2, 512), (2, 4096), (2, 32_768), (8, 32_768), (64, 32_768))
"""Cells and positions of the drifts that are held against a pass over memory."""
READ: dict[str, Callable[[ls.Drift], object]] = {
    "length": lambda drift: (drift.length, drift.length_per_kl),
    "verdict": lambda drift: drift.verdict,
    "whole": lambda drift: [getattr(drift, each.name) for each in fields(drift)],
}
"""What is looked at of a drift; what nobody looks at is not worked out."""


def one_pass(cells: int, max_tokens: int, rounds: int = 20) -> float:
    """Best time of adding two arrays [cell, position] into a third, seconds."""
    one, other = np.ones((2, cells, max_tokens))
    total = np.empty_like(one)
    times = max((1 << 21) // one.size, 1)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(times):
            np.add(one, other, out=total)
        best = min(best, (time.process_time() - start) / times)
    return best


def passes() -> list[dict[str, float]]:
    """Best times of a GRPO drift by what is looked at, beside that of a pass over its arrays, seconds."""
    scheme = ls.schemes.grpo()
    found = []
    for cells, size in SHAPES:
        policy = many_cells(size, cells=cells)
        times = {"cells": cells, "positions": size, "pass": one_pass(cells, size)}
        rounds = min(max((1 << 21) // (cells * size), 3), 40)
        for name, read in READ.items():
            best = float("inf")
            for _ in range(rounds + 1):  # the first fills the policy's caches
                start = time.process_time()
                read(ls.drift(scheme, policy))
                best = min(best, time.process_time() - start)
            times[name] = best
        found.append(times)
    return found


def growth(scheme: ls.Scheme, rounds: int, sizes: Sequence[int] = SIZES) -> dict[int, float]:
    """Best time of the whole result of ``drift`` at each size, seconds."""
    policies = {size: many_cells(size) for size in sizes}
    best = dict.fromkeys(sizes, float("inf"))
    for attempt in range(rounds + 1):
        for size, policy in policies.items():
            start = time.process_time()
            READ["whole"](ls.drift(scheme, policy))
            if attempt > 0:  # the first fills the policy's caches
                best[size] = min(best[size], time.process_time() - start)
    return best


def beside_work(max_tokens: int = 32_768, rounds: int = 3) -> dict[str, float]:
    """How many times as long as for paths of one state it takes where paths have work, at as many cells."""
    def ratio(work: Callable[[ls.Policy], object]) -> float:
        best = [float("inf"), float("inf")]
        for _ in range(rounds):
            for which, make in enumerate((many_cells, with_work)):
                policy = make(max_tokens)
                start = time.process_time()
                work(policy)
                best[which] = min(best[which], time.process_time() - start)
        return best[1] / best[0]

    schemes = {"GRPO": ls.schemes.grpo(), "PPO": ls.schemes.ppo(), "DAPO": ls.schemes.dapo()}
    found = {}
    for name, scheme in schemes.items():
        found[name] = ratio(lambda policy, scheme=scheme: READ["whole"](ls.drift(scheme, policy)))  # type: ignore[misc]
    rate = ls.optimizers.SGD(learning_rate=0.1)
    found["train"] = ratio(lambda policy: ls.train(ls.schemes.grpo(), policy, steps=3, optimizer=rate))
    return found


def memory(max_tokens: int = 32_768) -> dict[str, float]:
    """Mebibytes held by the policy, held by the result, and at the peak of the call beyond the policy: GRPO."""
    tracemalloc.start()
    policy = many_cells(max_tokens)
    READ["whole"](ls.drift(ls.schemes.grpo(), policy))
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    result = ls.drift(ls.schemes.grpo(), policy)
    READ["whole"](result)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.length.value != 0.0
    return {"policy": base / 2**20, "result": (now - base) / 2**20, "peak": (peak - base) / 2**20}


def import_time(runs: int = 15) -> float:
    """Seconds to load all of lossim once numpy, scipy.linalg and scipy.special are there; best of fresh processes."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return min(float(subprocess.run([sys.executable, "-c", IMPORT], env=environment, capture_output=True, text=True,
                                    check=True).stdout) for _ in range(runs))


def measure() -> dict[str, Any]:
    """Everything, as plain values."""
    seconds = {name: growth(make(), rounds) for name, (make, rounds) in SCHEMES.items()}
    n = ls.schemes.dapo().responses_per_step
    return {
        "seconds": {name: {str(size): t for size, t in times.items()} for name, times in seconds.items()},
        "ratio": {name: times[SIZES[-1]] / times[SIZES[0]] for name, times in seconds.items()},
        "nodes": {str(size): len(reciprocal(float(n), float(n * size)).nodes) for size in SIZES},
        "work": beside_work(), "memory": memory(), "import": import_time(), "passes": passes(),
    }


def main() -> None:
    found = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return
    for name, times in found["seconds"].items():
        row = "  ".join(f"{int(size):>6,}: {1e3 * t:8.1f} ms" for size, t in times.items())
        print(f"{name:<18}{row}  ratio {found['ratio'][name]:.1f}")
    for times in found["passes"]:
        row = "  ".join(f"{name} {1e3 * times[name]:.2f} ms, {times[name] / times['pass']:.0f} passes" for name in READ)
        print(f"{times['cells']} x {times['positions']}: pass {1e6 * times['pass']:.1f} µs  {row}")
    print("nodes of token-mean:", found["nodes"])
    print("paths with work, times as long at 64 cells x 32,768:", {k: round(v, 2) for k, v in found["work"].items()})
    print("memory at 64 cells x 32,768, MiB:", {k: round(v) for k, v in found["memory"].items()})
    print(f"import beyond numpy and scipy: {1e3 * found['import']:.0f} ms")


if __name__ == "__main__":
    main()
