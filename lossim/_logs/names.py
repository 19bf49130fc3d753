"""Which column of a log holds what: the names and paths that are known, and the choice among those a log has."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

from lossim._logs.messages import turns_of
from lossim._logs.paths import RULE, Path, is_path, number_of, parsed
from lossim._support import checks
from lossim._support.text import Note, Phrase, Way, argument

ALIASES: dict[str, tuple[str, ...]] = {
    "length": ("length", "lengths", "response_length", "completion_length", "output_length", "num_tokens", "n_tokens",
               "response_len", "completion_len", "response_lengths", "completion_lengths", "output_lengths",
               "response_tokens", "completion_tokens", "output_tokens",
               "token_usage.output_tokens", "token_usage.completion_tokens", "usage.completion_tokens",
               "usage.output_tokens", "steps[].ac_len", "seqlen - prompt_len"),
    "tokens": ("tokens", "completion_ids", "response_ids", "output_ids", "token_ids", "completion_token_ids",
               "response_token_ids", "output_token_ids", "response_tokens", "completion_tokens", "output_tokens"),
    "mask": ("mask", "token_loss_mask", "completion_mask", "tool_mask", "response_mask", "loss_mask", "loss_masks",
             "assistant_mask", "assistant_masks"),
    "text": ("text", "completion", "response", "output", "generation", "completion_text", "response_text",
             "completions", "responses", "outputs", "generations", "output_response", "output_list", "model_output",
             "generated_text", "resps", "code"),
    "reward": ("reward", "rewards", "score", "scores", "total_reward", "reward.total", "reward.reward", "reward.score",
               "reward.value", "rewards.total", "score.total", "score.score"),
    "prompt": ("prompt", "prompt_id", "prompt_ids", "prompt_index", "prompt_idx", "group_id", "group_idx",
               "question_id", "problem_id", "example_id", "doc_id", "qid", "input_prompt", "input", "question",
               "problem", "query", "prompts", "task_id", "uid", "key"),
    "truncated": ("truncated", "is_truncated", "finish_reason", "stop_reason", "finish_reasons", "stop_reasons",
                  "choices[0].finish_reason"),
    "correct": ("correct", "acc", "is_correct", "passed", "graded_list", "exact_match"),
    "class": ("class", "classes", "data_source", "dataset", "source", "domain", "category", "level", "difficulty"),
    "step": ("step", "steps", "global_step", "global_steps", "training_step", "train_step", "iteration"),
    "kl": ("kl", "sequence_kl", "response_kl", "kl_sum"),
    "answered": ("answered", "answer_position", "answered_at", "first_correct", "first_correct_answer",
                 "answer_token", "boxed_position", "think_end", "thinking_tokens"),
    "path": ("path", "path_name", "mode", "response_mode"),
    "target": ("target_length", "target_tokens", "length_target"),  # a column "target" often holds the right answer
}
"""Our names and the columns, or paths into them, that are known by them: the first found that holds what it should."""

PROMPT_ORDER = ("prompt_id", *(name for name in ALIASES["prompt"] if name != "prompt_id"))  # an id is told faster
SINGLE = ("mask", "length", "tokens", "text", "reward", "correct", "truncated", "kl", "answered")  # each response's own
OPTIONAL = ("truncated", "correct", "class", "step", "kl", "answered", "path", "target")
WAYS = ("mask", "length", "tokens", "text")  # to a length, the first one that a log has
SEVERAL = ("reward", "mask")  # fields that several columns may serve together
COLUMN = {field: Way("column", f"columns={{{field!r}: ...}}", field) for field in ALIASES}
MEANING = {"kl": ", summed over the response's tokens, in nats",
           "answered": ", the position at which the answer is there",
           "target": ", the tokens that the prompt asks for", "length": ", the stop token counted",
           "tokens": ", without padding, the stop token among them",
           "mask": ", the tokens with a 1 counted, which are the policy's own"} | dict.fromkeys(
    ("finish_reason", "stop_reason"), ", where it says 'length'") | dict.fromkeys(
    ("input", "input_prompt", "question", "problem", "query", "prompts"), ", grouped by its content")
"""What a field, or a column that was found for one, is taken to hold."""
TRL_TABLE = {"step", "prompt", "completion"}  # and advantages
VERL_DUMP = {"input", "output", "score", "step", "uid"}
Samples = Mapping[str, Sequence[Any]]  # columns and paths by name, each with its first values that are not null
Asked = Mapping[str, Mapping[str, float]]  # fields and their columns with weights, none where a field is switched off


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """Which columns serve which field (several only for the reward, with weights), and what was chosen on the way.

    ``trl``: the log has the columns of TRL's tables of completions. ``asked``: fields whose columns the user named.
    Source "row key": verl's name of a row. ``beside``: other ways to a length that the log has, which should agree.
    ``within``: the prompt is what stands before the response, in the same ids or messages. ``paths``: the names that
    lead deeper than a column.
    """

    sources: dict[str, tuple[str, ...]]
    weights: tuple[float, ...]
    choices: list[Note]
    trl: bool
    asked: frozenset[str]
    beside: dict[str, tuple[str, ...]]
    within: bool
    paths: dict[str, Path] = dataclass_field(default_factory=dict)

    @property
    def way(self) -> str:
        """What lengths are read from."""
        return next(field for field in WAYS if field in self.sources)

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Fields and columns to read, in pairs."""
        return [(field, name) for field, names in self.sources.items() for name in names]

    @property
    def roots(self) -> frozenset[str]:
        """Columns that are read, those in which paths begin among them."""
        return frozenset(root for _, name in self.columns
                         for root in (self.paths[name].roots if name in self.paths else (name,)))

    def held(self, rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
        """What the rows have under a name."""
        path = self.paths.get(name)
        return [row.get(name) for row in rows] if path is None else [path.of(row) for row in rows]


def plan(rows: Sequence[Mapping[str, Any]], given: Asked, tokenizer: object, max_tokens: int | None, where: str,
         outer: Collection[str] = ()) -> Plan:
    """Choose columns by the first rows; ``where`` names the log in messages, ``outer`` what several responses share.

    Without a tokenizer, texts are counted by characters.
    """
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).extend(() if value is None else (value,))
    paths = _paths(rows, columns, given, where)
    samples = columns | {name: values_of(rows, path) for name, path in paths.items()}
    shared = {*outer, *(name for name, path in paths.items() if not set(path.roots).isdisjoint(outer))}
    sources: dict[str, tuple[str, ...]] = {}
    choices: list[Note] = []

    def say(code: str, text: str) -> None:
        choices.append(Note(code, text))

    def take(field: str) -> bool:
        """The columns of a field, as given or found, go to its sources; whether there are any."""
        if field in given:
            found = tuple(given[field])
        else:
            taken = {name for names in sources.values() for name in names}
            found = _found(field, samples, taken | (shared if field in SINGLE else set()))
        if found:
            sources[field] = found
        if found and field not in given and found[0] != field:
            kind = "path" if found[0] in paths else "column"
            named = f"{kind}{'s' * (len(found) > 1)} {', '.join(map(repr, found))}"
            say(field, f"{field}: {named}{MEANING.get(field, MEANING.get(found[0], ''))}")
        return bool(found)

    # the prompt, what need not be there, and one of the ways to a length
    there = listed(columns)
    unknown = f"none of the columns {there} is known as one; say which with "
    has_prompt = take("prompt")
    for field in OPTIONAL:
        take(field)
    explicit = [field for field in WAYS if given.get(field)]
    way = next((field for field in explicit or WAYS if take(field)), None)
    used = {name for names in sources.values() for name in names}
    beside = {field: tuple(given[field]) if field in given else _found(field, samples, used | shared)
              for field in WAYS if field != way}
    within = () if has_prompt or "prompt" in given else _prompt_within(way, sources | beside, samples)
    if within:
        sources["prompt"] = within
        what = "ids" if way == "mask" else "messages"
        say("prompt", f"prompt: the {what} of {within[0]!r} before the response")
    elif not has_prompt:
        raise ValueError(Phrase(f"{where}: no prompt: {unknown}", COLUMN["prompt"],
                                "; responses to one prompt form a group"))
    if way is None:
        raise ValueError(Phrase(
            f"{where}: no lengths: the log has the columns {there}; give ", COLUMN["length"], ", a column of token "
            "counts; or ", COLUMN["tokens"], ", one of token ids; or ", COLUMN["text"], ", one of text, with ",
            argument("tokenizer")))

    # the reward, of one column or several
    weights = given.get("reward", {})
    table = set(samples) >= TRL_TABLE and not {"advantage", "advantages"}.isdisjoint(samples)
    if take("reward"):
        if len(weights) > 1:
            say("reward sum", f"reward: {_sum(weights)}")
        elif not weights and sources["reward"] == ("score",) and samples.get("overlong_reward"):
            say("reward", "reward: 'overlong_reward' is not added; if it was paid too, give "
                "columns={'reward': ['score', 'overlong_reward']}")
    else:
        if table and "reward" not in given:
            others = {name for names in ALIASES.values() for name in names} | {"advantage", "advantages"}
            weights = {name: 1.0 for name, values in columns.items() if name not in others and values
                       and not name.startswith(("__", "Unnamed:")) and all(map(_number, values))}
        if weights:
            sources["reward"] = tuple(weights)
            say("reward sum" if len(weights) > 1 else "reward",
                f"reward: {_sum(weights)} (the numeric columns of TRL's table)")
        elif "correct" in sources and "reward" not in given:
            sources["reward"] = sources["correct"]
            say("grade pays", f"reward: column {sources['correct'][0]!r}, the grade: right pays 1, wrong 0; no column "
                "of rewards is known")
        else:
            raise ValueError(Phrase(f"{where}: no reward: {unknown}", COLUMN["reward"], ": one column, a list that is "
                                    "summed, or a mapping from column to weight"))
    if "correct" not in sources and "correct" not in given and len(sources["reward"]) == 1:
        held = samples[sources["reward"][0]]
        if held and all(isinstance(value, bool) for value in held):
            sources["correct"] = sources["reward"]
            say("correct", f"correct: column {sources['reward'][0]!r}, which is true or false")

    # what verl's dumps say by the names of rows
    if set(samples) >= VERL_DUMP:
        sources["row key"] = ("uid",)
        if sources["prompt"] == ("input",):
            say("prompt", "prompt: where 'uid' has groups with one text in one step, they are told apart")

    # what is assumed about lengths, truncation and steps, and what is left
    estimated = way == "text" and tokenizer is None
    if way == "text":
        unless = f" unless cut at {max_tokens}" if max_tokens and not estimated else ""
        by = "estimated from the characters" if estimated else "by the tokenizer"
        say("length", f"length: tokens of {sources['text'][0]!r} {by}, and 1 for the stop token{unless}")
    elif tokenizer is not None:
        say("length", f"length: column {sources[way][0]!r}; the tokenizer was not needed")
    if "truncated" not in sources and estimated:
        say("cuts unknown", "truncated: unknown, there is no such column, and estimated lengths do not tell it")
    elif "truncated" not in sources and max_tokens:
        rule = "the text alone has" if way == "text" else "length is"
        say("cut by length", f"truncated: where {rule} {max_tokens} tokens, max_tokens")
    elif "truncated" not in sources:
        say("cuts unknown", "truncated: unknown, there is no such column and no max_tokens")
    if "step" not in sources:
        say("step", "step: no column; equal prompts form one group throughout")
    chosen = Plan(sources, tuple(weights.values()) or (1.0,), choices, table, frozenset(given),
                  {field: found for field, found in beside.items() if found}, bool(within),
                  {name: paths[name] for names in (*sources.values(), *beside.values()) for name in names
                   if name in paths})
    unread = [name for name in columns if name not in chosen.roots]
    if unread:
        say("not read", f"not read: {listed(unread)}")
    return chosen


