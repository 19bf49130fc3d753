"""Build the site: ``python docs/site/build.py``; ``make docs`` does it in an environment of its own.

A warning of Sphinx is an error, and so is a cell of a notebook that fails, a public object that is on no page of the
reference, and a link that leads nowhere.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from api import places, reference
from links import wrong
from sphinx.cmd.build import main as sphinx
from sphinx.util.inventory import InventoryFile
from stage import ROOT, stage

HERE = Path(__file__).resolve().parent
BUILD = ROOT / "build" / "docs"


def missing(site: Path) -> list[str]:
    """Public objects that the built reference does not have."""
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    known = {name for kind, entries in inventory.data.items() if kind.startswith("py:") for name in entries}
    return sorted({at for at, _ in places().values()} - known)


def without_pictures(site: Path) -> list[str]:
    """Notebooks whose built page shows fewer pictures than its cells draw."""
    found = []
    for notebook in sorted((ROOT / "docs" / "tutorials").glob("*.md")):
        drawn = re.findall(r"^[^#\n]*\.(?:plot|map)\([^\n]*\)$", notebook.read_text(encoding="utf-8"), re.MULTILINE)
        page = (site / "tutorials" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        if page.count("<img") < len(drawn):
            found.append(f"{notebook.name}: {len(drawn)} pictures are drawn, and fewer shown")
    return found


def main() -> int:
    """Lay out, build, check; the exit status."""
    source, site = BUILD / "source", BUILD / "html"
    stage(source, reference())
    shutil.rmtree(site, ignore_errors=True)  # pages of an earlier build go; what Sphinx has read is kept beside it
    options = ["-q", "-W", "--keep-going", "-j", "2", "-b", "html", "-c", str(HERE), "-d", str(BUILD / "doctrees")]
    status = sphinx([*options, str(source), str(site)])
    if status:
        return status
    faults = [f"not in the reference: {name}" for name in missing(site)]
    faults += without_pictures(site) + wrong(site)
    print("\n".join(faults) or f"{sum(1 for _ in site.rglob('*.html'))} pages: {site / 'index.html'}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
