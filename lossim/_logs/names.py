"""Which column of a log holds what: the names that are known, and the choice among those a log has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lossim._support import checks
from lossim._support.text import Note, Phrase, Way, argument

__all__ = ["ALIASES", "Head", "Plan", "Samples", "plan"]

ALIASES: dict[str, tuple[str, ...]] = {
    "length": ("length", "lengths", "response_length", "completion_length", "output_length", "num_tokens", "n_tokens",
               "response_len", "completion_len", "response_tokens", "completion_tokens", "output_tokens"),
    "tokens": ("tokens", "completion_ids", "response_ids", "output_ids", "token_ids", "completion_token_ids",
               "response_token_ids", "output_token_ids", "response_tokens", "completion_tokens", "output_tokens"),
    "text": ("text", "completion", "response", "output", "generation", "completion_text", "response_text"),
    "reward": ("reward", "rewards", "score", "total_reward"),
    "prompt": ("prompt", "prompt_id", "prompt_ids", "prompt_index", "group_id", "question_id", "problem_id", "input",
               "question", "problem", "query", "uid"),
    "truncated": ("truncated", "is_truncated", "finish_reason", "stop_reason"),
    "correct": ("correct", "acc", "is_correct", "passed"),
    "class": ("class", "classes", "data_source", "dataset", "source", "domain", "category", "level", "difficulty"),
    "step": ("step", "steps", "global_step", "global_steps", "training_step", "train_step"),
    "kl": ("kl", "sequence_kl", "response_kl", "kl_sum"),
}
"""Our names and the columns that are known by them, the first one found that holds what it should."""

PROMPT_ORDER = ("prompt_id", *(name for name in ALIASES["prompt"] if name != "prompt_id"))  # an id is told faster
WAYS = ("length", "tokens", "text")
"""The ways to a length, the first one that a log has."""
COLUMN = {field: Way("column", f"columns={{{field!r}: ...}}", field) for field in ALIASES}
"""How to say which column serves a field."""
REQUIRED_PROMPT = Phrase("say which with ", COLUMN["prompt"], "; responses to one prompt form a group")
REQUIRED_REWARD = Phrase("say which with ", COLUMN["reward"], ": one column, a list that is summed, or a mapping from "
                         "column to weight")
REQUIRED_LENGTH = Phrase("give ", COLUMN["length"], ", a column of token counts; or ", COLUMN["tokens"], ", one of "
                         "token ids; or ", argument("tokenizer"), ", a function from text to a number of tokens or to "
                         "token ids, with ", COLUMN["text"])
TRL_TABLE = {"step", "prompt", "completion", "advantage"}
VERL_DUMP = {"input", "output", "score", "step", "uid"}
Samples = Mapping[str, Sequence[Any]]
"""Columns by name, each with its first values that are not null."""


@dataclass(frozen=True, eq=False, repr=False)
class Head:
    """What the first rows of a file tell; ``fixed``: all its rows have these columns and no others.

    ``problem``: the first row that could not be read.
    """

    samples: dict[str, list[Any]]
    fixed: bool = True
    problem: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Which columns serve which field (several only for the reward, with weights), and what was chosen on the way.

    ``trl``: the log has the columns of TRL's tables of completions. Source "row key": verl's name of a row.
    """

    sources: dict[str, tuple[str, ...]]
    weights: tuple[float, ...]
    choices: tuple[Note, ...]
    trl: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Columns to read, each once."""
        return tuple(dict.fromkeys(name for names in self.sources.values() for name in names))


def plan(samples: Samples, columns: Mapping[str, Any] | None, tokenizer: Callable[[str], Any] | None,
         max_tokens: int | None, where: str) -> Plan:
    """Choose columns; ``where`` names the log in messages."""
    given = _given(columns, samples, where)
    sources: dict[str, tuple[str, ...]] = {}
    choices: list[Note] = []

    def take(field: str) -> bool:
        """The columns of a field, as given or found, go to its sources; whether there are any."""
        found = tuple(given[field] or ()) if field in given else _found(field, samples, sources)
        if found:
            sources[field] = found
        if found and field not in given:
            choices.extend(_about(field, found[0], samples))
        return bool(found)

    # the prompt, what need not be there, and one of the three ways to a length
    if not take("prompt"):
        _fail_missing(where, "prompt", samples, REQUIRED_PROMPT)
    for field in ("truncated", "correct", "class", "step", "kl"):
        take(field)
    explicit = [field for field in WAYS if given.get(field) is not None]
    way = next((field for field in explicit or WAYS if take(field)), None)
    if way is None or (way == "text" and tokenizer is None):
        what = f"holds text only ({sources['text'][0]!r})" if way else f"has the columns {_listed(samples)}"
        raise ValueError(Phrase(f"{where}: no lengths: the log {what}; ", REQUIRED_LENGTH))

    # the reward, of one column or several
    weights: tuple[float, ...] = (1.0,)
    if take("reward"):
        if given.get("reward") is not None:
            weights = tuple(given["reward"].values())
        if len(weights) > 1:
            choices.append(Note("reward sum", f"reward: {_sum(given['reward'])}"))
    else:
        paid = () if "reward" in given else _trl_rewards(samples)
        if not paid:
            _fail_missing(where, "reward", samples, REQUIRED_REWARD)
        sources["reward"] = paid
        weights = (1.0,) * len(paid)
        choices.append(Note("reward sum" if len(paid) > 1 else "reward", f"reward: {_sum(dict.fromkeys(paid, 1.0))} "
                            "(the numeric columns of TRL's table)"))

    # what verl's dumps say by the names of rows
    if set(samples) >= VERL_DUMP:
        sources["row key"] = ("uid",)
        if sources["prompt"] == ("input",):
            choices.append(Note("prompt", "prompt: where 'uid' has groups with one text in one step, they are told "
                                "apart"))

    # what is assumed, and what is left
    choices += _on_lengths(way, sources, max_tokens, tokenizer is not None)
    if "step" not in sources:
        choices.append(Note("step", "step: no column; equal prompts form one group throughout"))
    used = {name for names in sources.values() for name in names}
    unread = {name: values for name, values in samples.items() if name not in used}
    if unread:
        choices.append(Note("not read", f"not read: {_listed(unread)}"))
    return Plan(sources=sources, weights=weights, choices=tuple(choices), trl=set(samples) >= TRL_TABLE)


def _found(field: str, samples: Samples, sources: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The first column that is known for a field, holds what it should and serves no other field, if there is one."""
    known = PROMPT_ORDER if field == "prompt" else ALIASES[field]
    taken = {name for names in sources.values() for name in names}
    for name in known:
        if name not in taken and _fits(field, samples.get(name, ())):
            return (name,)
    if samples.get(field):  # a column of the right name whose values are wrong: the rows will say so
        return (field,)
    return ()


