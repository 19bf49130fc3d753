"""Pages in a browser: nothing is fetched or complained of, tables sort, and a phone and paper have room for all."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

import lossim as ls
import pages
from browsers import ENTER, SPACE, Browser
from lossim.configs import read_config

PAPER = 688
"""Pixels of an A4 page between its margins of 14 mm."""

RIGHT = """return Math.max(...[...document.querySelectorAll('table, svg, pre')].map(
    (each) => each.getBoundingClientRect().right));"""
"""The right end of the widest part."""
TEXTS = """const shown = [...document.querySelectorAll('svg text')].filter((text) => text.getClientRects().length);
return shown.map((text) => {
    const svg = text.closest('svg'), box = text.getBoundingClientRect(), all = svg.getBoundingClientRect();
    const size = parseFloat(getComputedStyle(text).fontSize) * svg.getScreenCTM().a;
    const cut = Math.max(all.left - box.left, box.right - all.right, all.top - box.top, box.bottom - all.bottom);
    return [text.textContent, Math.max(cut, box.right - innerWidth), size];
});"""
"""Letters of pictures that are shown: how far they are cut by picture and screen, and their size."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "evil.html"
    pages.write(pages.evil_page(), path)
    return path


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pages of the questions that people ask, with a config where one bears on them."""
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=40),
                                   wrong=ls.lengths.geometric(mean=90), max_tokens=256)
    config = read_config({"loss_type": "grpo", "max_completion_length": 256, "num_generations": 8}, trainer="trl==1.16")
    log = policy.sample(np.random.default_rng(0), prompts=60, group_size=8)
    steps = np.arange(1, 13)
    curves = ls.Curves(steps=steps, length=70.0 + steps + 3.0 * (-1.0) ** steps, accuracy=0.4 + 0.005 * steps)
    start = {"start": ls.policies.two_paths, "right": ls.lengths.geometric(mean=40),
             "wrong": ls.lengths.geometric(mean=90)}
    sweep = ls.sweep(ls.length_drift, {"max_tokens": [128, 256], "solve_rate": [0.3, 0.7]}, scheme=config.scheme,
                     **start)
    known = {"accuracy": (0.3, 0.6), "mean_length": 60, "max_tokens": 256}
    found = {"audit": ls.audit(config.scheme, log, replicates=20), "drift": ls.drift(config.scheme, policy),
             "train": ls.train(config.scheme, policy, steps=3, pace=ls.pace(kl_per_step=1e-4)),
             "forecast": ls.forecast(config.scheme, curves, steps=10, max_tokens=256),
             "survey": ls.survey(config.scheme, known, draws=16), "sweep": sweep}
    folder = tmp_path_factory.mktemp("reports")
    for name, each in found.items():
        each.report(folder / f"{name}.html", config=config if name == "audit" else None)
    return sorted(folder.iterdir())


def test_pages_of_results_are_silent_small_and_fit(browser: Browser, reports: list[Path]) -> None:
    assert len(reports) == 6
    browser.fetched()
    for page in reports:
        browser.open(page, 390)
        assert (page.name, browser.said()) == (page.name, [])
        assert page.stat().st_size < 300_000
        assert (page.name, browser.run("return document.documentElement.scrollWidth")) == (page.name, 390)
        check_letters(browser)
        if page.stem == "audit":
            assert "trl: scale_rewards=none" in browser.run("return document.body.innerText")
        browser.open(page, PAPER, media="print")
        assert browser.run(RIGHT) <= PAPER + 1, page.name
    asked = {url for url in browser.fetched() if not url.startswith("data:")}
    assert asked == {page.as_uri() for page in reports}


def check_letters(browser: Browser) -> None:
    """No letter of a picture is cut, or too small to read."""
    texts = browser.run(TEXTS)
    assert texts
    for text, cut, size in texts:
        assert cut < 2.0, f"{text} is cut"
        assert size > 8.5, text


def test_what_users_wrote_is_text_and_nothing_is_fetched_or_complained_of(browser: Browser, page: Path) -> None:
    for width in (1280, 390):
        browser.open(page, width)
    assert browser.said() == []
    assert {url for url in browser.fetched() if not url.startswith("data:")} == {page.as_uri()}
    assert browser.run("return window.hit") is None
    assert browser.run("return document.querySelectorAll('script').length") == 1
    assert browser.run("return document.querySelectorAll('img, a, b, iframe, object, embed, form').length") == 0
    assert browser.run("return document.querySelector('h1').textContent") == f"grpo {pages.EVIL}"
    assert browser.run("return document.querySelector('figure desc').textContent") == f"three bars {pages.EVIL}"


@pytest.mark.parametrize(("directive", "script"), [
    ("img-src", "const e = document.createElement('img'); e.src = 'http://127.0.0.1:9/x.png'; document.body.append(e)"),
    ("connect-src", "fetch('http://127.0.0.1:9/x').catch(() => 0)"),
    ("script-src-elem", "const e = document.createElement('script'); e.text = 'hit = 5'; document.body.append(e)"),
])
def test_the_policy_forbids_what_would_leave_the_page_or_run_in_it(browser: Browser, page: Path, directive: str,
                                                                   script: str) -> None:
    browser.open(page)
    broken = browser.driver.execute_async_script(
        "const done = arguments[0];"
        f"document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective)); {script}")
    assert broken == directive
    assert browser.run("return window.hit") is None
    assert browser.said()  # it says so, which is no complaint about the page


def _order(browser: Browser, table: int) -> list[str]:
    """How the names of its rows begin, as they stand."""
    names = browser.run("return [...document.querySelectorAll('table.sortable')[arguments[0]].tBodies].flatMap("
                        "(body) => [...body.rows].map((row) => row.cells[0].textContent))", table)
    return [name[:6].strip() for name in names]


def test_tables_sort_by_keyboard_and_by_click(browser: Browser, page: Path) -> None:
    browser.open(page)
    before = _order(browser, 0)
    evil = pages.EVIL[:6].strip()
    assert before == ["no std", "cut at", "no KL", "λ = 1", evil]
    head = browser.all("table.sortable thead th")[1]
    button = browser.all("table.sortable thead button")[1]
    assert head.get_attribute("aria-sort") == "none"
    button.send_keys(ENTER)
    assert head.get_attribute("aria-sort") == "ascending"
    assert _order(browser, 0) == ["no std", evil, "cut at", "λ = 1", "no KL"]  # as numbers, unknown ones last
    button.send_keys(SPACE)
    assert head.get_attribute("aria-sort") == "descending"
    assert _order(browser, 0) == ["λ = 1", "cut at", evil, "no std", "no KL"]
    button.click()
    assert (head.get_attribute("aria-sort"), _order(browser, 0)) == ("none", before)
    # Rows stay below their heading.
    browser.all("table.sortable thead button")[5].click()
    assert _order(browser, 1) == ["mean l", "paths", "total", "by kin", "stop", "go on"]


def test_a_phone_scrolls_down_alone_and_its_pictures_have_letters_one_can_read(browser: Browser, page: Path) -> None:
    browser.open(page, 390)
    browser.run("document.querySelector('details').open = true")
    assert browser.run("return document.documentElement.scrollWidth") == 390
    check_letters(browser)


def test_paper_has_all_that_is_folded_and_no_table_is_cut(browser: Browser, page: Path) -> None:
    import pypdf

    browser.open(page)
    sheets = [sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(browser.pdf())).pages]
    with_rows = [sheet for sheet in sheets if "actor_rollout_ref" in sheet]
    text = " ".join(sheets)
    assert all(f"setting_{row}" in text for row in range(pages.ROWS))
    assert len(with_rows) > 1
    assert all("since" in sheet for sheet in with_rows)  # the names of columns again on each sheet
    assert not browser.run("return document.querySelector('details').open")  # as it was
    browser.open(page, PAPER, media="print")
    assert browser.run(RIGHT) <= PAPER + 1


def test_without_scripts_the_page_is_the_same_but_for_sorting(browser: Browser, page: Path) -> None:
    browser.open(page)
    words = "return document.querySelector('main').innerText"
    whole = browser.run(words)
    browser.tell("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        assert browser.run("return document.querySelectorAll('button').length") == 0
        assert browser.run(words) == whole
        browser.open(page, PAPER, media="print")
        assert browser.run("return document.querySelector('details table').getBoundingClientRect().height") > 100
    finally:
        browser.tell("Emulation.setScriptExecutionDisabled", value=False)


def test_dark_where_the_reader_wants_it(browser: Browser, page: Path) -> None:
    for dark in (False, True):
        browser.open(page, dark=dark)
        colours = [browser.run(f"return getComputedStyle(document.body).{name}")
                   for name in ("backgroundColor", "color")]
        paper, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in colours)
        assert (paper < 0.15 and ink > 0.85) if dark else (paper > 0.85 and ink < 0.15)
