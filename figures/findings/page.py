"""docs/findings.md, from the entries and the stored answers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import lossim as ls
from findings import FINDINGS, OUT_OF_SCOPE, Finding, common
from findings.lacking import LACKING
from findings.parts import Of
from findings.rules import BASELINES, CONTRADICTED, DRAWS, GROUPS, PREDICTED, verdict

Row = dict[str, Any]
WIDTH = 120

TITLES = {"grew": "Runs that grew", "shrank": "Runs that shrank", "pair: first longer": "Pairs, the first longer",
          "pair: second longer": "Pairs, the second longer", "flat or alike": "Flat, or alike"}
SHARED = {"ratio": common.RATIO, "after": common.AFTER, "spread": common.SPREAD, "premature": common.EARLY_BASE,
          "learned": common.LEARNED, "bias": common.BIAS, "sees": common.SEES, "whiten": common.WHITEN,
          "mean_over": common.MEAN_OVER, "gone": common.GONE, "pace": common.PACE}
WORDS = {"premature": "premature, base models"}

INTRODUCTION = """\
# Published findings

Is the model any good? Here are {count} things that published runs say about response length, each put to the model as
a question that it can get wrong. Of these {predicted} are **predicted**, {depends} **depend** on something that the
source does not tell, and {contradicted} are **contradicted**.

![The share of draws that say what was observed, by finding](../figures/output/scoreboard.png)

This page is written by `python figures/regenerate.py`.

## How to read it

- **A question.** A single run: did its responses get longer or shorter? A pair: which of two runs, alike but for one
  setting, ends with the longer responses? The model answers by one step of the loss from the start of the run, or
  after a phase where the source tells what followed one.
