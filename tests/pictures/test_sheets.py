"""Pictures of results are read as wide as a column, shown by notebooks, said in a sentence, drawn where one wants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import lossim as ls
from legible import complaints
from lossim import schemes

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=30), wrong=ls.lengths.geometric(mean=50),
                               max_tokens=128)
CURVES = ls.Curves(steps=range(6), length=[46, 48, 47, 46, 49, 50], accuracy=[0.4, 0.42, 0.41, 0.4, 0.43, 0.45],
                   truncated=[0.02, 0.02, 0.03, 0.02, 0.03, 0.03], reward=[-0.2, -0.16, -0.18, -0.2, -0.14, -0.1],
                   responses_per_step=128)


def log() -> ls.Rollouts:
    return POLICY.sample(np.random.default_rng(0), prompts=80, group_size=8)


RESULTS: dict[str, tuple[int, Callable[[], Any]]] = {
    "drift": (2, lambda: ls.drift(schemes.grpo(), POLICY)),
    "training": (3, lambda: ls.train(schemes.grpo(), POLICY, steps=3)),
    "audit": (2, lambda: ls.audit(log(), schemes.ppo())),
    "audits": (2, lambda: ls.audit(log(), [schemes.grpo(), schemes.dr_grpo()])),
    "attribution": (1, lambda: ls.attribute([schemes.dr_grpo()], POLICY, relative_to=schemes.grpo())),
    "forecast": (1, lambda: ls.forecast(schemes.grpo(), CURVES, steps=9, start=POLICY)),
    "curves": (3, CURVES.describe),
    "survey": (2, lambda: ls.survey(schemes.ppo(), dict(
        accuracy=(0.1, 0.6), mean_length=30.0, max_tokens=64, critic=["zero", "class mean", "exact"]), draws=16))}
"""Panels, and a result."""


@pytest.fixture(scope="module", params=RESULTS)
def shown(request: pytest.FixtureRequest) -> tuple[int, Any, Any]:
    panels, make = RESULTS[request.param]
    result = make()
    return panels, result, result.plot()


def test_it_can_be_read_as_wide_as_a_column(shown: tuple[int, Any, Any]) -> None:
    panels, _, figure = shown
    assert len(figure.axes) == panels
    assert figure.get_figwidth() == 3.4
    assert complaints(figure) == []


def test_its_sentence_has_its_title_and_more(shown: tuple[int, Any, Any]) -> None:
    _, _, figure = shown
    title = " ".join(figure.get_suptitle().replace("−", "-").split())
    assert figure.alt.startswith(title)
    assert figure.alt.endswith(".")
    assert "\n" not in figure.alt


def test_a_notebook_shows_it(shown: tuple[int, Any, Any]) -> None:
    """A notebook asks whatever a cell ends with for ``_repr_png_``, and takes how large it is with it."""
    _, _, figure = shown
    data, size = figure._repr_png_()
    pixels = [int.from_bytes(data[at:at + 4], "big") for at in (16, 20)]  # of the header of a PNG
    assert data.startswith(b"\x89PNG\r\n")
    assert pixels[0] == 3.4 * 300
    assert pixels[0] / pixels[1] == pytest.approx(size["width"] / size["height"], rel=0.01)
    assert size["alt"] == figure.alt


def test_it_is_drawn_in_axes_that_are_given(shown: tuple[int, Any, Any]) -> None:
    panels, result, own = shown
    figure = Figure()
    axes = figure.subplots(2, 2)
    assert result.plot(ax=axes[1, 0]) is figure
    assert [each.has_data() for each in axes.flat] == [False, False, True, False]
    assert figure.get_suptitle() == ""
    assert "".join(axes[1, 0].get_title().split()) == "".join(own.get_suptitle().split())
    assert result.plot(ax=list(axes.flat)[:panels]) is figure
    assert [each.get_xlabel() for each in axes.flat[:panels]] == [each.get_xlabel() for each in own.axes]
    part = Figure().subfigures(1, 2)[0]
    assert result.plot(ax=part.subplots()) is part.figure


LONG = "a name $x_1^{2} that is longer than any picture is wide, and has signs in it"


@pytest.mark.parametrize("kind", ["drift", "training", "audit"])
def test_names_of_users_are_text_and_have_room(kind: str) -> None:
    policy = ls.Policy([ls.PromptClass(f"{name} {LONG}", weight=0.5, paths=[
        ls.Path(f"{LONG}, right", probability=0.4, length=ls.lengths.geometric(mean=30), p_correct=1.0),
        ls.Path(f"{LONG}, wrong", probability=0.6, length=ls.lengths.geometric(mean=50), p_correct=0.0)])
        for name in "ab"], max_tokens=128)
    scheme = replace(schemes.grpo(), name=LONG)
    figure = {"drift": lambda: ls.drift(scheme, policy), "training": lambda: ls.train(scheme, policy, steps=2),
              "audit": lambda: ls.audit(log(), [scheme, schemes.grpo()])}[kind]().plot()
    assert complaints(figure) == []
    assert figure.alt.startswith(LONG)


@pytest.mark.parametrize(("ax", "error", "message"), [
    (3, TypeError, "ax must be a matplotlib Axes, or several"),
    ([], ValueError, "number of axes must be 1 to 2, as many as this picture has panels, got 0"),
    (list(Figure().subplots(3)), ValueError, "number of axes must be 1 to 2, .* got 3")])
def test_axes_that_are_refused(ax: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ls.drift(schemes.grpo(), POLICY).plot(ax=ax)


def test_a_sentence_takes_no_matplotlib() -> None:
    code = """
import sys, lossim as ls
from lossim._pictures import describe_drift
never = ls.policies.unsolvable(length=ls.lengths.geometric(mean=9), max_tokens=64)
assert describe_drift(ls.drift(ls.schemes.ppo(critic=ls.critics.Zero()), never)).startswith("ppo: responses get longer")
assert not any(name.startswith("matplotlib") for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_read_is_found() -> None:
    figure = Figure(figsize=(3.4, 2.0))
    axes = figure.add_axes((0.2, 0.2, 0.7, 0.7), xticks=[], yticks=[], xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    axes.plot([0.0, 1.0], [0.5, 0.5], label="a line")
    axes.text(0.5, 0.5, "crossed", fontsize=9.0)
    axes.text(0.1, 0.1, "small", fontsize=7.0)
    axes.text(0.9, 0.8, "far outside", fontsize=9.0)
    axes.text(0.1, 0.8, "under", fontsize=9.0)
    axes.text(0.12, 0.81, "over", fontsize=9.0)
    axes.text(0.7, 0.2, "$10^{3}$", fontsize=8.0)
    assert sorted(complaints(figure)) == [
        "7.0 points: 'small'", "a raised number of 5.6 points: '$10^{3}$'", "crosses 'crossed': a line",
        "leaves the picture: 'far outside'", "on each other: 'under' and 'over'"]
    assert len(complaints(figure, column=1.7)) > 8
