"""``lossim presets``: every preset with its slots."""

from __future__ import annotations

import inspect
from argparse import Namespace

from lossim._cli.answers import Answer
from lossim._cli.schemes import needs_of, preset_name
from lossim._engine import describe_scheme
from lossim._support.text import Sections, page, wrapped
from lossim.schemes import presets

__all__ = ["list_presets"]


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
