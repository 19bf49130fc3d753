"""Write docs/presets.md from the code itself: ``python docs/make_presets.py``.

What is exact, what needs sampling and what works on a batch is found by trying; what was compared with a trainer's own
code is found by reading tests/peers. Names of trainers' functions and keys, and the prose, are in the two modules
beside this one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from presets_rows import NONE, ROWS, Row
from presets_text import ENTRIES, LEFT_OUT, NUMBERS, Entry

import lossim as ls
from lossim import references, schemes
from lossim.schemes import short

HERE = Path(__file__).parent
TARGET = HERE / "presets.md"
PEERS = HERE.parent / "tests" / "peers"
SLOTS = ("advantage", "surrogate", "aggregation")

INTRODUCTION = """\
# Presets and slots

What lossim computes, how, and where trainers have it: first the presets of `lossim.schemes`, as they come without
arguments, then everything that fills a slot, preset or not. This page is written by `docs/make_presets.py` from the
code, and a test compares the two.

A preset follows the paper. Trainers use the same names for something else often enough to matter: see
[the same name elsewhere](#the-same-name-elsewhere). What lossim does not have is [left out](#left-out) by name.

## Presets

- **reward**: of a correct and of an incorrect response; a truncated one is paid by its grade.
- **equal groups**: what becomes of groups whose rewards are all equal. **truncated**: what becomes of cut responses.
- **step**: prompts × responses per prompt.
- KL is 0 unless given; `grpo` puts it in the loss (k3), `rloo` and `reinforce_plus_plus` in the reward (k1).
"""

COMPUTED = """\
### How presets are computed

All found by trying.

- **token level**: `ls.tokens.loss(scheme, batch)`.
- **on-policy**: `ls.drift(scheme, policy)`; **off-policy**: the same with `old_policy=`. A sum and a quadrature are
  both exact, the latter to the error it reports. "Large batch" is exact in the limit of one.
- **Monte Carlo**: `ls.drift(..., method="monte_carlo")`, with and without `old_policy=`.
- **compared**: which `tests/peers/test_*.py` hold advantage, surrogate and aggregation of the preset, or what is in the
  row, against a trainer's own code: `verl`, `trl` and `rlax` at the token level, `expected` in `ls.drift`; found by
  the names in those files. Everything else about trainers on this page was read, not run.

`dapo` with its overlong penalty: on-policy {soft}, Monte Carlo {sampled}.
"""

FOUND = """\
### Where presets are found

Put together from the rows of their slots below. Functions of verl without a module are in
`verl/trainer/ppo/core_algos.py`, those of TRL in `trl/trainer/grpo_trainer.py`; `actor` is `actor_rollout_ref.actor`.

Read from verl 0.9.1, TRL 1.16.0, OpenRLHF 0.11.2 and ms-swift 4.6.0, and from the others' repositories as they were in
mid-2026.

| trainer | advantages | losses |
|---|---|---|
| verl | `verl/trainer/ppo/core_algos.py` | the same, `verl/workers/utils/losses.py` |
| TRL | `_generate_and_score_completions` of `trl/trainer/grpo_trainer.py`, `rloo_trainer.py` | `_compute_loss` |
| OpenRLHF | `openrlhf/trainer/ppo_utils/experience_maker.py` | `openrlhf/models/loss.py` |
| NeMo RL | `nemo_rl/algorithms/advantage_estimator.py` | `nemo_rl/algorithms/loss/loss_functions.py` |
| SkyRL | `skyrl/backends/skyrl_train/utils/ppo_utils.py` | the same |
| slime | `slime/utils/ppo_utils.py`, `slime/ray/rollout.py` | `slime/backends/megatron_utils/loss.py` |
| AReaL | `areal/trainer/ppo/actor.py`, `areal/utils/data.py` | `areal/utils/functional/functional.py` |
| ROLL | `roll/utils/functionals.py` | the same, and its pipelines' workers |
| prime-rl | its orchestrator's `algo` | `src/prime_rl/trainer/rl/loss.py` |
| open-instruct | `open_instruct/data_loader.py` | `open_instruct/grpo_utils.py` |
"""

SLOT_TEXT = """\
## Slots

Each row is GRPO in groups of three with one slot changed (the surrogate is PPO's clip unless the row has another), on
responses of at most 16 tokens; columns as above. The functions of `lossim.tokens` take a batch, so there is no
expectation of them; a batch brings its rewards. Groups are resampled, or dropped for being late, before there is a
batch, so at the token level that changes nothing.
Off-policy, OPO under a clip sums over the lengths of a group: keep groups and `max_tokens` small, or sample. Numbers in
the rows are examples.

### How slots are computed
"""


def start(max_tokens: int) -> ls.Policy:
    """A small start on which everything can be tried."""
    return ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=max_tokens / 3),
                                 wrong=ls.lengths.geometric(mean=max_tokens / 2),
                                 max_tokens=max_tokens).with_targets([max_tokens / 2])


def moved(policy: ls.Policy, by: float) -> ls.Policy:
    """The policy with all its coordinates moved."""
    return policy.moved(np.full(policy.motion.size, by))


def exact(scheme: ls.Scheme, *, old: bool = False, max_tokens: int = 64) -> str:
    """How ``drift`` computes the scheme without sampling, on batches of its own or of an old policy: tried."""
    policy = start(max_tokens)
    try:
        method = ls.drift(scheme, policy, old_policy=moved(policy, 0.1) if old else None,
                          reference=moved(policy, -0.1)).length.method
    except ls.NoClosedForm:
        return "no"
    return "large batch" if method == "large-batch limit" else method


def sampled(scheme: ls.Scheme, *, max_tokens: int = 64) -> str:
    """Whether Monte Carlo computes the scheme: tried."""
    policy, works = start(max_tokens), []
    for name, old in (("on-policy", None), ("off-policy", moved(policy, 0.1))):
        try:
            ls.drift(scheme, policy, "monte_carlo", rng=np.random.default_rng(0), batches=16, old_policy=old,
                     reference=moved(policy, -0.1))
            works.append(name)
        except ls.NoClosedForm:
            continue
    return "yes" if len(works) == 2 else "".join(works) or "no"


@cache
def batch() -> ls.tokens.Batch:
    """Nine responses to three prompts, one of them without a token, with all that a batch may have."""
    rng = np.random.default_rng(0)
    mask = np.arange(6) < np.array([6, 2, 3, 5, 0, 1, 6, 4, 2])[:, None]

    def log_prob() -> np.ndarray[Any, np.dtype[np.float64]]:
        return -rng.exponential(size=mask.shape)

    return ls.tokens.Batch(mask=mask, reward=rng.integers(0, 2, size=9), group=np.repeat([0, 1, 2], 3),
                           log_prob=log_prob(), old_log_prob=log_prob(), rollout_log_prob=log_prob(),
                           reference_log_prob=log_prob(), values=rng.normal(size=(9, 7)),
                           truncated=mask.all(axis=1), max_tokens=8)


def on_tokens(scheme: ls.Scheme) -> str:
    """Whether ``ls.tokens.loss`` takes the scheme: tried."""
    try:
        made = ls.tokens.loss(scheme, batch())
    except ValueError:
        return "no"
    return "yes" if np.isfinite(made.loss) and np.isfinite(made.gradient).all() else "no"


def called(row: Row) -> str:
    """Whether a function of ``lossim.tokens`` works with the row's options: tried."""
    credit = np.linspace(-1.0, 1.0, 9)
    given = {"importance_weights": (batch(),), "dppo_mask": (batch(), credit),
             "gdpo": (np.stack([credit, credit**2], axis=1), batch())}[row.function]
    return "yes" if np.isfinite(getattr(ls.tokens, row.function)(*given, **row.of)).all() else "no"


def parts(value: object) -> Iterator[str]:
    """What code that makes this value says: names of classes, of fields that are not at their default, strings."""
    if isinstance(value, tuple):
        for item in value:
            yield from parts(item)
    elif isinstance(value, str):
        yield f'"{value}"'
    elif is_dataclass(value):
        yield type(value).__name__
        for slot in fields(value):
            default = slot.default if slot.default_factory is MISSING else slot.default_factory()
            if slot.init and getattr(value, slot.name) != default:
                yield f"{slot.name}="
                yield from parts(getattr(value, slot.name))


@cache
def said(path: Path) -> frozenset[str]:
    """What a file says, in the same way: names, names of arguments (also as keys of a dict), strings."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                words.add(name)
            case ast.keyword(arg=str(name)):
                words.add(f"{name}=")
            case ast.Dict(keys=keys):
                words |= {f"{key.value!s}=" for key in keys if isinstance(key, ast.Constant)}
            case ast.Constant(value=str(text)):
                words.add(f'"{text}"')
    return frozenset(words)


def compared(row: Row) -> list[str]:
    """The comparisons with trainers' own code that have the row."""
    words = {*row.words, *([row.function] if row.function else [])}
    for slot, value in row.of.items():
        words |= {*parts(value), *([f"{slot}="] if isinstance(value, str) else [])}
    files = {name: PEERS / f"test_{name}.py" for name in ("verl", "trl", "rlax", "expected")}
    return [name for name, path in files.items() if path.exists() and words <= said(path)]


def kind(value: object) -> tuple[type, ...]:
    """What rows are told apart by where their numbers differ."""
    return type(value), *(type(getattr(value, name, None)) for name in ("inner", "gae_lambda"))


def row_of(slot: str, value: object) -> Row:
    """The row for what fills a slot: the same value, or else the first of its kind."""
    alone = [row for rows in ROWS.values() for row in rows if not row.function and row.of.keys() == {slot}]
    return next((row for row in alone if row.of[slot] == value),
                next((row for row in alone if kind(row.of[slot]) == kind(value)), Row(of={slot: value})))


def preset(name: str) -> ls.Scheme:
    """As it comes, but for arguments that it cannot do without."""
    scheme: ls.Scheme = getattr(schemes, name)(**dict(ENTRIES[name].arguments))
    return scheme


def rows_of(scheme: ls.Scheme) -> list[Row]:
    """The rows of a scheme's slots."""
    plain = {"truncation": "keep", "dynamic_sampling": "none"}
    more = [slot for slot, default in plain.items() if getattr(scheme, slot) != default]
    return [row_of(slot, getattr(scheme, slot)) for slot in (*SLOTS, *more)]


def all_of(cells: Iterable[str]) -> str:
    """Cells as one; nothing if one of them has nothing."""
    given = list(cells)
    return NONE if NONE in given else " · ".join(dict.fromkeys(given))


def cited(sources: Iterable[references.Reference]) -> str:
    """Links to papers."""
    return ", ".join(f"[{source.key}]({source.url})" for source in sources) or NONE


def label(row: Row) -> str:
    """What the row is about, as code."""
    if row.function:
        options = ", ".join(f"{name}={value!r}" for name, value in row.of.items())
        return f"`{row.function}({options})`"
    shown = [short(value[0]) if isinstance(value, tuple) else short(value) if is_dataclass(value)
             else f"{slot}={value!r}" for slot, value in row.of.items()]
    return " · ".join(f"`{text}`" for text in shown)


def table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a table and an empty one."""
    heads = list(names)
    lines = [heads, ["---"] * len(heads), *map(list, rows)]
    return [*("| " + " | ".join(cells) + " |" for cells in lines), ""]


def recipe(name: str) -> list[str]:
    """What a preset is made of."""
    scheme = preset(name)
    reward = scheme.reward
    return [f"`{name}`", *(short(getattr(scheme, slot)) for slot in SLOTS),
            f"{reward.correct:g} / {reward.incorrect:g}", scheme.dynamic_sampling, scheme.truncation,
            f"{scheme.prompts_per_step} × {scheme.group_size}"]


def computed(name: str) -> list[str]:
    """How a preset is computed."""
    scheme = preset(name)
    shared = [one for one in ("verl", "trl", "rlax", "expected")
              if all(one in compared(row_of(slot, getattr(scheme, slot))) for slot in SLOTS)]
    return [f"`{name}`", on_tokens(scheme), exact(scheme), exact(scheme, old=True), sampled(scheme),
            ", ".join(shared) or NONE, cited(ENTRIES[name].sources)]


def found(name: str, entry: Entry) -> list[str]:
    """Where trainers have a preset."""
    rows = rows_of(preset(name))
    verl = all_of(row.verl for row in rows) if entry.verl is None else entry.verl
    trl = all_of(row.trl for row in rows) if entry.trl is None else entry.trl
    return [f"`{name}`", verl, trl, entry.others]


def slot_computed(row: Row) -> list[str]:
    """How what fills a slot is computed."""
    peers, papers = ", ".join(compared(row)) or NONE, cited(row.sources)
    if row.function:
        return [label(row), called(row), NONE, NONE, NONE, peers, papers]
    scheme = replace(schemes.grpo(group_size=3, prompts_per_step=4), **row.of)
    ways = exact(scheme, max_tokens=16), exact(scheme, old=True, max_tokens=16), sampled(scheme, max_tokens=16)
    on_batch = NONE if "reward" in row.of else on_tokens(scheme)
    return [label(row), on_batch, *ways, peers, papers]


def page() -> str:
    """The whole of docs/presets.md."""
    ways = ("token level", "on-policy", "off-policy", "Monte Carlo", "compared", "paper")
    places = ("verl", "TRL", "others")
    overlong = schemes.dapo(max_tokens=64, buffer=32)
    lines = [
        INTRODUCTION,
        *table(("preset", *SLOTS, "reward", "equal groups", "truncated", "step"), map(recipe, ENTRIES)),
        COMPUTED.format(soft=exact(overlong), sampled=sampled(overlong)),
        *table(("preset", *ways), map(computed, ENTRIES)),
        FOUND, *table(("preset", *places), (found(name, entry) for name, entry in ENTRIES.items())),
        SLOT_TEXT, *table(("slot", *ways), (slot_computed(row) for rows in ROWS.values() for row in rows)),
        "### Where slots are found", ""]
    for title, rows in ROWS.items():
        lines += [f"**{title}**", "", *table(("slot", *places), ([label(row), row.verl, row.trl, row.others]
                                                                for row in rows))]
    lines += ["## The same name elsewhere", ""]
    for name, entry in ENTRIES.items():
        lines += [f"**`{name}`** {entry.elsewhere}", ""]
    return "\n".join([*lines, NUMBERS, LEFT_OUT])


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(f"wrote {TARGET.name}")
