"""``lossim presets`` and ``lossim rewards``: presets with their slots, rewards by length with their numbers."""

from __future__ import annotations

import inspect
import re
from argparse import Namespace

from lossim._cli.answers import Answer
from lossim._cli.schemes import needs_of, preset_name
from lossim._engine import describe_scheme
from lossim._support.text import Sections, page, wrapped
from lossim.rewards import GroupShaping, TargetShaping, shapings
from lossim.schemes import presets

__all__ = ["list_presets", "list_rewards"]


def list_presets(args: Namespace) -> Answer:
    """``lossim presets``: those that are named, or all."""
    chosen = dict.fromkeys(preset_name("preset", name) for word in args.names for name in word.split(","))
    said: Sections = {}
    payload = {}
    for name, preset in presets().items():
        if chosen and name not in chosen:
            continue
        needs = needs_of(preset)
        scheme = preset(**dict.fromkeys(needs, 0.5))
        heading = name
        if needs:
            heading += f"  needs {', '.join(f'{each} (0.5 here)' for each in needs)}"
        summary = (inspect.getdoc(preset) or "").partition("\n\n")[0]
        said[name] = [heading, *wrapped("", scheme.slots)]
        payload[name] = {"slots": describe_scheme(scheme), "needs": list(needs), "summary": summary}
    return Answer(text=page(said), payload=payload)


def list_rewards(args: Namespace) -> Answer:
    """``lossim rewards``: every shaping, for --shaping."""
    said: Sections = {}
    payload = {}
    for name, kind in shapings().items():
        numbers = str(inspect.signature(kind)).replace("*, ", "").partition(" ->")[0]
        summary = (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ").replace("``", "")
        needs = "a group" if issubclass(kind, GroupShaping) else "a target" if issubclass(kind, TargetShaping) else ""
        shown = re.sub(r": ?'[^']*'|: [^,=)]+(?= =|,|\))", "", numbers).replace(" = ", "=")
        said[name] = [f"{name}{shown}" + f"  needs {needs}" * bool(needs), f"  {summary}"]
        payload[name] = {"numbers": shown, "needs": needs, "summary": summary}
    return Answer(text=page(said), payload=payload)
