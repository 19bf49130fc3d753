"""The map of a sweep: colours are the numbers, the line goes through 0, hatches are where nothing decides."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh

import lossim as ls
from legible import complaints


def plane(*, x: float, y: float, shift: float = 0.0) -> ls.Estimate:
    if (x, y) == (3.0, 30.0):
        raise ValueError("out of reach")
    return ls.Estimate(value=x - 2.0 + shift, stderr=0.2, n=9, method="monte carlo")


def words(*, x: str, y: float) -> float:
    return y * len(x)


@pytest.fixture(scope="module")
def swept() -> ls.Sweep:
    return ls.sweep(plane, {"x": [1.0, 2.5, 3.0], "shift": [0.0, 0.25], "y": [3.0, 30.0]})


def part(axes, kind):
    return [each for each in axes.collections if type(each) is kind]


def test_colours_are_the_numbers_about_zero_and_hatches_where_undecided(swept: ls.Sweep) -> None:
    figure = swept.map("x", "y", at={"shift": 0.0})
    axes = figure.axes[0]
    mesh, = part(axes, QuadMesh)
    shown = mesh.get_array()
    np.testing.assert_array_equal(shown.filled(np.nan), [[-1.0, 0.5, 1.0], [-1.0, 0.5, np.nan]])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-1.0, 1.0)
    hatched, = part(axes, PolyCollection)
    assert hatched.get_hatch() == "////"
    assert len(hatched.get_paths()) == 2  # 0.5 is within three standard errors of 0.2
    assert complaints(figure) == []
    assert axes.get_yscale() == "log"
    assert axes.get_xscale() == "linear"
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"sign undecided", "0", "failed"}
    assert figure.get_suptitle().replace("\n", " ") == (
        "plane, shift 0.0: below 0 in 2 of 5 cells, undecided in 2, above 0 in 1; −1 to +1 plane; 1 more failed")


def test_the_line_goes_through_zero_out_to_the_edges(swept: ls.Sweep) -> None:
    axes = swept.map("y", "x", at={"shift": 0.25}).axes[0]
    line = next(each for each in axes.collections if type(each).__name__ == "QuadContourSet")
    points = np.concatenate([path.vertices for path in line.get_paths()])
    np.testing.assert_allclose(points[:, 1], 1.75)  # x - 2 + 0.25 = 0, between 1 and 2.5
    assert points[:, 0].min() < 3.0


def test_another_number_other_axes_and_text(swept: ls.Sweep) -> None:
    errors = swept.map("x", "y", "plane_stderr", at={"shift": 0.0}).axes[0]
    assert part(errors, QuadMesh)[0].get_array().compressed() == pytest.approx(0.2)
    figure = ls.sweep(words, {"x": ["no", "none"], "y": [-1.0, 1.0]}).map("x", "y")
    labels = figure.axes[0]
    assert complaints(figure) == []
    assert [tick.get_text() for tick in labels.get_xticklabels()] == ["no", "none"]
    given = figure.add_subplot()
    assert swept.map("x", "y", at={"shift": 0.0}, ax=given) is figure
    assert "\n".join(given.get_title(loc=loc) for loc in ("left", "center")).strip().startswith("plane, shift 0.0")


def test_points_stand_where_they_are_on_every_kind_of_axis() -> None:
    """Between values of an axis that is even, drawn by its logarithm, or of equally wide cells; at values of others."""
    def product(*, lam: float, rate: float, word: str, group: int) -> float:
        return (lam - 0.95) * rate * len(word) * group

    swept = ls.sweep(product, {"lam": [0.9, 0.99, 0.999, 1.0], "rate": [0.1, 0.2, 0.3], "word": ["a", "b"],
                               "group": [2, 8, 64]})
    points = {"here": (0.15, 0.9945), "there": (0.3, 1.0)}
    figure = swept.map("rate", "lam", at={"word": "a", "group": 8}, points=points)
    assert complaints(figure) == []
    axes = figure.axes[0]
    dots = [line.get_xydata()[0] for line in axes.lines]
    np.testing.assert_allclose(dots, [[0.15, 1.5], [0.3, 3.0]])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0.9", "0.99", "0.999", "1"]
    assert [(text.get_text(), text.get_horizontalalignment()) for text in axes.texts] == [("here", "left"),
                                                                                          ("there", "right")]
    axes = swept.map("group", "word", at={"lam": 1.0, "rate": 0.1}, points={"b, 16": (16, "b")}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[16, 1]])
    for place, message in (((0.5, 1.0), r"rate of points\['p'\] must lie in \[0.1, 0.3\]"), (0.2, "must be x and y")):
        with pytest.raises((ValueError, TypeError), match=message):
            swept.map("rate", "lam", at={"word": "a", "group": 8}, points={"p": place})
    with pytest.raises(ValueError, match="must be a value of its axis: 'a', 'b'"):
        swept.map("group", "word", at={"lam": 1.0, "rate": 0.1}, points={"p": (16, "c")})


@pytest.mark.parametrize(("how", "message"), [
    (("x", "y", None, {}), "must also fix shift"), (("x", "x", None, {"shift": 0.0}), "another axis"),
    (("x", "z", None, {}), "must be one of 'x', 'shift', 'y'"), (("x", "y", None, {"y": 3.0}), "name in at"),
    (("x", "y", None, {"shift": 3.0}), "must be a value of its axis: 0.0, 0.25"),
    (("x", "y", "length", {"shift": 0.0}), "value must be one of 'plane'")])
def test_what_is_refused(swept: ls.Sweep, how: tuple, message: str) -> None:
    x, y, value, at = how
    with pytest.raises(ValueError, match=message):
        swept.map(x, y, value, at=at)


def test_labels_of_values_that_crowd_together_are_left_out_and_not_on_each_other() -> None:
    lambdas = [0.9, 0.95, 0.98, 0.99, 0.995, 1.0]
    figure = ls.sweep(lambda x, y: x - 0.97 + y, {"x": lambdas, "y": [-0.01, 0.0, 0.01]}).map("y", "x")
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["0.9", "0.95", "0.98", "0.99", "1"]
    assert complaints(figure) == []
