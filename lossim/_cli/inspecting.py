"""``lossim doctor``: what is installed, what that can read, and the one command that brings what is missing."""

from __future__ import annotations

import platform
import re
from argparse import Namespace
from importlib.metadata import PackageNotFoundError, requires, version
from typing import NamedTuple

from lossim._cli.answers import Answer
from lossim._support.text import Columns, Sections, page

__all__ = ["doctor_of"]

BRINGS = {
    "logs": "logs in Parquet and Arrow, or packed as .zst; texts by a tokenizer.json",
    "configs": "--config with shell scripts and YAML",
    "completion": "lossim completion",
    "tables": "in Python: sweeps as frames and labelled arrays",
    "parallel": "in Python: sweeps on a cluster",
}
"""What extras are for; those of developers are not here."""
ALWAYS = ("logs in JSON lines, JSON, CSV and TSV, plain or as .gz, .bz2, .xz; metrics in CSV, JSON and event files; "
          "--config with Python, notebooks, JSON, TOML, or the command as one string")
REQUIREMENT = re.compile(r"^([\w.-]+)[^;]*(?:;.*extra == ['\"]([\w-]+)['\"])?")


class Package(NamedTuple):
    """A package that lossim uses, for an extra or always (""), and its version, "" where it is missing."""

    name: str
    extra: str
    version: str


def doctor_of(args: Namespace) -> Answer:
    """``lossim doctor``."""
    del args
    packages = _packages()
    extras = [extra for extra in BRINGS if any(each.extra == extra for each in packages)]
    missing = {extra: [each.name for each in packages if each.extra == extra and not each.version] for extra in extras}
    wanted = [extra for extra in extras if missing[extra]]
    table = Columns("<12", "<9", "<")
    said: Sections = {
        "verdict": [f"lossim {version('lossim')} works" + (f", without {', '.join(wanted)}" if wanted else ", with all "
                                                           "its extras")],
        "base": ["  " + ", ".join([f"Python {platform.python_version()}", *(
            f"{each.name} {each.version or 'missing'}" for each in packages if not each.extra)]), f"  reads {ALWAYS}"],
        "extras": [table.row("extra", "", "what it brings")] + [
            table.row(extra, "missing" if missing[extra] else "there", BRINGS[extra]) for extra in extras]}
    if wanted:
        said["mend"] = [f"  $ pip install 'lossim[{','.join(wanted)}]'"]
    payload = {"lossim": version("lossim"), "python": platform.python_version(), "missing": missing,
               "packages": [each._asdict() for each in packages]}
    return Answer(page(said), payload)


def _packages() -> list[Package]:
    """What the installed lossim requires, always or for what users do, by name: installers order them as they like."""
    found = []
    for line in requires("lossim") or []:
        matched = REQUIREMENT.match(line)
        if matched and (not matched[2] or matched[2] in BRINGS):
            found.append(Package(matched[1], matched[2] or "", _version(matched[1])))
    return sorted(found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
