"""--report: a page of any answer, with all that is printed; what cannot be written is refused before any work."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from command_line import LAWS, QUICK, refused, run

MEANS = ["--accuracy", "0.4", "--right", "60", "--wrong", "110", "--max-tokens", "256"]


def shown(page: str) -> str:
    """The words of a page, without its style and script."""
    return html.unescape(re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", "", page, flags=re.DOTALL))


@pytest.mark.parametrize("argv", [
    ["audit", "LOG", "--config", "CONFIG", *QUICK],
    ["drift", "--scheme", "grpo", *LAWS, "--max-tokens", "64"],
    ["drift", "--compare", "grpo,dr_grpo", *MEANS],
    ["drift", "--scheme", "grpo", "--log", "LOG", *QUICK],
    ["what-if", "--scheme", "grpo", *MEANS],
    ["stops", "--scheme", "grpo", "--knob", "penalty", *MEANS],
    ["attribute", "--compare", "grpo,dr_grpo", *MEANS],
    ["survey", "grpo", "--accuracy", "0.3:0.6", "--mean-length", "60", "--max-tokens", "256", "--draws", "16"],
    ["train", "--scheme", "grpo", *MEANS, "--steps", "3"],
    ["forecast", "STATE", "--paid", "1,0", "--scheme", "grpo", "--steps", "5", "--max-tokens", "512"],
    ["curves", "STATE"],
    ["pace", "STATE", "--paid", "1,0"],
])
def test_every_answer_is_a_page_with_what_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path, log: str,
                                                     config: str, argv: list[str]) -> None:
    history = [{"step": step, "completions/mean_length": 90.0 + 9.0 * (-1) ** step + step, "reward": 0.4 + step / 100}
               for step in range(1, 7)]
    state = tmp_path / "trainer_state.json"
    state.write_text(json.dumps({"log_history": history}), encoding="utf-8")
    words = [{"LOG": log, "CONFIG": config, "STATE": str(state)}.get(word, word) for word in argv]
    page = tmp_path / "page.html"
    out, err = run(capsys, *words, "--report", str(page))
    assert err == ""
    written = page.read_text(encoding="utf-8")
    assert written.startswith("<!doctype html>")
    assert len(written) < 1_000_000
    assert out.strip() in shown(written)
    title, sentence = (shown(re.search(f"<{each}>(.*?)</", written, re.DOTALL)[1])  # type: ignore[index]
                       for each in ("h1", 'p class="sentence"'))
    assert out.partition("\n")[0].removeprefix(f"{title}: ").removesuffix(" (exact)") == sentence


@pytest.mark.parametrize(("target", "rule"), [
    ("a.txt", "--report must end in .html, got 'a.txt'; take 'a.html'"),
    ("report", "--report must end in .html, got 'report'; take 'report.html'"),
    ("none/a.html", "--report must be a file in a folder that exists, got 'none/a.html'; make 'none' first"),
])
def test_what_cannot_be_written_is_refused_before_any_work(capsys: pytest.CaptureFixture[str], target: str, rule: str
                                                           ) -> None:
    assert refused(capsys, "audit", "no.jsonl", "--report", target) == f"lossim: {rule}\n"
