"""A log of ten million responses, and the memory that reading and auditing it takes.

    python -m benchmarks.logs FILE traced|resident|times

prints, as JSON and in MiB, what Python and numpy hold at the peak while reading and in an audit (tracemalloc), or the
largest size of the whole process before, after reading, and after sorting by group; or the CPU seconds of reading and
of audits of one scheme and of five, in one process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np

import benchmarks.conftest  # noqa: F401 - one thread, before numpy is imported
import lossim as ls

ROWS, GROUP, PER_STEP = 10_000_000, 8, 8192
FIVE = ("grpo", "dr_grpo", "dapo", "rloo", "gspo")
COLUMNS = ("prompt_id", "length", "reward", "truncated", "step")


def write(file: Path, rows: int = ROWS) -> None:
    """Parquet with ids anywhere in 60 bits, the responses of a step in any order."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    ids = np.repeat(rng.integers(0, 2**60, rows // GROUP), GROUP)
    for start in range(0, rows, PER_STEP):
        rng.shuffle(ids[start:start + PER_STEP])
    length = np.minimum(rng.lognormal(7.0, 0.6, rows).astype(np.int64) + 1, 4096)
    parquet.write_table(pa.table({
        "prompt_id": ids, "length": length, "reward": np.where(rng.random(rows) < 0.4, 1.0, 0.0),
        "truncated": length == 4096, "step": np.arange(rows) // PER_STEP}), file)


def peaks(file: Path) -> dict[str, float]:
    """What a log takes, each in a fresh process: tracemalloc slows reading down and takes memory itself."""
    found: dict[str, float] = {}
    for how in ("traced", "resident", "times"):
        done = subprocess.run([sys.executable, "-m", "benchmarks.logs", str(file), how], capture_output=True, text=True,
                              check=True, cwd=Path(__file__).resolve().parents[1])
        found |= json.loads(done.stdout)
    return found


def resident() -> float:
    """The largest memory of this process so far, MiB; Linux lets ru_maxrss begin with that of the parent process."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    from pyarrow import parquet

    file, how = Path(sys.argv[1]), sys.argv[2]
    next(parquet.ParquetFile(file).iter_batches(batch_size=1))  # pyarrow and what it loads
    assert callable(ls.audit)  # which loads all of lossim
    if how == "traced":
        tracemalloc.start()
        rollouts = ls.Rollouts.read(file)
        reading = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        ls.audit(rollouts, ls.schemes.dapo(), what_if=False)
        print(json.dumps({"traced": reading / 2**20, "traced_audit": tracemalloc.get_traced_memory()[1] / 2**20}))
        return
    if how == "times":
        times = [time.process_time()]
        rollouts = ls.Rollouts.read(file)
        times.append(time.process_time())
        for names in (FIVE[:1], FIVE):
            ls.audit(rollouts, [getattr(ls.schemes, name)() for name in names], what_if=False)
            times.append(time.process_time())
        print(json.dumps(dict(zip(("read_once", "audit_one", "audit_five"), np.diff(times).tolist(), strict=True))))
        return
    before = resident()
    rollouts = ls.Rollouts.read(file)
    read = resident()
    rollouts.by_group()
    print(json.dumps({"before": before, "read": read, "by_group": resident()}))


if __name__ == "__main__":
    main()