def _paths(rows: Sequence[Mapping[str, Any]], columns: Collection[str], given: Asked, where: str) -> dict[str, Path]:
    """Paths that the user gave and those that are known, as far as they lead to something in the first rows."""
    paths: dict[str, Path] = {}
    for field, names in ALIASES.items():
        called = Way("column of", f"columns[{field!r}]", field)
        joins = field in ("text", "prompt")
        for name in given.get(field, ()):
            if name in columns:
                continue
            path = parsed(name, Phrase(f"{where}: ", called), joins) if is_path(name) else None
            if path is None or not values_of(rows, path):
                hint = checks.nearest(name, [*columns, *_deeper(rows)]) or f"there are {listed(columns)}"
                checks.fail(Phrase(f"{where}: ", called), name, RULE if path else "must be a column of the log", hint)
            paths[name] = path
        for name in names:
            if is_path(name) and name not in columns and name not in paths:
                path = parsed(name, joins=joins)
                if values_of(rows, path):
                    paths[name] = path
    return paths


def _deeper(rows: Sequence[Mapping[str, Any]]) -> dict[str, None]:
    """Paths that lead into the objects of rows, for a hint: the objects in them and in their lists."""
    found: dict[str, None] = {}
    for row in rows[:20]:
        for name, value in row.items():
            inside = value if isinstance(value, dict) else None
            if isinstance(value, list) and value and isinstance(value[0], dict):
                name, inside = f"{name}[]", value[0]
            found |= {f"{name}.{key}": None for key in inside or ()}
    return found


