"""Texts of anybody's in a page: escaped, and without letters that no page can hold."""

from __future__ import annotations

import html
import re

__all__ = ["escaped", "shown"]

_UNSHOWN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Characters that no page can hold, or that turn the letters around them: of names and paths that users gave."""


def shown(text: str) -> str:
    """The text, with a mark for each letter that cannot be shown."""
    return _UNSHOWN.sub("\ufffd", text)


def escaped(text: str) -> str:
    """A text as text of a page.

    >>> escaped('<b> & "x"')
    '&lt;b&gt; &amp; &quot;x&quot;'
    """
    return html.escape(shown(text))
