"""Measure everything and write docs/benchmarks.md: ``python benchmarks/publish.py [TRAINERS_PYTHON]``; a few minutes.

The page holds what one run of this script measured on one machine, lossim and its peers side by side. The trainers run
under an interpreter of their own, that of .venv-peers unless another one is named.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "benchmarks.md"
TRAINERS = ROOT / ".venv-peers" / "bin" / "python"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

PAGE = """# Benchmarks

Written by `python benchmarks/publish.py`; `make bench` runs the same code under pytest-benchmark. Times are CPU seconds
of one thread (on an idle machine, those on the clock), the best of several rounds.

Machine: {machine}.
Versions: {versions}.

## One `drift()`

What is asked of a result is worked out when somebody looks: the change of mean length, the verdict, which looks at 64
kernels and at what else is not known, or the whole result with all its arrays. GRPO, two paths for each class of
prompts, a policy whose law is known. Beside it one pass over memory in the same run: `np.add` of two arrays [cell,
position] into a third; in brackets how many passes an answer takes.

{passes}

{bounds}

## `drift()` grows with cells × positions

64 cells (32 prompt classes with two paths each), lognormal lengths, the whole result of `ls.drift(scheme, policy)`:
every number, every array, with error bounds.

{drift}

Schemes without a random denominator take a few passes over [cell, position]: eight times the positions take GRPO
{grpo_ratio:.1f} times as long. Token-mean (DAPO) divides by a random number of tokens, a quadrature with {low_nodes}
nodes at 4,096 positions and {high_nodes} at 32,768; the nodes are summed by matrix products, and the whole takes
{dapo_times:.1f} times as long as GRPO. OPO divides twice, by the group's tokens in its baseline and by the step's, and
pays for every pair of nodes.

A std over thousands of different rewards is a quadrature of its own in each class; at 8,192 positions
([benchmarks/test_shapings.py](../benchmarks/test_shapings.py)), beside 262,144 sampled responses:

{shapings}

Where paths have work ([worlds.py](../benchmarks/worlds.py): as many cells, two states for each of 32 paths), at
32,768 positions and with the law of the policy to be computed first, `drift` takes {work[GRPO]:.1f} times as long for
GRPO, {work[PPO]:.1f} for PPO and {work[DAPO]:.1f} for DAPO, and three steps of `train` {work[train]:.1f} times as long.

Memory for GRPO at 64 cells and 32,768 positions: {policy:.0f} MiB for the policy and what it caches, {result:.0f} MiB
for the result, and at most {peak:.0f} MiB beyond the policy while it is computed. One array [cell, position] is 16 MiB.

## The gradient of one batch needs no loop over tokens

One sampled batch, four cells, median lengths from 1,500 to 4,000 tokens. lossim counts how responses ended and sums
backwards once, O(responses + cells · positions). Its peers do what trainers do, in vectorised numpy: *ragged* over one
flat array of all tokens (`np.repeat`, `np.bincount`, a banded substitution for GAE), *padded* over arrays
[response, position] up to the longest response (a mask and a matrix product; GAE backwards over positions). All three
give the same gradient: every run compares them, to 1e-10. The peers are in
[benchmarks/peers.py](../benchmarks/peers.py).

{batches}

In brackets: how many times as long as lossim. Empty: padded arrays of more than a gibibyte each.

## `train()`

One round each, of [benchmarks/test_training.py](../benchmarks/test_training.py); a run samples or computes every step,
and writes down the numbers of every policy on its way.

{runs}

## `audit()`

The whole of it: 200 redrawn logs, the other settings with 50 each, and the values of the knobs at which the drift
stops; [benchmarks/test_audit.py](../benchmarks/test_audit.py). Beside it the same log read once, without any of these.

{audits}

## `sweep()` and many policies

160 cells of 2 × 4,096, each policy built in the time, PPO with a critic that says 0: milliseconds of a cell
([benchmarks/test_policies.py](../benchmarks/test_policies.py)). `ls.length_drift` reads cells side by side, under 64
kernels or under the policy's own alone; `ls.drift` is asked cell by cell. Beside it one pass over the arrays of a cell.

{sweeps}

How they grow, in one run of [benchmarks/growth.py](../benchmarks/growth.py): cells of such a sweep of `length_drift`
for GRPO, draws of a survey of as many positions, and {shared:,} cells by the processes that share them, on the clock.

{grown}

What bounds a cell: nearly half of it is the policy, whose laws of length are tails of normal distributions, one for
each position of each path; a third is the drift, of which the law of the ends takes most and the kernels a sixth; the
rest is what is told of it. Cells of one shape are read at once, up to 16, so that calls count little.

