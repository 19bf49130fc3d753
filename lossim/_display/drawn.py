"""Pictures from files: SVG is let into a page only if it draws, and does nothing else."""

from __future__ import annotations

from html.parser import HTMLParser

__all__ = ["only_draws"]

_DRAW = frozenset(("svg", "title", "desc", "defs", "g", "path", "use", "text", "tspan", "clippath", "rect", "image",
                   "pattern", "circle", "ellipse", "line", "polyline", "polygon"))
"""Elements that a picture is made of, in small letters."""


class _Drawing(HTMLParser):
    """What is wrong with an SVG, the first of it; "" where nothing is."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.roots = 0
        self.wrong = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self._fail(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not self.open and data.strip():
            self._fail("text outside of it")

    def handle_comment(self, data: str) -> None:
        self._fail("a comment")

    def handle_decl(self, decl: str) -> None:
        self._fail("a declaration")

    def handle_pi(self, data: str) -> None:
        self._fail("an instruction")

    def unknown_decl(self, data: str) -> None:
        self._fail("a declaration")

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.roots += not self.open
        if tag not in _DRAW or (tag != "svg" and not self.open):
            self._fail(f"<{tag}>")
        for name, value in attrs:
            text = "".join((value or "").split()).lower()
            if name.startswith("on"):
                self._fail(f"an attribute {name}")
            if name.rpartition(":")[2] in ("href", "src") and not text.startswith(("#", "data:image/png;")):
                self._fail(f"a link to {value!r:.60}")
            if "url(" in text.replace("url(#", "") or "\\" in text or "@import" in text:
                self._fail(f"something fetched by {name}")

    def _fail(self, what: str) -> None:
        self.wrong = self.wrong or what


def only_draws(text: str) -> str:
    """SVG elements, one for each panel, that fetch nothing, run nothing and end where they end.

    Raises:
        ValueError: it is something else.

    >>> only_draws('<svg><path d="M 0 0"/></svg>')
    '<svg><path d="M 0 0"/></svg>'
    >>> only_draws('<svg><script>alert(1)</script></svg>')
    Traceback (most recent call last):
        ...
    ValueError: a picture in it holds <script>, and may only draw
    """
    reader = _Drawing()
    reader.feed(text)
    reader.close()
    wrong = reader.wrong or ("an element that is not closed" if reader.open else "")
    if not wrong and not reader.roots:
        wrong = "no <svg>"
    if wrong:
        raise ValueError(f"a picture in it holds {wrong}, and may only draw")
    return text