def _about(field: str, found: str, samples: Samples) -> list[Note]:
    """What is said of a column that was found and not given."""
    said = []
    if found != field:
        said.append(Note(field, f"{field}: column {found!r}{_meaning(field, found)}"))
    if field == "reward" and found == "score" and samples.get("overlong_reward"):
        said.append(Note("reward", "reward: 'overlong_reward' is not added; if it was paid too, give "
                         "columns={'reward': ['score', 'overlong_reward']}"))
    return said


def _given(columns: Any, samples: Samples, where: str) -> dict[str, Any]:
    """What the user chose: field to columns (reward: column to weight), None where a field is switched off."""
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        checks.fail("columns", columns, "must map names to columns", "for example {'reward': 'score'}", TypeError)
    chosen: dict[str, Any] = {}
    for field, value in columns.items():
        checks.choice(Way("field", "a name in columns"), field, ALIASES)
        if value is None:
            chosen[field] = None
            continue
        if field == "reward" and isinstance(value, Mapping):
            weights = {name: checks.finite(f"weight of {name!r}", weight) for name, weight in value.items()}
        elif field == "reward" and isinstance(value, (list, tuple)):
            weights = dict.fromkeys(value, 1.0)
        elif isinstance(value, str):
            weights = {value: 1.0}
        else:
            weights = {}
        if not weights or not all(isinstance(name, str) for name in weights):
            several = ", a list of names or a mapping from name to weight" if field == "reward" else ""
            checks.fail(_column_of(field), value, f"must be the name of a column{several}", error=TypeError)
        for name in weights:
            if name not in samples:
                hint = checks.nearest(name, samples) or f"there are {_listed(samples)}"
                checks.fail(Phrase(f"{where}: ", _column_of(field)), name, "must be a column of the log", hint)
        chosen[field] = weights
    return chosen


