"""What is benchmarked: one policy of many cells, one batch of many responses."""

from __future__ import annotations

import numpy as np

import lossim as ls

__all__ = ["batch_policy", "many_cells", "with_work"]


def many_cells(max_tokens: int, *, cells: int = 64) -> ls.Policy:
    """Prompt classes with solve rates from 0.02 to 0.98, a right and a wrong path each, lognormal lengths.

    Medians are between a twelfth and a quarter of ``max_tokens``; about 3 % of the responses are cut.
    """
    rates = np.linspace(0.02, 0.98, cells // 2)
    classes = []
    for i, rate in enumerate(rates):
        stretch = max_tokens * (1.0 + i / len(rates))
        paths = [ls.Path("right", probability=float(rate), length=ls.lengths.lognormal(median=stretch / 12, sigma=0.7),
                         p_correct=1.0),
                 ls.Path("wrong", probability=float(1.0 - rate), p_correct=0.0,
                         length=ls.lengths.lognormal(median=stretch / 8, sigma=0.8))]
        classes.append(ls.PromptClass(f"solved {rate:.0%}", weight=1.0 / len(rates), paths=paths))
    return ls.Policy(classes, max_tokens=max_tokens)


def with_work(max_tokens: int, *, cells: int = 64) -> ls.Policy:
    """Prompt classes with one path each on which an answer takes work: as many cells, two states for each path."""
    classes = []
    for i in range(cells // 2):
        stretch = max_tokens * (1.0 + 2 * i / cells)
        work = ls.Work(answer=ls.lengths.lognormal(median=stretch / 16, sigma=0.5), never=0.3,
                       done=ls.lengths.geometric(mean=max_tokens / 64))
        path = ls.Path("thinks", length=ls.lengths.lognormal(median=stretch / 8, sigma=0.8), p_correct=0.0, work=work)
        classes.append(ls.PromptClass(f"takes {stretch / 16:.0f}", weight=2.0 / cells, paths=[path]))
    return ls.Policy(classes, max_tokens=max_tokens)


def batch_policy(max_tokens: int) -> ls.Policy:
    """Two classes with two paths each; median lengths 1,500 to 4,000 tokens whatever the cut."""
    def path(name: str, probability: float, median: float, p_correct: float) -> ls.Path:
        return ls.Path(name, probability=probability, length=ls.lengths.lognormal(median=median, sigma=0.7),
                       p_correct=p_correct)

    return ls.Policy([
        ls.PromptClass("often", weight=0.5, paths=[path("right", 0.7, 1500, 0.95), path("wrong", 0.3, 2500, 0.05)]),
        ls.PromptClass("seldom", weight=0.5, paths=[path("right", 0.2, 2500, 1.0), path("wrong", 0.8, 4000, 0.0)])],
        max_tokens=max_tokens)
