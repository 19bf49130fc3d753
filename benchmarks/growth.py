"""How sweeps and surveys grow with cells, draws and workers.

    python -m benchmarks.growth           a table
    python -m benchmarks.growth --json    the same as JSON, for publish.py

Cells and draws are counted in CPU seconds of one thread, workers in seconds on the clock: with other programs beside
them they are worth less.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

import benchmarks.conftest  # noqa: F401 - one thread, before numpy is imported
import lossim as ls

CELLS = (100, 1_000, 10_000)
DRAWS = (64, 256, 1_024)
WORKERS = (0, 1, 2)
SHARED = 2_000
"""Cells that workers share."""
UNKNOWN = dict(mean_length=(800.0, 1500.0), accuracy=(0.2, 0.5), max_tokens=4096, ratio=ls.log_range(0.7, 2.0))


def start(*, solve_rate: float, sigma: float) -> ls.Policy:
    """Two paths, 4,096 positions."""
    return ls.policies.two_paths(solve_rate=solve_rate, right=ls.lengths.lognormal(median=600, sigma=sigma),
                                 wrong=ls.lengths.lognormal(median=900, sigma=sigma), max_tokens=4096)


def swept(cells: int, executor: ProcessPoolExecutor | None = None) -> ls.Sweep:
    """GRPO over so many cells of 2 x 4,096, each policy built in the time, each sign looked at under 64 kernels."""
    grid = {"solve_rate": np.linspace(0.05, 0.95, cells // 10), "sigma": np.linspace(0.4, 0.8, 10)}
    return ls.sweep(ls.length_drift, grid, scheme=ls.schemes.grpo(), start=start, executor=executor, progress=False)


def took(work: Callable[[], Any], clock: Callable[[], float], rounds: int) -> float:
    """The best time of some rounds, seconds."""
    best = float("inf")
    for _ in range(rounds):
        began = clock()
        work()
        best = min(best, clock() - began)
    return best


def by_workers(workers: int) -> float:
    """Seconds on the clock with so many processes, which are there already; 0 is this one."""
    if not workers:
        return took(lambda: swept(SHARED), time.perf_counter, 2)
    with ProcessPoolExecutor(workers) as executor:
        swept(10 * workers, executor)
        return took(lambda: swept(SHARED, executor), time.perf_counter, 2)


def measure() -> dict[str, Any]:
    """Seconds by cells, by draws and by workers."""
    swept(10)
    cells = {str(count): took(lambda count=count: swept(count), time.process_time, 2 if count < 5_000 else 1)  # type: ignore[misc]
             for count in CELLS}
    draws = {str(count): took(lambda count=count: ls.survey(ls.schemes.grpo(), UNKNOWN, draws=count),  # type: ignore[misc]
                              time.process_time, 2) for count in DRAWS}
    return {"cells": cells, "draws": draws, "workers": {str(count): by_workers(count) for count in WORKERS},
            "shared": SHARED}


def main() -> None:
    found = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return
    for what in ("cells", "draws", "workers"):
        times = found[what]
        print(f"{what:<8}" + "  ".join(f"{int(count):>6,}: {1e3 * t:8.0f} ms" for count, t in times.items()))


if __name__ == "__main__":
    main()
