"""What commands there are: what each answers, examples of it, and the page that names all of them.

Nothing of the library is imported here: the page comes at once.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "EXIT_CODES", "Command", "about", "overview"]


class Command(NamedTuple):
    """A command: what people want who ask for it, what it says, and examples that run on the files of the demo."""

    want: str
    summary: str
    examples: tuple[str, ...]


NUMBERS = "before a run, from a few numbers"
LOG = "on a run, from its responses"
METRICS = "on a run, from its metrics by step"
LOOKING = "look around"

COMMANDS = {
    "drift": Command(NUMBERS, "which way a loss pushes length, from numbers or a log; several side by side", (
        "lossim drift --scheme grpo --accuracy 0.45 --right 700 --wrong 1050 --max-tokens 4096",
        "lossim drift --config demo/run.sh --accuracy 0.45 --mean-length 400",
        "lossim drift --compare grpo,dr_grpo,dapo --accuracy 0.45 --right 700 --wrong 1050 --max-tokens 4096")),
    "what-if": Command(NUMBERS, "what other settings would do, one at a time", (
        "lossim what-if --scheme grpo --accuracy 0.45 --right 700 --wrong 1050 --max-tokens 4096",
        "lossim what-if --config demo/run.sh --accuracy 0.45 --mean-length 400",
        "lossim what-if demo/log.csv --scheme grpo")),
    "stops": Command(NUMBERS, "at which values of a setting length does not drift", (
        "lossim stops --scheme grpo --accuracy 0.45 --right 300 --wrong 400 --max-tokens 1024",
        "lossim stops --scheme ppo --critic zero --knob lambda --accuracy 0.45 --mean-length 900 --max-tokens 4096",
        "lossim stops demo/log.csv --scheme grpo")),
    "attribute": Command(NUMBERS, "which slots make the difference between two schemes, or along several", (
        "lossim attribute --compare grpo,dr_grpo --accuracy 0.45 --right 700 --wrong 1050 --max-tokens 4096",
        "lossim attribute --compare grpo,dr_grpo,dapo --accuracy 0.45 --mean-length 900 --max-tokens 4096",
        "lossim attribute demo/log.csv --config demo/run.sh --compare dr_grpo")),
    "survey": Command(NUMBERS, "a question over ranges: how often is the answer which, and what decides", (
        "lossim survey grpo --accuracy 0.3:0.6 --mean-length 900 --ratio 0.7:2:log --max-tokens 4096 --draws 32",
        "lossim survey grpo,dapo --accuracy 0.3:0.6 --mean-length 900 --max-tokens 4096 --draws 32",
        "lossim survey mask:keep --scheme grpo --accuracy 0.4 --mean-length 900 --truncated 0.05:0.3 --max-tokens 1600 "
        "--draws 32")),
    "train": Command(NUMBERS, "where some steps lead", (
        "lossim train --scheme grpo --accuracy 0.45 --right 700 --wrong 1050 --max-tokens 4096 --steps 20",
        "lossim train --config demo/run.sh --accuracy 0.45 --mean-length 400 --steps 20",
        "lossim train --scheme dr_grpo --accuracy 0.45 --mean-length 900 --max-tokens 4096 --steps 20 "
        "--pace 0.45:0.50:50")),
    "audit": Command(LOG, "which way a loss pushes length on a logged run, and through which responses", (
        "lossim audit demo/log.csv --config demo/run.sh",
        "lossim audit demo/log.csv --scheme grpo --fail-if longer",
        "lossim audit demo/log.csv --compare grpo,dr_grpo,dapo")),
    "watch": Command(LOG, "beside a run: a line for each step, from the responses that it writes into a folder", (
        "lossim watch demo --config demo/run.sh --once",
        "lossim watch demo --scheme grpo --once --until 100",
        "lossim watch demo --scheme grpo --once --json")),
    "fit": Command(LOG, "the policy that a log was drawn from", (
        "lossim fit demo/log.csv",
        "lossim fit demo/log.csv --classes 2",
        "lossim fit demo/log.csv --paths one --json")),
    "curves": Command(METRICS, "what the numbers by step of a run show: where length goes, and whose", (
        "lossim curves demo/metrics.csv",
        "lossim curves demo/metrics.csv --max-tokens 1024",
        "lossim curves demo/metrics.csv --json")),
    "pace": Command(METRICS, "how far a step of a run goes", (
        "lossim pace demo/metrics.csv --paid 1,0",
        "lossim pace demo/log.csv",
        "lossim pace demo/metrics.csv --paid 1,0 --json")),
    "forecast": Command(METRICS, "where length goes from the first steps of a run", (
        "lossim forecast demo/metrics.csv --config demo/run.sh --paid 1,0 --steps 20",
        "lossim forecast demo/metrics.csv --scheme grpo --paid 1,0 --max-tokens 1024 --steps 20",
        "lossim forecast demo/metrics.csv --scheme grpo --paid 1,0 --max-tokens 1024 --first 20 --steps 20")),
    "demo": Command(LOOKING, "questions about a small run that comes with lossim, and the commands that answer them", (
        "lossim demo",
        "lossim demo --to demo",
        "lossim demo --json")),
    "completion": Command(LOOKING, "a script by which a shell completes commands, options and names", (
        "lossim completion bash",
        "lossim completion zsh",
        "lossim completion fish")),
    "doctor": Command(LOOKING, "what is installed, and what it takes to read other kinds of files", (
        "lossim doctor",
        "lossim doctor --json",
        "lossim doctor --color never")),
    "presets": Command(LOOKING, "the presets, slot by slot", (
        "lossim presets",
        "lossim presets grpo dapo",
        "lossim presets ppo --json")),
    "rewards": Command(LOOKING, "rewards by length, for --shaping", (
        "lossim rewards",
        "lossim rewards --json",
        "lossim rewards --color never")),
}
"""Every command, in the order of the page."""

EXIT_CODES = {0: "an answer was given", 2: "bad input: one line on stderr says what, and what to do",
              3: "the answer is one that --fail-if names; it was printed all the same", 130: "stopped by Ctrl-C",
              141: "nobody reads the output any more"}
"""What a command returns; 1 is Python's own, for a mistake of lossim itself."""

INTRODUCTION = """usage: lossim COMMAND [ARGUMENTS]
       lossim COMMAND --help      the arguments of one, with examples
       lossim --version

What an RL loss does to response length: no network, no GPU, seconds."""
EXAMPLES = (COMMANDS["demo"].examples[1], COMMANDS["drift"].examples[2], COMMANDS["survey"].examples[0],
            COMMANDS["audit"].examples[0])
WIDEST = max(map(len, COMMANDS))


def overview() -> str:
    """The page that ``lossim`` alone prints: commands by what people want, examples, exit codes."""
    parts = [INTRODUCTION]
    for want in dict.fromkeys(command.want for command in COMMANDS.values()):
        mine = {name: command for name, command in COMMANDS.items() if command.want == want}
        parts.append(f"{want}:\n" + "\n".join(f"    {name:<{WIDEST}}  {each.summary}" for name, each in mine.items()))
    return "\n\n".join([*parts, _examples(EXAMPLES), _codes()]) + "\n"


def about(name: str) -> str:
    """What stands below the arguments of a command."""
    return "\n\n".join([_examples(COMMANDS[name].examples), _codes()])


def _examples(commands: tuple[str, ...]) -> str:
    return "for example:\n" + "\n".join(f"    {each}" for each in commands)


def _codes() -> str:
    return "exit codes:\n" + "\n".join(f"    {code:<5}{said}" for code, said in EXIT_CODES.items())
