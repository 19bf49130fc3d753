"""The notes of many results together."""

from __future__ import annotations

from collections.abc import Sequence

from lossim._support.text import Note, code


def together(notes: Sequence[Sequence[str]], what: str) -> tuple[str, ...]:
    """The notes of several results, each once: of those of one kind the first, with how many results have one.

    >>> together([["one path"], ["one path", "no pace"]], "draws")
    ('one path', 'no pace (in 1 of 2 draws)')
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for of_one in notes:
        mine = {(code(note), note.value if isinstance(note, Note) else note): note for note in of_one}
        for kind, note in mine.items():
            kinds.setdefault(kind, []).append(note)
    said = []
    for (about, value), alike in kinds.items():
        others = ", and others like it" if len(set(alike)) > 1 else ""
        some = f" (in {len(alike):,} of {len(notes):,} {what}{others})"
        whole = len(alike) == len(notes) and not others
        said.append(Note(about, alike[0] if whole else alike[0] + some, value))
    return tuple(said)
