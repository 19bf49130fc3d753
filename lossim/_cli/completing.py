"""``lossim completion``: a script that tells a shell which commands, options and names there are.

The script knows them itself: a shell that asked lossim at each press of the key would wait for its imports each time.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any

from lossim._changes import KNOBS
from lossim._cli.answers import Answer
from lossim._cli.options import FAIL_IF
from lossim._cli.schemes import needs_of
from lossim._surveying import CRITICS
from lossim.configs import TRAINERS
from lossim.rewards import shapings
from lossim.schemes import presets

__all__ = ["SHELLS", "completion_of"]

SHELLS = ("bash", "zsh", "fish")
FILES = ("config", "figure", "files", "log", "report", "tokenizer")
"""Arguments that name files; beside them there are ``FOLDERS``."""
FOLDERS = ("folder", "to")
CHOICES = re.compile(r"[a-z-]+(\|[a-z-]+)+")
"""What stands for a value that is one of some words."""
IN_BASH = """\
# $1: the word so far; all others: the names that may follow its last comma
_lossim_after_comma() {
  local before=""
  [[ $1 == *,* ]] && before="${1%,*},"
  compgen -P "$before" -W "${*:2}" -- "${1##*,}"
}
"""


def completion_of(args: argparse.Namespace) -> Answer:
    """``lossim completion``."""
    try:
        import shtab
    except ImportError as missing:
        raise ImportError("completion needs shtab: pip install 'lossim[completion]'") from missing
    line, commands = args.line()
    for command in commands.values():
        for action in command._actions:
            _tell(action, shtab)
    lists = "".join(f'_lossim_{name}() {{ _lossim_after_comma "$1" {" ".join(words)}; }}\n' for name, words in _lists())
    script: str = shtab.complete(line, args.shell, preamble=IN_BASH + lists if args.shell == "bash" else "")
    return Answer(script.rstrip("\n"), {"shell": args.shell, "script": script})


def _lists() -> Iterator[tuple[str, Sequence[str]]]:
    """Names of which several may be given with commas, by the argument that takes them."""
    schemes = [name for name, preset in presets().items() if not needs_of(preset)]
    yield "scheme", schemes
    yield "question", schemes
    yield "compare", ["all", *schemes]
    yield "names", list(presets())
    yield "fail_if", FAIL_IF


def _tell(action: argparse.Action, shtab: Any) -> None:
    """What the value of an argument may be, where that is known beforehand."""
    one = {"shell": SHELLS, "trainer": TRAINERS, "algorithm": ("grpo", "rloo"), "shaping": list(shapings()),
           "knob": [each.replace("_", "-") for each in KNOBS], "critic": [each.replace(" ", "-") for each in CRITICS]}
    lists = dict(_lists())
    told: Any = action
    if action.dest in FILES or action.dest in FOLDERS:
        told.complete = shtab.FILE if action.dest in FILES else shtab.DIRECTORY
    elif action.dest in lists:
        names = " ".join(lists[action.dest])
        told.complete = {"bash": f"_lossim_{action.dest}", "zsh": f"_values -s , {action.dest} {names}",
                         "fish": f"(string split ' ' '{names}')"}
    elif action.dest in one:
        told.choices = one[action.dest]
    elif isinstance(action.metavar, str) and CHOICES.fullmatch(action.metavar):
        told.choices = action.metavar.split("|")