## A log of ten million responses

Parquet, {log_columns} columns ({log_file:.0f} MB), 1,250,000 prompts with ids anywhere in 60 bits, the responses of a
step of 8,192 in any order; [benchmarks/test_logs.py](../benchmarks/test_logs.py). Reading checks every row and numbers
the prompts. The audit is of DAPO, with 200 redrawn logs and the second reading of the paths.

{logs}

In one process an audit of GRPO takes {one_read:.1f} times as long as `Rollouts.read`, one of GRPO, Dr. GRPO, DAPO, RLOO
and GSPO side by side {five_read:.1f} times; other settings are left out.
What bounds the audit: redrawing the log, which multiplies the counts of each block of prompts by how often it is drawn,
running sums over positions for each redrawn log, and one sorting of the rows by group.

Memory of Python and numpy at the peak: {traced:.0f} MiB while reading, {traced_audit:.0f} MiB in the audit, which sorts
the log by group first; the columns alone are 200 MiB.

## Beside the trainers' own code

All sides in float64 and in one run of [benchmarks/trainers.py](../benchmarks/trainers.py), which stops unless they give
the same numbers to 1e-10. numpy and torch run one thread, XLA as many as it likes. In brackets: how many times as long
as lossim. Versions: {trainer_versions}.

Token-level GAE, λ = {gae_lambda}, of {gae_shape} padded tokens. rlax runs under `jit` and `vmap` on arrays that are on
its device already; on arrays with time as the first axis it need not stride. verl loops over positions.

{gae}

The gradient of one GRPO batch in every hazard logit and path logit. lossim counts how responses ended. verl computes
its advantages, its clipped loss and its mean over responses of means over tokens on padded tensors, and torch
differentiates: down to log probabilities, the output of a model, or on to the logits, through the log-sigmoids and the
lookup that make log probabilities of them.

{gradients}

## Import

`import lossim` alone loads nothing. All of it, when the first of it is asked for, takes {import_time:.0f} ms once
`numpy`, `scipy.linalg` and `scipy.special` are there. matplotlib is imported only when something is drawn.
"""


BOUNDS = """What bounds it: at 512 positions the calls of Python and numpy on small arrays, some 2,000 for a verdict,
whatever the size; at two cells and many positions calls and memory alike; at 64 cells memory.
The change of length takes the credit of each response (law × weight × advantage, by grade), one running sum backwards
for its gradient, and what that does to mean length and to the policy. The verdict adds the gradient at the knots of 64
kernels. What hangs on the policy alone (which way length goes, its Fisher information, both at the knots) is worked out
once for all schemes on it. The rest of the whole result is what each kind of response and of token contributes, every
other mean, how a step scatters, and arrays by position: the reward in effect, the weight of each response."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, all columns but the first to the right."""
    line = "|" + "---|" + "--:|" * (len(head) - 1)
    return "\n".join(["| " + " | ".join(head) + " |", line, *("| " + " | ".join(row) + " |" for row in rows)])


def seconds(t: float) -> str:
    """A time to two or three digits, in ms or s."""
    if t >= 0.9995:
        return f"{t:.2f} s" if t < 9.995 else f"{t:.1f} s"
    ms = 1e3 * t
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms" if ms >= 1 else f"{ms:.2f} ms"


def machine() -> str:
    """What kind of machine this is."""
    found = re.search(r"model name\s*: (.*)", read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+) kB", read("/proc/meminfo"))
    name = found[1].strip() if found else platform.processor() or "an unnamed processor"
    parts = [f"{os.cpu_count()} cores of {name}", f"{platform.system()} {platform.machine()}"]
    return ", ".join([*parts, f"{int(memory[1]) / 2**20:.0f} GiB"] if memory else parts)


def read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""