def values_of(rows: Iterable[Mapping[str, Any]], name: str | Path) -> list[Any]:
    """What rows have under a name or by a path, without nulls."""
    if isinstance(name, str):
        held = [row[name] for row in rows if row.get(name) is not None]
        if held or not is_path(name):
            return held
        name = parsed(name)
    return [value for value in map(name.of, rows) if value is not None]


def known(field: str, present: Collection[str], given: Mapping[str, Collection[str]]) -> list[str]:
    """Columns of those present, and paths, that may serve a field: as named, or as known, whatever the case."""
    if field in given:
        return list(given[field])
    order = PROMPT_ORDER if field == "prompt" else ALIASES[field]
    folded = {_folded(name): name for name in present}
    return [name if name in present or is_path(name) else folded[name] for name in order
            if name in present or is_path(name) or name in folded]


def _folded(name: str) -> str:
    """A name as known ones are written: lower case, with underscores."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _found(field: str, samples: Samples, taken: set[str]) -> tuple[str, ...]:
    """The first column that is known for a field, holds what it should and serves no other field, if there is one;
    of masks, all there are."""
    fits = _HOLDS.get(field, lambda value: True)
    found: list[str] = []
    for name in known(field, samples, {}):
        values = samples.get(name)
        # at least half of its first values are of the kind; the others are bad rows
        if name not in taken and values and 2 * sum(map(fits, values)) >= len(values):
            found.append(name)
    if found:
        return tuple(found) if field == "mask" else (found[0],)
    if field == "mask":
        return ()
    # a column of the right name whose values are wrong: the rows will say so
    return (field,) if field in ALIASES[field] and field not in taken and samples.get(field) else ()


def _prompt_within(way: str | None, sources: Mapping[str, tuple[str, ...]], samples: Samples) -> tuple[str, ...]:
    """The column that holds the prompt before the response: ids that a mask is 0 for, or messages."""
    if way == "mask":
        values, where = samples[sources["mask"][0]], sources.get("tokens", ())
        led = sum(_list(mask)[:1] in ([0], [False]) for mask in values)
    elif way == "text":
        values, where = samples[sources["text"][0]], sources["text"]
        led = sum(bool(turns and turns.before) for turns in map(turns_of, values))
    else:
        return ()
    return where if 2 * led >= len(values) else ()


def asked(columns: Any) -> dict[str, dict[str, float]]:
    """What the user chose: field to its columns with their weights, none where a field is switched off."""
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        checks.fail("columns", columns, "must map names to columns", "for example {'reward': 'score'}", TypeError)
    chosen: dict[str, dict[str, float]] = {}
    for field, value in columns.items():
        checks.choice(Way("field", "a name in columns"), field, ALIASES)
        weights: dict[str, float] = {}
        if field == "reward" and isinstance(value, Mapping):
            weights = {name: checks.finite(f"weight of {name!r}", weight) for name, weight in value.items()}
        elif field in SEVERAL and isinstance(value, (list, tuple)):
            weights = dict.fromkeys(value, 1.0)
        elif isinstance(value, str):
            weights = {value: 1.0}
        if value is not None and (not weights or not all(isinstance(name, str) for name in weights)):
            several = {"reward": ", a list of names or a mapping from name to weight",
                       "mask": " or a list of names"}.get(field, "")
            checks.fail(Way("column of", f"columns[{field!r}]", field), value, f"must be the name of a column{several}",
                        error=TypeError)
        chosen[field] = weights
    return chosen


def _number(value: Any) -> bool:
    """A number, or text that is one."""
    return not isinstance(value, bool) and number_of(value) is not None


def _pay(value: Any) -> bool:
    """A number, or a truth value, or text that is one of them, or numbers that are added up."""
    if isinstance(value, list):
        return bool(value) and all(number_of(one) is not None for one in value)
    return number_of(value) is not None or (isinstance(value, str) and value.strip().lower() in ("true", "false"))


def _list(value: Any) -> list[Any]:
    """A list, or what JSON text holds of one; none of anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


# whether a value may be one of a field, as CSV writes it or the others
_HOLDS: dict[str, Callable[[Any], bool]] = dict.fromkeys(
    ("length", "kl", "step", "answered"), _number) | dict.fromkeys(
    ("truncated", "correct"), lambda value: isinstance(value, (str, dict)) or value in (0, 1)) | {
    "reward": _pay,
    "tokens": lambda value: isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("[")),
    "mask": lambda value: _list(value)[:64] != [] and all(one in (0, 1) for one in _list(value)[:64]),
    "text": lambda value: isinstance(value, (str, list, dict))}


def _sum(weights: Mapping[str, float]) -> str:
    """A weighted sum of columns in words."""
    if len(weights) == 1:
        return f"column {next(iter(weights))!r}"
    terms = [repr(name) if weight == 1 else f"{weight:g} x {name!r}" for name, weight in weights.items()]
    return f"sum of {', '.join(terms)}; null or nan in some but not all counts 0"


def listed(names: Iterable[str]) -> str:
    """Names of columns, 20 of them at most."""
    first, rest = list(names)[:20], list(names)[20:]
    return ", ".join(map(repr, first)) + (f" and {len(rest)} more" if rest else "") or "(none)"
