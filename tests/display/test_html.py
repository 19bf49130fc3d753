"""A page as a file: what is written, and what is refused."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import pages
from pages import document, paragraph, write


class Words(HTMLParser):
    """The text of a document, the names of its elements, and its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_all_words_are_there_with_no_element_or_link_of_theirs() -> None:
    page = pages.one_section(paragraph(pages.EVIL), paragraph(pages.EVIL, code=True), pages.sortable(), pages.long())
    read = Words(document(page))
    assert {"img", "a", "b"}.isdisjoint(read.tags)
    assert read.tags.count("script") == 1
    assert not any(name.startswith("on") or name in ("src", "srcset", "action") for name, _ in read.attributes)
    assert [value for name, value in read.attributes if name == "href"] == ["data:,"]
    assert "".join(read.text).count(pages.EVIL) == 7


def test_the_same_page_is_the_same_file_and_needs_no_clock() -> None:
    assert document(pages.evil_page()) == document(pages.evil_page())


def test_letters_that_no_file_can_hold_are_replaced(tmp_path: Path) -> None:
    write(pages.one_section(paragraph("a\x00b\udcffc\u202ed\x1b[31m")), tmp_path / "a.html")
    assert "a\ufffdb\ufffdc\ufffdd\ufffd[31m" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_numbers_know_their_values_and_tables_of_one_row_do_not_sort() -> None:
    text = document(pages.one_section(pages.sortable()))
    assert re.findall(r'data-value="([^"]*)"', text) == ["-3.0", "20.0", "100.0", "3.5"]
    assert 'class="sortable"' in text
    one = pages.sortable()
    single = type(one)(title="", columns=one.columns, rows=one.rows[:1])
    assert 'class="sortable"' not in document(pages.one_section(single))


def test_a_long_table_stands_behind_its_name_and_columns_that_say_nothing_are_left_out() -> None:
    text = document(pages.one_section(pages.long()))
    assert f'<details class="rows"><summary>Settings: {pages.ROWS} rows</summary>' in text
    whole = pages.sortable()
    empty = type(whole)(title="", columns=("name", "nothing", "sign"), rows=(("a", "", "+"), ("b", "", "-")))
    text = document(pages.one_section(empty))
    assert "<details" not in text.partition("<main>")[2]
    assert re.findall(r'<th scope="col"[^>]*>(.*?)</th>', text) == ["name", "sign"]


@pytest.mark.parametrize(("name", "message"), [
    ("audit.txt", r"path must end in \.html, got '.*audit\.txt'; take '.*audit\.html'"),
    ("audit", r"path must end in \.html, got '.*audit'; take"),
    ("folder.html", "path must be a file, and this is a folder, got '.*folder.html'"),
])
def test_a_wrong_name_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=message):
        write(pages.one_section(), tmp_path / name)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a file in a folder that exists, got .*; make '.*nowhere' first"):
        write(pages.one_section(), tmp_path / "nowhere" / "audit.html")
    assert not (tmp_path / "nowhere").exists()