def run(*command: str, python: str = sys.executable) -> str:
    """Output of a Python command in the repository, one thread."""
    done = subprocess.run([python, *command], cwd=ROOT, env=ONE_THREAD, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def measured(file: str) -> list[dict[str, Any]]:
    """Results of one file of benchmarks, in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measured.json"
        run("-m", "pytest", f"benchmarks/{file}", "--benchmark-only", "-q", "-p", "no:cacheprovider",
            "--benchmark-timer=time.process_time", f"--benchmark-json={out}")
        found: list[dict[str, Any]] = json.loads(out.read_text(encoding="utf-8"))["benchmarks"]
        return found


def passes_table(found: list[dict[str, float]]) -> str:
    """Times of a drift by what is looked at, and in passes over memory."""
    looks = ("length", "verdict", "whole")
    rows = [[f"{times['cells']:.0f} × {times['positions']:,.0f}", f"{1e6 * times['pass']:.1f} µs",
             *(f"{seconds(times[look])} ({times[look] / times['pass']:,.0f})" for look in looks)] for times in found]
    return table(["cells × positions", "one pass", "change of length", "verdict", "whole result"], rows)


def shaping_rows() -> list[list[str]]:
    """Drifts with a shaping by length: exact, with the error that it reports, and sampled, with its standard error."""
    cases: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for one in measured("test_shapings.py"):
        info = one["extra_info"]
        cases.setdefault((info["name"], info["cells"]), {})[info["method"]] = one
    return [[name, str(cells), *(f"{seconds(case[how]['stats']['min'])} ± {case[how]['extra_info']['off']:.0e}"
                                 for how in ("exact", "monte_carlo"))] for (name, cells), case in cases.items()]


def run_rows() -> list[list[str]]:
    """Runs of training: what, how many steps, and how long."""
    return [[one["group"], f"{one['extra_info']['steps']:,}", seconds(one["stats"]["min"])]
            for one in measured("test_training.py")]


def audit_rows() -> list[list[str]]:
    """Audits of one scheme: what, how long, and how many times as long as one reading of the log."""
    cases: dict[tuple[str, int, int], dict[str, float]] = {}
    for one in measured("test_audit.py"):
        info = one["extra_info"]
        case = cases.setdefault((info["preset"], info["responses"], info["max_tokens"]), {})
        case[info["how"]] = one["stats"]["min"]
    return [[preset, f"{responses:,}", f"{max_tokens:,}", seconds(times["whole"]), seconds(times["once"]),
             f"{times['whole'] / times['once']:.0f}"] for (preset, responses, max_tokens), times in cases.items()]


def sweep_rows() -> list[list[str]]:
    """Cells of a sweep: by scheme, how long one takes by what is asked, and one pass over memory."""
    cases: dict[str, dict[str, float]] = {}
    for one in measured("test_policies.py"):
        info = one["extra_info"]
        if "cells" in info:
            each = 1 if info["how"] == "pass" else info["cells"]
            cases.setdefault(info["preset"], {})[info["how"]] = one["stats"]["min"] / each
    return [[preset, *(seconds(times[how]) for how in ("length", "length, one kernel", "drift")),
             f"{1e6 * times['pass']:.1f} µs"] for preset, times in cases.items()]


def grown_table(found: dict[str, Any]) -> str:
    """Times by how many there are, and how long each takes."""
    rows = [[f"{int(count):,} {what}", seconds(t), seconds(t / int(count))]
            for what in ("cells", "draws") for count, t in found[what].items()]
    alone = found["workers"]["0"]
    rows += [[f"{count} process{'es' if count != '1' else ''}" if count != "0" else "in one's own process", seconds(t),
              f"{alone / t:.1f} times as fast"] for count, t in found["workers"].items()]
    return table(["", "time", "each"], rows)


def logged() -> dict[str, Any]:
    """What the section on logs says."""
    found = {one["name"].split("[")[-1].rstrip("]"): one for one in measured("test_logs.py")}
    times = {how: found[how]["stats"]["min"] for how in ("bincount", "pyarrow", "lossim", "by_group", "audit")}
    names = {"bincount": "one pass of `numpy.bincount` over the lengths", "pyarrow": "`pyarrow.parquet.read_table`",
             "lossim": "`Rollouts.read`", "by_group": "`Rollouts.by_group`", "audit": "`audit`"}
    memory = found["test_memory"]["extra_info"]
    one, five = (memory[audit] / memory["read_once"] for audit in ("audit_one", "audit_five"))
    return {"log_columns": found["lossim"]["extra_info"]["columns"], "log_file": memory["file"],
            "one_read": one, "five_read": five, "traced": memory["traced"], "traced_audit": memory["traced_audit"],
            "logs": table(["", "time", "× bincount", "× pyarrow's read"],
                          [[names[how], seconds(t), f"{t / times['bincount']:.0f}", f"{t / times['pyarrow']:.1f}"]
                           for how, t in times.items()])}


def batches() -> dict[tuple[str, int, int], dict[str, Any]]:
    """Best times of the batch benchmarks by (kind, max_tokens, responses), with the number of tokens."""
    cases: dict[tuple[str, int, int], dict[str, Any]] = {}
    for one in measured("test_batches.py"):
        info = one["extra_info"]
        case = cases.setdefault((info["kind"], info["max_tokens"], info["responses"]), {"tokens": info["tokens"]})
        case[info["how"]] = one["stats"]["min"]
    return cases


def batch_rows(cases: dict[tuple[str, int, int], dict[str, Any]]) -> list[list[str]]:
    def beside(case: dict[str, Any], how: str) -> str:
        return f"{seconds(case[how])} ({case[how] / case['lossim']:.0f})" if how in case else ""

    names = {"grpo": "GRPO, 1/T", "gae": "GAE, token-mean"}
    return [[names[kind], f"{max_tokens:,}", f"{responses:,}", f"{case['tokens'] / 1e6:.1f} M",
             seconds(case["lossim"]), beside(case, "ragged"), beside(case, "padded")]
            for (kind, max_tokens, responses), case in sorted(cases.items(), key=lambda x: (x[0][0] == "gae", x[0]))]


def trainers(python: Path) -> dict[str, Any]:
    """What the section on the trainers says."""
    found = json.loads(run("-m", "benchmarks.trainers", "--json", python=str(python)).splitlines()[-1])
    times, names = found["gae"]["seconds"], {"lossim": "`ls.tokens.advantages`", "rlax": "rlax",
                                             "rlax, time first": "rlax, time first", "verl": "verl"}
    return {
        "trainer_versions": ", ".join(f"{name} {found['versions'][name]}" for name in ("verl", "torch", "rlax", "jax")),
        "gae_lambda": found["gae"]["gae_lambda"],
        "gae_shape": f"{found['gae']['responses']:,} × {found['gae']['max_tokens']:,}",
        "gae": table(["", "CPU time", "on the clock"],
                     [[name, *(against(times[side], times["lossim"], kind) for kind in ("cpu", "clock"))]
                      for side, name in names.items()]),
        "gradients": table(
            ["responses", "max_tokens", "tokens", "lossim", "verl, to log probabilities", "verl, to logits"],
            [[f"{one['responses']:,}", f"{one['max_tokens']:,}", f"{one['tokens'] / 1e6:.1f} M",
              *(against(one["seconds"][side], one["seconds"]["lossim"], "cpu")
                for side in ("lossim", "verl, to log-probs", "verl"))] for one in found["gradients"]])}


def against(times: dict[str, float], own: dict[str, float], kind: str) -> str:
    """A time, and in brackets how many times as long as lossim's."""
    ratio = times[kind] / own[kind]
    return seconds(own[kind]) if times is own else f"{seconds(times[kind])} ({ratio:.{0 if ratio >= 9.95 else 1}f})"


def main() -> None:
    python = Path(sys.argv[1]) if sys.argv[1:] else TRAINERS
    if not python.exists():
        raise SystemExit(f"{python} is missing: `make peers` creates it; or name an interpreter that has the trainers")
    trainer_parts = trainers(python)
    found = json.loads(run("-m", "benchmarks.scaling", "--json"))
    sizes = list(found["nodes"])
    drift = table(["scheme", *(f"{int(n):,} positions" for n in sizes), "last / first"],
                  [[name, *(seconds(times[n]) for n in sizes), f"{found['ratio'][name]:.1f}"]
                   for name, times in found["seconds"].items()])
    last = sizes[-1]
    grown = json.loads(run("-m", "benchmarks.growth", "--json"))
    text = PAGE.format(
        machine=machine(), drift=drift, grpo_ratio=found["ratio"]["GRPO"],
        versions=", ".join([f"lossim {version('lossim')}", f"Python {platform.python_version()}",
                            *(f"{name} {version(name)}" for name in ("numpy", "scipy"))]),
        low_nodes=found["nodes"][sizes[0]], high_nodes=found["nodes"][last],
        dapo_times=found["seconds"]["DAPO"][last] / found["seconds"]["GRPO"][last], work=found["work"],
        **found["memory"], passes=passes_table(found["passes"]), bounds=BOUNDS,
        runs=table(["", "steps", "time"], run_rows()),
        shapings=table(["scheme", "cells", "exact, ± its error", "sampled, ± its standard error"], shaping_rows()),
        batches=table(["scheme", "max_tokens", "responses", "tokens", "lossim", "ragged", "padded"],
                      batch_rows(batches())),
        audits=table(["scheme", "responses", "max_tokens", "`audit`", "read once", "× read once"], audit_rows()),
        sweeps=table(["scheme", "`length_drift`", "`length_drift`, own kernel", "`drift`", "one pass"], sweep_rows()),
        shared=grown["shared"], grown=grown_table(grown), **logged(), import_time=1e3 * found["import"],
        **trainer_parts)
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