def _fits(field: str, values: Sequence[Any]) -> bool:
    """Whether a column may hold a field: at least half of its first values do (the others are bad rows)."""
    fit = _HOLDS.get(field)
    return bool(values) and (fit is None or 2 * sum(map(fit, values)) >= len(values))


def _number(value: Any) -> bool:
    """A number, or text that is one, as in CSV."""
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _ids(value: Any) -> bool:
    """A list, or text that may be one, as in CSV."""
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def _text(value: Any) -> bool:
    """Text or messages."""
    return isinstance(value, (str, list))


def _truth(value: Any) -> bool:
    """Something that may be true or false, or a reason."""
    return isinstance(value, (str, dict)) or value in (0, 1)


_HOLDS: dict[str, Callable[[Any], bool]] = {
    "length": _number, "reward": _number, "kl": _number, "step": _number, "tokens": _ids, "text": _text,
    "truncated": _truth, "correct": _truth}


def _trl_rewards(samples: Samples) -> tuple[str, ...]:
    """The reward functions' columns in a table of completions that TRL wrote."""
    if not set(samples) >= TRL_TABLE:
        return ()
    known = {name for names in ALIASES.values() for name in names} | TRL_TABLE
    return tuple(name for name, values in samples.items()
                 if name not in known and not name.startswith(("__", "Unnamed:")) and values and
                 all(_number(value) for value in values))


def _meaning(field: str, name: str) -> str:
    """What a column that was found is taken to hold."""
    if field == "truncated" and name in ("finish_reason", "stop_reason"):
        return ", where it says 'length'"
    if field == "prompt" and name in ("input", "question", "problem", "query"):
        return ", grouped by its content"
    meaning = {"kl": ", summed over the response's tokens, in nats", "length": ", the stop token counted",
               "tokens": ", without padding, the stop token among them"}
    return meaning.get(field, "")


def _sum(weights: Mapping[str, float]) -> str:
    """A weighted sum of columns in words."""
    if len(weights) == 1:
        return f"column {next(iter(weights))!r}"
    terms = [repr(name) if weight == 1 else f"{weight:g} x {name!r}" for name, weight in weights.items()]
    return f"sum of {', '.join(terms)}; null or nan in some but not all counts 0"


def _on_lengths(way: str, sources: dict[str, tuple[str, ...]], max_tokens: int | None, tokenizer: bool) -> list[Note]:
    """What is assumed about lengths and truncation."""
    said = []
    if way == "text":
        unless = f" unless cut at {max_tokens}" if max_tokens else ""
        said.append(Note("length", f"length: tokens of {sources['text'][0]!r} by the tokenizer, and 1 for the stop "
                         f"token{unless}"))
    elif tokenizer:
        said.append(Note("length", f"length: column {sources[way][0]!r}; the tokenizer was not needed"))
    if "truncated" not in sources and max_tokens:
        rule = "the text alone has" if way == "text" else "length is"
        said.append(Note("cut by length", f"truncated: where {rule} {max_tokens} tokens, max_tokens"))
    elif "truncated" not in sources:
        said.append(Note("cuts unknown", "truncated: unknown, there is no such column and no max_tokens"))
    return said


def _column_of(field: str) -> Way:
    return Way("column of", f"columns[{field!r}]", field)


def _fail_missing(where: str, field: str, samples: Samples, fix: str) -> NoReturn:
    raise ValueError(Phrase(f"{where}: no {field}: none of the columns {_listed(samples)} is known as one; ", fix))


def _listed(samples: Samples) -> str:
    """The names of the columns, 20 of them at most."""
    if not samples:
        return "(none)"
    more = f" and {len(samples) - 20} more" if len(samples) > 20 else ""
    return ", ".join(map(repr, list(samples)[:20])) + more