- **Draws.** Sources tell a few numbers: mean length, accuracy, the cap, sometimes how much longer wrong responses are.
  All else is a range with a reason, and {draws} starts are drawn from all ranges together, each with a kernel of the
  family [`ls.kernels()`](model.md#how-sure-a-sign-is). The share of draws that say what was observed decides: from 90
  % on it is predicted, below 10 % contradicted, and in between it depends; on what most, is named.
- **Before any answer.** Settings, ranges, reasons and these rules were committed before the first answer was computed,
  and no range was changed since; the history of `figures/findings/` shows it.
- **Simple rules beside it**, on the same draws and right by the same share: the sign of Cov(A, T), advantage against
  length; always grows; towards the mean length of right responses. Of a pair with one start the last two say nothing.
- **Grades** of the sources: A stands in the text, a table or code; B is read off a figure; C comes from a secondary
  summary; D is an issue thread or an informal run.

## Counts

"""

SIZES = """\
## Sizes

How far a run goes hangs on how far its steps go, which no loss tells ([forecasting.md](forecasting.md)). So the two
columns are not the same number: what was observed is the change over a whole run, and the model's is that of a step of
0.01 nats at the start, its 5, 50 and 95 % quantiles over the draws, both in hundredths of the length. The last column
is how many such steps in a straight line the observed change is, at the median, where the sign is right. It cannot
tell where a run turns, or what collapses and explodes.

"""

MECHANISM = """\
## By which mechanism

A step of 0.01 nats taken apart, the mean of the first draws: through the tokens of right, wrong and cut responses
(whether they stop or go on), and through which path is chosen; and what it buys, [needed and free](model.md#responses)
length. In hundredths of the sum of the absolute values of the first four; of a pair it is the difference of the two
steps. Predicted findings only.

"""

RANGES = """\
## Ranges and their reasons

What hardly any source tells is the same everywhere:

"""


def page(numbers: dict[str, Any]) -> str:
    """The whole page."""
    rows = {row["id"]: row for row in numbers["findings"]}
    verdicts = [row["verdict"] for row in rows.values()]
    parts = [INTRODUCTION.format(count=len(rows), draws=DRAWS,
                                 **{each: verdicts.count(each) for each in ("predicted", "depends", "contradicted")}),
             *_counts(numbers["counts"]), _against_rules(rows)]
    for name in GROUPS:
        found = [finding for finding in FINDINGS if rows[finding.id]["group"] == name]
        parts += [f"\n## {TITLES[name]}\n\n", *_findings(found, rows)]
    parts += ["\n", *_equal_steps(rows), *_lacking(), MECHANISM, *_mechanisms(rows), "\n", SIZES, *_sizes(rows), "\n",
              "## Out of scope\n\n", *_bullets(OUT_OF_SCOPE), "\n", *_limits(numbers, rows), RANGES, *_ranges()]
    return "".join(parts).rstrip() + "\n"


def _table(heads: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    heads = list(heads)
    return ["| " + " | ".join(cells) + " |\n" for cells in (heads, ["---"] * len(heads), *map(list, lines))]


def _counts(counts: dict[str, Row]) -> list[str]:
    """How many of each group are right, for the model and the simple rules."""
    lines = []
    for name in GROUPS:
        row = counts[name]
        lines.append([TITLES[name].lower(), str(row["findings"]), f"**{row['predicted']}**", str(row["depends"]),
                      str(row["contradicted"]), *(str(row["baselines"][rule]) for rule in BASELINES)])
    sums = [sum(int(line[place].strip("*")) for line in lines) for place in range(1, 5 + len(BASELINES))]
    lines.append(["all", str(sums[0]), f"**{sums[1]}**", *map(str, sums[2:])])
    return _table(["group", "findings", "predicted", "depends", "contradicted", *BASELINES], lines)


def _against_rules(rows: dict[str, Row]) -> str:
    """Single runs, right and wrong by the same shares: a rule that is sure of itself is often both."""
    singles = [rows[finding.id] for finding in FINDINGS if finding.kind == "single" and finding.expected]
    told = [f"the model {sum(row['verdict'] == 'predicted' for row in singles)} and "
            f"{sum(row['verdict'] == 'contradicted' for row in singles)}"]
    for rule in BASELINES:
        shares = [row["baselines"][rule] for row in singles]
        told.append(f"{rule} {sum(each >= PREDICTED for each in shares)} and "
                    f"{sum(each < CONTRADICTED for each in shares)}")
    return "\n" + textwrap.fill(
        f"Of the {len(singles)} single runs, right in at least 90 % of draws and in less than 10 %: {'; '.join(told)}. "
        "A rule that is nearly always sure is right where its one answer fits: Cov(A, T) says shorter of nearly every "
        "start in which wrong responses are the longer ones, and always grows says nothing else. So each of them has "
        "more of one group than the model, and next to none of the other.", WIDTH) + "\n\n" + _by_shares(singles)


def _by_shares(singles: list[Row]) -> str:
    """What counts leave out: which side most draws are on, and how far a share is from what was observed."""
    told = []
    for name in ("the model", *BASELINES):
        shares = [row["share"] if name == "the model" else row["baselines"][name] for row in singles]
        error = sum((1.0 - share)**2 for share in shares) / len(shares)
        told.append(f"{name} {sum(share > 0.5 for share in shares)} and {error:.2f}")
    return textwrap.fill(
        "Added after these counts were seen, since they leave out which side a doubt leans to. Single runs of which "
        f"most draws say what was observed, and the mean square of the share that does not: {'; '.join(told)}. "
        "A share of one half, whatever the run, has 0.25.", WIDTH) + "\n"


def _findings(found: list[Finding], rows: dict[str, Row]) -> list[str]:
    """A group's table."""
    lines = []
    for finding in sorted(found, key=lambda finding: -rows[finding.id]["share"]):
        row = rows[finding.id]
        rules = " · ".join(_percent(row["baselines"][rule]) for rule in (BASELINES[0], BASELINES[2]))
        decides = f"`{row['decides']}` {_percent(row['decides_share'])}" if row["decides"] else ""
        lines.append([f"{finding.id} [{finding.source.name}]({finding.source.url}), {finding.grade}", _cell(finding),
                      finding.observed, f"{100 * row['share']:.1f} % **{row['verdict']}**", decides, rules])
    return _table(["finding", "setting", "observed", "draws that agree", "hangs most on", "Cov · towards"], lines)


def _cell(finding: Finding) -> str:
    """The setting in a line, with what is asked where that is not the first step, or not mean length."""
    more = [] if finding.about == "mean length" else [finding.about]
    more += [finding.when] if finding.when != "first step" else []
    more += [finding.declined] if finding.declined else []
    return finding.setting + (f" ({'; '.join(more)})" if more else "")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _equal_steps(rows: dict[str, Row]) -> list[str]:
    """Pairs whose verdict is another one at an equal learning rate."""
    other = [(finding, rows[finding.id]) for finding in FINDINGS if finding.kind == "pair" and finding.expected
             and verdict(rows[finding.id]["share_per_step"]) != verdict(rows[finding.id]["share"])]
    told = "; ".join(f"{finding.id} {_percent(row['share'])} and {_percent(row['share_per_step'])}"
                     for finding, row in other) or "none"
    return [textwrap.fill(
        "Pairs are compared at equal KL: a step of 0.01 nats each. At an equal learning rate, as a trainer without "
        f"Adam would have it, the verdict is another one for (equal KL first): {told}.", WIDTH), "\n\n"]


def _lacking() -> list[str]:
    return ["## What the model lacks\n\n", *_bullets(LACKING), "\n"] if LACKING else []


def _bullets(told: dict[str, str]) -> list[str]:
    return [_bullet(f"**{name}**: {text}.") for name, text in told.items()]


def _bullet(text: str) -> str:
    return textwrap.fill(f"- {text}", WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"


def _mechanisms(rows: dict[str, Row]) -> list[str]:
    """What predicted numbers are made of."""
    lines = []
    names = ("right", "wrong", "cut", "paths", "needed", "free")
    for finding in FINDINGS:
        row = rows[finding.id]
        parts = row["mechanism"]
        scale = sum(abs(parts[name]) for name in names[:4]) if parts else 0.0
        if row["verdict"] == "predicted" and scale > 0:
            lines.append([f"{finding.id} {finding.label}", *(f"{100 * parts[name] / scale:+.0f}" for name in names)])
    return _table(["finding", "right responses", "wrong", "cut", "paths", "needed", "free"], lines)


def _sizes(rows: dict[str, Row]) -> list[str]:
    """Observed changes beside the model's."""
    lines = []
    for finding in FINDINGS:
        if not finding.sizes or finding.about not in ("mean length", "mean length, relative"):
            continue
        row = rows[finding.id]
        low, middle, high = row["percent"] if finding.about == "mean length" else row["quantiles"]
        changes = [_change(finding, pair) for pair in finding.sizes]
        steps = [f"{change / middle:.0f}" if change * middle > 0 else "" for change in changes]
        lines.append([f"{finding.id} {finding.label}", ", ".join(f"{change:+.0f}" for change in changes),
                      f"{low:+.1f} / {middle:+.1f} / {high:+.1f}", ", ".join(dict.fromkeys(filter(None, steps)))])
    return _table(["finding", "observed, %", "model in 0.01 nats, %", "steps"], lines)


def _change(finding: Finding, pair: tuple[float, float]) -> float:
    """A run's change, or how much longer the first of a pair is than the second, in hundredths."""
    one, other = pair
    return 100.0 * (other / one - 1.0) if finding.kind == "single" else 100.0 * (one / other - 1.0)


def _limits(numbers: dict[str, Any], rows: dict[str, Row]) -> list[str]:
    """What stands in the way of reading too much into it."""
    failed = {name: sum(row["failed"].values()) for name, row in rows.items() if row["failed"]}
    most = max(failed, key=lambda name: failed[name], default="")
    finer = "; ".join(f"{row['id']} in units of {row['units'][0]:g} and {row['units'][1]:g} tokens: "
                      f"{_percent(row['shares'][0])} and {_percent(row['shares'][1])}" for row in numbers["finer"])
    said = [
        "A share of draws is no probability but for whoever believes in the ranges. Wide ranges make a model hard to "
        "contradict: `depends` is no success, and counts as none.",
        "Several findings come from one run or one paper, and are no independent tests; singles that belong to a pair "
        "least of all.",
        "Which findings get published is no sample of all runs, and what people look at is what surprised them.",
        "The first step of a loss is held against the end of a run, where critics, prompts and the model itself are "
        "others.",
        "Lengths are counted in units of some tokens, λ and γ with them, since the model has no length of its own. "
        f"{finer}.",
        f"Of {DRAWS * len(rows):,} draws {sum(failed.values()):,} had no policy" + (
            f", most of them of {most} ({failed[most]})." if most else "."),
    ]
    return ["## Limits\n\n", *map(_bullet, said), "\n"]


def _ranges() -> Iterator[str]:
    """All ranges with their reasons, those that are shared once."""
    shared = {WORDS.get(name, name): each for name, each in SHARED.items()}
    yield from _given(shared | {"premature, reasoners": common.EARLY_REASONER})
    seen: dict[tuple[tuple[str, str], ...], list[Finding]] = {}
    for finding in FINDINGS:
        key = tuple(sorted((name, str(each)) for name, each in finding.given.items()))
        seen.setdefault(key, []).append(finding)
    known = {id(each) for each in (*SHARED.values(), common.EARLY_REASONER)}
    for found in seen.values():
        names = ", ".join(finding.id for finding in found)
        yield f"\n**{names}** ({found[0].start.__name__.replace('_', ' ')})\n\n"
        yield from _given({name: each for name, each in found[0].given.items() if id(each) not in known})


def _given(given: dict[str, Of]) -> Iterator[str]:
    for name, each in given.items():
        yield _bullet(f"{name}: {_law(each.law)}; {each.why}")


def _law(law: Any) -> str:
    """A range in words."""
    if isinstance(law, tuple):
        return f"{law[0]:g} to {law[1]:g}"
    if isinstance(law, list):
        return " or ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in law)
    if isinstance(law, type(ls.log_range(1.0, 2.0))):
        return f"{law.low:g} to {law.high:g} (log)"
    return f"{law:,g}" if isinstance(law, (int, float)) and not isinstance(law, bool) else str(law)
