"""Lay the site's sources out in one folder: pages of this repository, with links to each other that hold there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE = {
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "docs/site/index.md": "index.md",
    "figures/README.md": "gallery.md",
    "validation/README.md": "validation_settings.md",
    "validation/kernel/README.md": "kernel_rule.md",
}
"""Files that have another name on the site; pages in docs/ keep theirs, and all else is a file to download."""

FENCE = re.compile(r"^(```+).*?^\1$", re.DOTALL | re.MULTILINE)
TARGET = re.compile(r"(?<=\]\()[^)\s#]+(?=[)#])|(?<= src=\")[^\"]+(?=\")")
NAMED = re.compile(r"(?<!!)\[`?[\w/]+\.md`?\](?=\([^)\s]+\.md[)#])")
"""A link whose words are the name of a page: on the site they are its title."""


def pages() -> dict[str, Path]:
    """Every page by its name on the site."""
    own = {str(path.relative_to(ROOT / "docs")): path
           for folder in ("", "tutorials") for path in sorted((ROOT / "docs" / folder).glob("*.md"))}
    return own | {name: ROOT / source for source, name in ELSEWHERE.items() if source != "README.md"}


def place(source: str) -> str:
    """Where a file of the repository is on the site."""
    if source in ELSEWHERE:
        return ELSEWHERE[source]
    if source.startswith("docs/") and source.endswith(".md"):
        return source.removeprefix("docs/")
    return f"files/{source}"


def outside_code(text: str) -> Iterator[tuple[str, bool]]:
    """The text in pieces, each with whether it is prose."""
    end = 0
    for block in FENCE.finditer(text):
        yield text[end:block.start()], True
        yield block[0], False
        end = block.end()
    yield text[end:], True


def rewritten(text: str, source: Path, name: str, files: set[str]) -> str:
    """A page with its links as they are on the site; files that it shows or offers are added to ``files``."""
    def link(found: re.Match[str]) -> str:
        aim = (source.parent / found[0]).resolve()
        if re.match(r"[a-z]+:", found[0]) or not aim.is_file() or not aim.is_relative_to(ROOT):
            return found[0]
        target = place(str(aim.relative_to(ROOT)))
        if target.startswith("files/"):
            files.add(str(aim.relative_to(ROOT)))
        return os.path.relpath(target, Path(name).parent)

    return "".join(NAMED.sub("[]", TARGET.sub(link, piece)) if prose else piece.replace("\n\n```", "\n```")
                   for piece, prose in outside_code(text))


def write(path: Path, text: str) -> None:
    """Write what is new, so that only pages that changed are built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def stage(folder: Path, generated: dict[str, str]) -> None:
    """All pages and files below ``folder``, and what was made for the site alone."""
    files: set[str] = set()
    wanted = {name: rewritten(path.read_text(encoding="utf-8"), path, name, files) for name, path in pages().items()}
    own = {name.removesuffix(".md") for name in wanted if "/" not in name}
    others = own - {"index"} - set(re.findall(r"^\w+$", wanted["index.md"], re.MULTILINE))
    wanted["index.md"] = wanted["index.md"].replace("(others)", "\n".join(sorted(others)))
    wanted |= generated
    for name, text in wanted.items():
        write(folder / name, text)
    for name in files:
        copy = folder / place(name)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    for path in folder.rglob("*"):  # of an earlier build
        if path.suffix in (".md", ".rst") and "files" not in path.parts and str(path.relative_to(folder)) not in wanted:
            path.unlink()
