"""``lossim watch``: beside a run, from the responses that it writes into a folder."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections import Counter
from typing import Any

from lossim._cli.answers import Answer, answered, given, refuse
from lossim._cli.logs import reading_options
from lossim._cli.schemes import Asked, one_scheme
from lossim._support import checks
from lossim.live import Folder, Watch

__all__ = ["watch_folder"]

WAYS = {1.0: "longer", -1.0: "shorter", 0.0: "not told"}
EVERY = 30.0
Step = tuple[int, dict[str, float]]


def watch_folder(args: Namespace) -> Answer:
    """``lossim watch``."""
    asked = one_scheme(args, "watch")
    refuse(args, ("reward", "shaping"), "is for lossim audit; watch takes what was paid as it is logged")
    refuse(args, ("format", "paths", "needed"), "is for lossim audit; watch reads a folder as it grows")
    every = EVERY if args.every is None else checks.positive("--every", args.every)
    cap = args.max_tokens if args.max_tokens is not None or asked.config is None else asked.config.max_tokens
    watch = Watch(asked.schemes[0], max_tokens=cap, until=args.until, budget=None, correct_above=args.correct_above,
                  **given(window=args.window, replicates=args.replicates))
    folder = Folder(args.folder, watch, max_tokens=cap, **reading_options(args))
    told: list[Step] = []
    try:
        while not args.once:
            _tell(folder.look(), folder, told, args)
            time.sleep(every)
    except KeyboardInterrupt:
        pass
    _tell(folder.look(final=True), folder, told, args)
    if args.once and not told:
        checks.fail("folder", args.folder, "must hold responses that can be read, with --once",
                    "what went wrong is said above" if watch.errors else "without it, watch waits for them")
    return _summary(folder, told, asked)


def _tell(steps: list[Step], folder: Folder, told: list[Step], args: Namespace) -> None:
    """A line for each step."""
    for step, found in steps:
        told.append((step, found))
        if args.json:
            print(json.dumps({"step": step, "verdict": folder.watch.verdict, **found}, allow_nan=False), flush=True)
        else:
            print(f"step {step:,}: {_said(found, folder.watch)}", flush=True)


def _said(found: dict[str, float], watch: Watch) -> str:
    """A step in words: what came, the verdict, and where it leads."""
    def known(name: str, words: str) -> list[str]:
        value = found.get(f"lossim/{name}")
        return [] if value is None else [words.format(value)]

    parts = [", ".join([*known("mean_length", "{:,.4g} tokens"), *known("cut_share", "{:.1%} cut"),
                        *known("dead_groups", "{:.0%} of groups dead")])]
    if not parts[0]:
        return "no answer, what went wrong is counted"
    parts.append("" if watch.finding is None else watch.finding.verdict)
    ahead = [*known("forecast", "{:,.4g}"), *known("forecast_low", "{:,.4g}"), *known("forecast_high", "{:,.4g}")]
    if len(ahead) == 3:
        parts.append(f"at step {found['lossim/forecast_step']:,.0f} likely {ahead[0]} tokens ({ahead[1]} to "
                     f"{ahead[2]})")
    parts += known("stop_penalty", "stopped by a penalty of {:.3g} per token")
    return "; ".join(part for part in parts if part)


def _summary(folder: Folder, told: list[Step], asked: Asked) -> Answer:
    """What was seen, when it is over."""
    watch = folder.watch
    ways = Counter(found.get("lossim/way", 0.0) for _, found in told)
    lengths = [found["lossim/mean_length"] for _, found in told if "lossim/mean_length" in found]
    lines = [f"seen     {len(told):,} steps" + (f", {told[0][0]:,} to {told[-1][0]:,}" if told else "")]
    if folder.passed_over:
        lines.append(f"         {folder.passed_over:,} steps before the first of these are in its window, or before it")
    if lengths:
        lines.append(f"length   {lengths[0]:,.4g} to {lengths[-1]:,.4g} tokens, means of windows of up to "
                     f"{watch.window} steps")
        lines.append("way      " + ", ".join(f"{name} in {ways[way]}" for way, name in WAYS.items()))
    notes = list(asked.notes)
    if folder.left_out:
        notes.append(f"{folder.left_out:,} rows could not be read and are left out; lossim audit says why")
    if watch.errors:
        notes.append(f"{watch.errors:,} errors; the first was said when it came")
    weights = [] if asked.config is None else [each.value for each in asked.config.approximated
                                               if each.key == "reward_weights"]
    if weights and not folder.weighed:
        notes.append(f"the config weighs rewards by {weights[0]}, and columns are summed as they are; weigh them with "
                     "--column reward=WEIGHT*NAME")
    last: dict[str, Any] = told[-1][1] if told else {}
    verdict = watch.verdict or f"{watch.scheme.name}: nothing was seen"
    return answered({"verdict": [verdict], "seen": lines}, None, asked.config, notes, verdict=verdict,
                    steps=[step for step, _ in told], metrics=last, errors=watch.errors, left_out=folder.left_out)
