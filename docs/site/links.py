"""Links of a built site: each leads to a page and a place on it; nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

EXTERNAL = re.compile(r"https?://[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}(:\d+)?(/[^\s<>\"]*)?(#[^\s]*)?", re.IGNORECASE)
"""The form of an address elsewhere: a host with a dot, no spaces. Whether it is there is not asked."""


class Page(HTMLParser):
    """The links of a page, what it loads, and the places it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what leads somewhere."""
        given = {name: value or "" for name, value in attrs}
        self.places.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("img", "script", "source", "iframe") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") != "canonical" and "href" in given:
            self.loads.append(given["href"])


def wrong(site: Path) -> list[str]:
    """Every link of a site that leads nowhere, as ``page: link``."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            if link.startswith(("data:", "javascript:")):
                continue
            if re.match(r"[a-z]+:|//", link):
                fine = link in page.links and EXTERNAL.fullmatch(link) is not None
            else:
                file, _, part = link.partition("#")
                aim = (path.parent / unquote(file.partition("?")[0])).resolve() if file else path
                fine = aim.is_file() and (not part or aim not in pages or unquote(part) in pages[aim].places)
            if not fine:
                found.append(f"{path.relative_to(site)}: {link}")
    return found
