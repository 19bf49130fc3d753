"""Forecasts of simulated runs whose kernel and learning rate the forecaster does not know: how far off they are.

    python benchmarks/forecasts.py --runs 60 --seed 1000 --output docs/forecasts.json

Each run has a start, a scheme, coordinates and a rate drawn at random and is sampled batch by batch. The forecaster
sees five steps of responses. Its error 20 and 40 steps later is compared with that of simple rules: length stays, at
the mean of the steps seen or at the last of them, or goes on along the straight line through them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import lossim as ls
from lossim.curves import slope

SEEN = 5
HORIZONS = (20, 40)
SIZES = (128, 512, 2048)
LEVELS = (0.8, 0.9)
CAP = 1024
STARTS = ("one path", "two paths", "with work")


def hidden_start(kind: str, rng: np.random.Generator) -> ls.Policy:
    """A start of a kind: lengths of a hundred or two tokens, solved a fifth to two thirds of the time."""
    rate = rng.uniform(0.2, 0.65)
    right, wrong = np.exp(rng.uniform(np.log(60), np.log(220), size=2))
    sigma = rng.uniform(0.4, 0.8)
    law = ls.lengths.lognormal
    if kind == "two paths":
        return ls.policies.two_paths(solve_rate=rate, right=law(median=right, sigma=sigma), max_tokens=CAP,
                                     wrong=law(median=wrong, sigma=sigma))
    if kind == "with work":
        return ls.policies.reasoning(accuracy=rate, mean_right=right + 30.0, mean_wrong=wrong + 30.0, max_tokens=CAP,
                                     premature=rng.uniform(0.1, 0.7), verbosity=0.2 * right)
    steep, middle = rng.uniform(-1.5, 1.5), np.log(right)

    def graded(t: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-np.log(rate / (1.0 - rate)) - steep * (np.log(t) - middle)))

    path = ls.Path("all", length=law(median=right, sigma=sigma), p_correct=graded)
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=CAP)


def hidden_coordinates(policy: ls.Policy, rng: np.random.Generator) -> Any:
    """Features with bins and skill, or a kernel as numbers with cross terms between paths and stops."""
    sharing = rng.uniform(0.2, 1.0)
    path_scale = 3.0 * np.exp(1.2 * rng.normal())
    if rng.random() < 0.5:
        skill = 0.0 if rng.random() < 0.5 else rng.uniform(0.0, 3.0)
        return ls.coordinates(bins=int(rng.integers(1, 7)), sharing=sharing, path_scale=path_scale, skill_scale=skill)
    cells = len(policy.cell_names)
    odds = policy.layout.paths - 1
    knots = np.geomspace(1.0, CAP, 6)
    apart = np.log(knots)[:, None] - np.log(knots)
    along = np.exp(-0.5 * (apart / rng.uniform(1.5, 6.0)) ** 2)
    between = sharing + (1.0 - sharing) * np.eye(cells)
    stops = np.einsum("cd,ij->cidj", between, along)
    paths = path_scale * (0.5 + 0.5 * np.eye(odds))
    cross = 0.025 * np.sqrt(path_scale) * rng.choice([-1.0, 1.0], size=(odds, cells))[:, :, None] * np.ones(6)
    return ls.kernel(stops, positions=knots, paths=paths, cross=cross) if odds else ls.kernel(stops, positions=knots)


def hidden_scheme(size: int, rng: np.random.Generator) -> ls.Scheme:
    """One of five schemes, with so many responses a step."""
    made = [ls.schemes.grpo(), ls.schemes.dr_grpo(), ls.schemes.dapo(), ls.schemes.rloo(),
            ls.schemes.ppo(gae_lambda=0.95)][int(rng.integers(5))]
    group = 1 if made.group_size == 1 else 8
    return replace(made, group_size=group, prompts_per_step=size // group)


def the_log(run: ls.Training, size: int, rng: np.random.Generator) -> ls.Rollouts:
    """The responses of the steps that are seen, in groups of eight."""
    drawn = [run.policy_at(step).sample(rng, prompts=size // 8, group_size=8) for step in range(SEEN)]
    columns: dict[str, Any] = {name: np.concatenate([getattr(each, name) for each in drawn])
               for name in ("lengths", "rewards", "truncated", "correct")}
    prompts = np.concatenate([each.prompt_ids + size * step for step, each in enumerate(drawn)])
    return ls.Rollouts(**columns, prompt_ids=prompts, steps=np.repeat(np.arange(SEEN), size))


def simulated(size: int, seed: int) -> tuple[ls.Scheme, ls.Rollouts, ls.Training, np.random.Generator, dict[str, Any]]:
    """A run that nobody knows, and its log."""
    rng = np.random.default_rng((size, seed))
    kind = STARTS[seed % 3]
    policy = hidden_start(kind, rng)
    policy = replace(policy, coordinates=hidden_coordinates(policy, rng))
    scheme = hidden_scheme(size, rng)
    nats = float(np.exp(rng.uniform(np.log(1e-7), np.log(3e-4))))
    run = ls.train(scheme, policy, steps=SEEN - 1 + max(HORIZONS), method="stochastic", rng=rng,
                   pace=ls.pace(kl_per_step=nats))
    about = {"size": size, "seed": seed, "start": kind, "scheme": scheme.name, "nats": nats}
    return scheme, the_log(run, size, rng), run, rng, about


def judged(size: int, seed: int) -> dict[str, Any]:
    """One run: what happened, what was forecast, and what simple rules said, as parts of the length that was seen."""
    scheme, log, run, rng, about = simulated(size, seed)
    if len(run.length) <= SEEN - 1 + max(HORIZONS):
        return about | {"ended": True}
    result = ls.forecast(scheme, log, steps=max(HORIZONS), max_tokens=CAP)
    curves = ls.Curves.of(log)
    seen = float(curves.length.mean())
    rise, _ = slope(curves.steps, curves.length)
    bands = {level: result.band(level) for level in LEVELS}
    rows = []
    for ahead in HORIZONS:
        at = SEEN - 1 + ahead
        true = float(run.length[at, 0])
        drawn = float(run.policy_at(at).sample(rng, prompts=size // 8, group_size=8).lengths.mean())
        guesses = {"forecast": float(result.length[ahead - 1]), "stays": seen, "last": float(curves.length[-1]),
                   "line": seen + rise * (at - float(curves.steps.mean()))}
        rows.append({"ahead": ahead, "true": true / seen - 1.0,
                     **{name: (guess - true) / seen for name, guess in guesses.items()},
                     **{f"in {level}": bool(low[ahead - 1] <= drawn <= high[ahead - 1])
                        for level, (low, high) in bands.items()},
                     "width": float(bands[0.8][1][ahead - 1] - bands[0.8][0][ahead - 1]) / seen})
    return about | {"decided": result.decided, "right way": bool((result.longer[-1] > 0.5) == (true > seen)),
                    "signal": result.signal, "rows": rows}


def summary(runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """For each size and horizon: rms errors, coverage, and how many forecasts told no direction."""
    for size in SIZES:
        mine = [run for run in runs if run["size"] == size and "rows" in run]
        if not mine:
            continue
        decided = [run for run in mine if run["decided"]]
        for number, ahead in enumerate(HORIZONS):
            rows = [run["rows"][number] for run in mine]

            def rms(name: str, rows: list[dict[str, Any]] = rows) -> float:
                return float(np.sqrt(np.mean([row[name] ** 2 for row in rows])))

            yield {"responses": size, "ahead": ahead, "runs": len(rows),
                   **{name: rms(name) for name in ("true", "forecast", "stays", "last", "line")},
                   **{f"in {level}": float(np.mean([row[f"in {level}"] for row in rows])) for level in LEVELS},
                   "width": float(np.median([row["width"] for row in rows])),
                   "no direction": 1.0 - len(decided) / len(mine),
                   "right way": float(np.mean([run["right way"] for run in decided])) if decided else float("nan")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="runs of each size")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    cases = [(size, args.seed + number) for number in range(args.runs) for size in SIZES]
    runs = []
    with ProcessPoolExecutor(args.workers) as pool:
        for run in pool.map(judged, *zip(*cases, strict=True)):
            runs.append(run)
            if args.output:  # what is done is kept
                args.output.write_text(json.dumps({"summary": list(summary(runs)), "runs": runs}, indent=1) + "\n")
    for row in summary(runs):
        print("  ".join(f"{name} {value:.3g}" for name, value in row.items()))


if __name__ == "__main__":
    main()
