"""Compute and draw every figure: ``python figures/regenerate.py [--check [--whole]] [--only NAME]``.

Each figure is a module beside this file with a CLAIM, ``compute() -> dict``, ``draw(numbers) -> Figure`` and
``caption(numbers) -> str``. This script stores numbers, PNG and SVG under ``output/`` and writes README.md and
docs/findings.md from the stored numbers. ``--check`` computes again and lists every number that differs from the
stored one; it writes nothing and ends with status 1 if there is any. A figure of minutes has an ``again(numbers)``
beside its ``compute()``: the stored numbers with a part of them computed again, one that no change of the library
passes by. ``--whole`` checks all of them.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from _style import Numbers, style

HERE = Path(__file__).resolve().parent
OUTPUT = HERE / "output"
FINDINGS = HERE.parent / "docs" / "findings.md"
NAMES = ("reality", "real_runs", "loss_against_length", "effective_reward", "attribution", "drift_against_solve_rate",
         "critic_lambda_map", "map_lambda", "map_cap", "map_group_size", "map_sharing", "map_kl", "drift_by_path",
         "growth_and_shrinkage", "two_phases", "two_phases_with_work", "lambda_and_critic", "stale_groups",
         "audit_and_covariance", "exact_vs_monte_carlo", "scoreboard")
EXACT_TOLERANCE, SAMPLED_TOLERANCE = 1e-9, 1e-6


def module(name: str) -> ModuleType:
    """The module of one figure."""
    for folder in (HERE.parent, HERE):  # what is beside it, and the folders beside figures/
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def stored(name: str) -> Numbers:
    """The numbers that the figure in the repository was drawn from."""
    loaded: Numbers = json.loads((OUTPUT / f"{name}.json").read_text())
    return loaded


def tidy(value: Any) -> Any:
    """The value as JSON holds it: plain Python numbers, 11 significant digits."""
    if isinstance(value, dict):
        return {str(key): tidy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)) or np.ndim(value) > 0:
        return [tidy(item) for item in value]
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    return float(f"{float(value):.11g}")


def differences(new: Any, old: Any, tolerance: float, where: str = "", scale: float = 0.0) -> list[str]:
    """Every leaf where ``new`` and ``old`` disagree.

    A number agrees if it is within ``tolerance`` times the larger of itself and the largest number of its own
    list, so that a rounding error beside large numbers is not taken for a result.
    """
    if isinstance(new, dict) and isinstance(old, dict):
        found = [f"{where}.{key}: only in one of the two" for key in sorted(new.keys() ^ old.keys())]
        for key in new.keys() & old.keys():
            if key != "lossim_version":
                found += differences(new[key], old[key], tolerance, f"{where}.{key}")
        return found
    if isinstance(new, list) and isinstance(old, list):
        if len(new) != len(old):
            return [f"{where}: {len(new)} entries, stored {len(old)}"]
        size = max((abs(x) for x in old if isinstance(x, (int, float)) and math.isfinite(x)), default=0.0)
        return [line for i, (a, b) in enumerate(zip(new, old, strict=True))
                for line in differences(a, b, tolerance, f"{where}[{i}]", size)]
    numeric = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (new, old))
    if numeric and math.isnan(new) and math.isnan(old):
        return []
    if numeric and abs(new - old) <= tolerance * max(abs(new), abs(old), scale, 1e-3):
        return []
    return [] if new == old else [f"{where}: {new!r}, stored {old!r}"]


def write(name: str, numbers: Numbers) -> str:
    """Store numbers and pictures; return what was written, with sizes."""
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / f"{name}.json").write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n")
    figure = module(name).draw(numbers)
    with style():
        figure.savefig(OUTPUT / f"{name}.png", metadata={"Software": None})
        figure.savefig(OUTPUT / f"{name}.svg", metadata={"Date": None})
    sizes = [f"{kind} {(OUTPUT / f'{name}.{kind}').stat().st_size / 1000:.0f} kB" for kind in ("json", "png", "svg")]
    return ", ".join(sizes)


def wrapped(paragraph: str) -> str:
    """A paragraph in lines that a reader of the source can follow."""
    return textwrap.fill(paragraph, 110, break_long_words=False, break_on_hyphens=False)


def readme() -> str:
    """figures/README.md, from the claims and the stored numbers."""
    parts = ["# Figures", "",
             "One claim and one script each. `python figures/regenerate.py` computes all numbers and draws all",
             "pictures again, `--check` compares the numbers with the stored ones (of two figures that take minutes",
             "a part of them; `--whole` all), `--only NAME` does one figure.",
             "Numbers are in `output/*.json`, with the settings they were computed from; cited data in `data/`.",
             "This page is written by the same script."]
    for name in NAMES:
        claim, caption = module(name).CLAIM, module(name).caption(stored(name))
        parts += ["", f"## {claim}", "", f"![{claim}](output/{name}.png)", "", wrapped(caption), "",
                  f"Script: [`{name}.py`]({name}.py); numbers: [`{name}.json`](output/{name}.json); "
                  f"vector version: [`{name}.svg`](output/{name}.svg)."]
    return "\n".join(parts) + "\n"


def pages() -> dict[Path, str]:
    """What is written from stored numbers, by file."""
    module("scoreboard")  # its neighbours can be imported from here on
    from findings.page import page

    return {HERE / "README.md": readme(), FINDINGS: page(stored("scoreboard"))}


def checked(name: str, whole: bool = False) -> tuple[list[str], float]:
    """Where the numbers of a figure differ from the stored ones, and the seconds it took to compute them again."""
    start = time.perf_counter()
    figure, old = module(name), stored(name)
    again = None if whole else getattr(figure, "again", None)
    numbers = tidy(again(old) if again else figure.compute())
    tolerance = EXACT_TOLERANCE if figure.EXACT else SAMPLED_TOLERANCE
    return differences(numbers, old, tolerance), time.perf_counter() - start


def each_checked(names: list[str], whole: bool) -> Iterator[tuple[str, tuple[list[str], float]]]:
    """Every figure with what differs; several on all cores, the last first, since they take longest."""
    if len(names) == 1:
        yield names[0], checked(names[0], whole)
        return
    with ProcessPoolExecutor() as pool:
        yield from zip(names[::-1], pool.map(checked, names[::-1], repeat(whole)), strict=False)


def check(names: list[str], whole: bool) -> int:
    """Compare figures with their stored numbers; how many numbers differ."""
    wrong = 0
    for i, (name, (found, seconds)) in enumerate(each_checked(names, whole), 1):
        report = f"{len(found)} numbers differ" if found else "agrees"
        print(f"[{i}/{len(names)}] {name} ... {report}  ({seconds:.1f} s)", *found, sep="\n    ", flush=True)
        wrong += len(found)
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Compute and draw the figures.")
    parser.add_argument("--check", action="store_true", help="compare with the stored numbers and write nothing")
    parser.add_argument("--whole", action="store_true", help="check all numbers, of figures that take minutes too")
    parser.add_argument("--only", metavar="NAME", choices=NAMES, help="one figure: " + ", ".join(NAMES))
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else list(NAMES)
    if options.check:
        wrong = check(names, options.whole)
        current = True
        for path, text in pages().items():
            alike = path.read_text(encoding="utf-8") == text
            current &= alike
            print(path.name, "is current" if alike else "differs from the stored numbers; run figures/regenerate.py")
        return int(bool(wrong) or not current)
    for i, name in enumerate(names, 1):
        print(f"[{i}/{len(names)}] {name} ...", end=" ", flush=True)
        start = time.perf_counter()
        report = write(name, tidy(module(name).compute()))
        print(f"{report}  ({time.perf_counter() - start:.1f} s)")
    print("wrote", *(f"output/{name}.{{json,png,svg}}" for name in names), sep="\n    ")
    if all((OUTPUT / f"{name}.json").exists() for name in NAMES):
        for path, text in pages().items():
            path.write_text(text, encoding="utf-8")
            print("   ", path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
