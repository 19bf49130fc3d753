"""``lossim demo``: questions about a small run that comes with lossim, and the commands that answer them."""

from __future__ import annotations

import shlex
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from lossim._cli.answers import Answer
from lossim._support import checks
from lossim._support.text import Sections, noted, page

__all__ = ["demo_of"]

FILES = Path(__file__).with_name("demo")
"""What docs/make_demo.py made."""
ABOUT = {"log.csv": "768 responses to 96 prompts, of the first four steps", "metrics.csv": "means of 40 steps",
         "run.sh": "how the run would be started with verl"}
LAUNCH = ("tree_sitter", "tree_sitter_bash")
"""What reads run.sh, of the extra ``configs``."""
QUESTIONS = (
    ("What did length do in the run?", "curves {0}/metrics.csv"),
    ("Which way does the loss push it, and through which responses?", "audit {0}/log.csv --config {0}/run.sh"),
    ("What would other settings do?", "what-if {0}/log.csv --scheme grpo"),
    ("Which part of it, beside Dr. GRPO?", "attribute {0}/log.csv --scheme grpo --compare dr_grpo"),
    ("What would hold length?", "stops {0}/log.csv --scheme grpo"),
    ("Where does length go from here?",
     "forecast {0}/metrics.csv --scheme grpo --paid 1,0 --max-tokens 1024 --steps 20"),
    ("And before a run, from a few numbers?",
     "drift --scheme grpo --accuracy 0.4 --right 420 --wrong 380 --truncated 0.05 --premature 0.5 --verbosity 60 "
     "--max-tokens 1024"),
)
"""What is asked, and the command, in which {0} is the folder of the files."""


class Shown(NamedTuple):
    """A question, the command that was run, and the verdict that is the first line of its answer."""

    question: str
    command: str
    verdict: str


def demo_of(args: Namespace) -> Answer:
    """``lossim demo``: on the files where they are, or on copies of them in a folder."""
    folder = FILES if args.to is None else _copied(Path(args.to))
    reads_scripts = all(map(find_spec, LAUNCH))
    shown = []
    for question, template in QUESTIONS:
        words = [word.format(folder) for word in template.split()]
        if not reads_scripts and "--config" in words:
            at = words.index("--config")
            words[at:at + 2] = ["--scheme", "grpo"]
        answer: Answer = args.ask([*words, "--quiet"])
        shown.append(Shown(question, shlex.join(["lossim", *words]), answer.text.partition("\n")[0]))
    said: Sections = {"verdict": [f"demo: a run trained by GRPO, made by lossim itself, in {folder}"],
                      "files": [f"  {name:<12} {what}" for name, what in ABOUT.items()]}
    for each in shown:
        said[each.question] = ["", each.question, f"  $ {each.command}", f"  {each.verdict}"]
    notes = ["these are first lines: each command prints the numbers behind its answer, and what it assumed"]
    if args.to is None:
        notes.append("lossim demo --to demo copies the files to a folder of yours; examples in --help use them there")
    if not reads_scripts:
        notes.append("audit reads run.sh itself, with --config, once there is pip install 'lossim[configs]'")
    said["notes"] = ["", *noted(notes)]
    payload = {"folder": str(folder), "files": ABOUT, "answers": [each._asdict() for each in shown], "notes": notes}
    return Answer(page(said), payload)


def _copied(folder: Path) -> Path:
    """The files, copied; what is there already and differs is not overwritten."""
    if folder.exists() and not folder.is_dir():
        checks.fail("--to", str(folder), "must be a folder, or a new name")
    for name in ABOUT:
        target = folder / name
        if target.exists() and target.read_bytes() != (FILES / name).read_bytes():
            checks.fail("--to", str(folder), f"must not hold another {name}", "name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ABOUT:
        (folder / name).write_bytes((FILES / name).read_bytes())
    return folder
