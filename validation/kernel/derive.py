"""From stored products to estimates, default coordinates and the default family; README.md states the rule. numpy only.

    python validation/kernel/derive.py           prints what follows from figures/data
    python validation/kernel/derive.py --write   and stores it as figures/data/smollm2_kernel.json
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from itertools import combinations, pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
DATA = Path(__file__).parents[2] / "figures" / "data"
RESAMPLES = 400
TASKS = ("sums", "writing", "facts")
DISTANCES = (0.0, 0.25, 0.75, 1.25, 1.75, 2.5)
SLOPES = np.round(np.arange(-1.5, 1.51, 0.05), 2)
SCALES = np.geomspace(0.5, 64.0, 29)


@dataclass(frozen=True)
class Measured:
    """What was stored: ``of`` says what the rows of the products are."""

    of: dict[str, Any]
    raw: FloatArray
    adam: FloatArray

    @property
    def prompts(self) -> IntArray:
        """Of each draw and first token."""
        return np.array([each["prompt"] for each in (*self.of["draws"], *self.of["first_tokens"])])

    def draws(self, task: str, *labels: str) -> IntArray:
        """Numbers of the draws of a task, with one of these labels if given."""
        return np.array([i for i, d in enumerate(self.of["draws"])
                         if d["task"] == task and (not labels or d["label"] in labels)])

    def firsts(self, task: str) -> IntArray:
        """Numbers of the first tokens of a task."""
        start = len(self.of["draws"])
        return np.array([start + i for i, d in enumerate(self.of["first_tokens"]) if d["task"] == task])


def load() -> Measured:
    """The stored products as full matrices."""
    of = json.loads((DATA / "smollm2_draws.json").read_text())
    stored = np.load(DATA / "smollm2_products.npz")
    return Measured(of, *(_full(stored[name].astype(np.float64) * of["scales"][name]) for name in ("raw", "adam")))


def _full(triangle: FloatArray) -> FloatArray:
    size = math.isqrt(2 * len(triangle))
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = triangle
    return matrix + np.triu(matrix, 1).T


# --- estimates ---------------------------------------------------------------------------------------------------


class Pairs:
    """Sums of a matrix over pairs of draws, by their prompts, so that prompts can be weighted."""

    def __init__(self, prompts: IntArray) -> None:
        self.prompts = prompts
        self.member = (prompts == np.arange(prompts.max() + 1)[:, None]).astype(np.float64)
        """[prompt, draw]"""

    def between(self, matrix: FloatArray, a: IntArray, b: IntArray) -> tuple[FloatArray, FloatArray]:
        """Sums and numbers of pairs by prompt, [prompt, prompt]; none within a prompt."""
        left, right = self.member[:, a], self.member[:, b]
        apart = 1.0 - np.eye(len(left))
        return left @ matrix[np.ix_(a, b)] @ right.T * apart, np.outer(left.sum(1), right.sum(1)) * apart

    def within(self, matrix: FloatArray, a: IntArray, owner: IntArray) -> tuple[FloatArray, FloatArray]:
        """The same over pairs of one prompt and of different owners."""
        block = matrix[np.ix_(a, a)]
        pair = ((owner[:, None] != owner) & (self.prompts[a][:, None] == self.prompts[a])).astype(np.float64)
        left = self.member[:, a]
        return np.diag((left @ (block * pair) * left).sum(1)), np.diag((left @ pair * left).sum(1))


def mean_product(sums: tuple[FloatArray, FloatArray], weight: FloatArray) -> FloatArray:
    """Weighted mean over pairs, [resample]."""
    total, number = (np.einsum("rp,pq,rq->r", weight, each, weight, optimize=True) for each in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / number


def _weights(measured: Measured, rng: np.random.Generator) -> FloatArray:
    """How often each prompt counts, [1 + resample, prompt]: the sample itself, then resampled prompts of each task."""
    prompts = 1 + measured.prompts.max()
    weight = np.ones((1 + RESAMPLES, prompts))
    tasks: dict[str, list[int]] = {}
    for each in measured.of["first_tokens"]:
        tasks.setdefault(each["task"], []).append(each["prompt"])
    for own in tasks.values():
        weight[1:, own] = rng.multinomial(len(own), np.full(len(own), 1.0 / len(own)), size=RESAMPLES)
    return weight


def _interval(values: FloatArray) -> list[float]:
    """Estimate and the ends of its 90 % interval."""
    low, high = np.nanquantile(values[1:], [0.05, 0.95])
    return [float(values[0]), float(low), float(high)]


def estimates(measured: Measured, matrix: FloatArray, weight: FloatArray) -> dict[str, list[float]]:
    """Everything README.md defines, as [estimate, low, high]."""
    pairs = Pairs(measured.prompts)
    right, wrong, cut = (measured.draws("sums", label) for label in ("right", "wrong", "cut"))
    finished = np.concatenate([right, wrong])

    def mean(a: IntArray, b: IntArray) -> FloatArray:
        return mean_product(pairs.between(matrix, a, b), weight)

    stops = mean(finished, finished)
    own = {label: mean(draws, draws) for label, draws in (("right", right), ("wrong", wrong), ("cut", cut))}
    found = {"sharing": mean(right, wrong) / np.sqrt(own["right"] * own["wrong"]),
             "sharing_cut": mean(finished, cut) / np.sqrt(stops * own["cut"]),
             "amplitude": np.sqrt(own["wrong"] / own["right"]), "amplitude_cut": np.sqrt(own["cut"] / stops)}

    # Prompts and tasks.
    owner = np.array([measured.of["draws"][i]["response"] for i in finished])
    near = mean_product(pairs.within(matrix, finished, owner), weight)
    found["prompt_sharing"] = stops / near
    found["same_state"] = np.full_like(stops, np.diag(matrix)[finished].mean()) / stops
    groups = {task: measured.draws(task, "right", "wrong", "done") for task in TASKS}
    inside = {task: mean(draws, draws) for task, draws in groups.items()}
    apart = [mean(groups[a], groups[b]) / np.sqrt(inside[a] * inside[b]) for a, b in combinations(TASKS, 2)]
    for (a, b), each in zip(combinations(TASKS, 2), apart, strict=True):
        found[f"{a}_{b}"] = each
    found["class_sharing"] = np.mean(apart, axis=0)

    # First tokens.
    firsts = measured.firsts("sums")
    chosen = mean(firsts, firsts)
    found["path_scale"] = chosen / stops
    found["path_scale_same_prompt"] = np.full_like(stops, np.diag(matrix)[firsts].mean()) / stops
    found["cross_right"] = mean(firsts, right) / np.sqrt(chosen * own["right"])
    found["cross_wrong"] = mean(firsts, wrong) / np.sqrt(chosen * own["wrong"])
    found["stop_kernel"] = stops
    return {name: _interval(values) for name, values in found.items()}


def content(measured: Measured, weight: FloatArray, stops: float) -> dict[str, list[float]]:
    """Content of right against wrong, from the scores of responses to the prompts of the step.

    Its path scale, within and between prompts, and what it does to stopping on other prompts, over a stop's kernel.
    """
    of = measured.of["scores"]
    block = measured.raw[-len(of):, -len(of):]
    stopping = measured.draws("sums", "right", "wrong")
    at_stops, asked = measured.raw[-len(of):, stopping], measured.prompts[stopping]
    prompts = np.array([each["prompt"] for each in of])
    label = np.array([each["label"] for each in of])
    size = weight.shape[1]
    inside, outside, counted, counted_outside, onto, counted_onto = np.zeros((6, size, size))
    members = {p: [np.flatnonzero((prompts == p) & (label == name)) for name in ("right", "wrong")]
               for p in np.unique(prompts)}
    difference = {p: _mean_of(right, len(of)) - _mean_of(wrong, len(of)) for p, (right, wrong) in members.items()
                  if min(len(right), len(wrong))}
    for p, q in permutations(difference, 2):
        outside[p, q], counted_outside[p, q] = difference[p] @ block @ difference[q], 1.0
    for p, each in difference.items():
        moved = np.bincount(asked, weights=each @ at_stops, minlength=size)
        number = np.bincount(asked, minlength=size)
        apart = np.arange(size) != p
        onto[p], counted_onto[p] = moved * apart, number * apart
        right, wrong = members[p]
        if min(len(right), len(wrong)) >= 2:
            inside[p, p] = (_unlike(block, right) + _unlike(block, wrong) - 2.0 * block[np.ix_(right, wrong)].mean())
            counted[p, p] = 1.0
    return {"path_scale_content": _interval(mean_product((inside, counted), weight) / stops),
            "path_scale_content_between": _interval(mean_product((outside, counted_outside), weight) / stops),
            "content_with_stops": _interval(mean_product((onto, counted_onto), weight) / stops)}


def _mean_of(members: IntArray, size: int) -> FloatArray:
    """Weights that average over these members."""
    weight = np.zeros(size)
    weight[members] = 1.0 / max(len(members), 1)
    return weight


def _unlike(block: FloatArray, members: IntArray) -> float:
    """Mean product of two different members."""
    own = block[np.ix_(members, members)]
    return float((own.sum() - np.trace(own)) / (len(members) * (len(members) - 1)))


def positions(measured: Measured, matrix: FloatArray, weight: FloatArray) -> dict[str, Any]:
    """Least squares of k = A (t t')^(d/2) exp(-|log t - log t'| / ℓ), and correlations by distance."""
    draws = measured.draws("sums")
    prompts = measured.prompts[draws]
    logs = np.log([measured.of["draws"][i]["position"] for i in draws])
    k = matrix[np.ix_(draws, draws)]
    k = k / np.abs(k).mean()
    distance = np.abs(logs[:, None] - logs)
    member = (prompts == np.arange(weight.shape[1])[:, None]).astype(np.float64)
    apart = 1.0 - np.eye(len(member))

    def summed(x: FloatArray) -> FloatArray:
        return np.einsum("rp,pq,rq->r", weight, member @ x @ member.T * apart, weight, optimize=True)

    gain = np.empty((len(weight), len(SLOPES), len(SCALES)))
    for i, slope in enumerate(SLOPES):
        size = np.exp(slope / 2.0 * (logs[:, None] + logs - 2.0 * logs.mean()))
        for j, scale in enumerate(SCALES):
            shape = size * np.exp(-distance / scale)
            gain[:, i, j] = summed(k * shape)**2 / summed(shape**2)
    best = gain.reshape(len(weight), -1).argmax(1)
    slope, scale = SLOPES[best // len(SCALES)], SCALES[best % len(SCALES)]

    # Correlations: means over pairs of a distance, over what the fitted diagonal says of them.
    size = np.exp(slope[0] / 2.0 * (logs[:, None] + logs - 2.0 * logs.mean()))
    shape = size * np.exp(-distance / scale[0])
    level = summed(k * shape) / summed(shape**2)
    table = []
    for low, high in pairwise(DISTANCES):
        inside = ((distance >= low) & (distance < high)).astype(np.float64)
        value, low_end, high_end = _interval(summed(k * inside) / summed(size * inside) / level[0])
        table.append([low, high, value, low_end, high_end])
    return {"slope": _interval(slope), "position_scale": _interval(scale), "correlations": table}


def small_network() -> dict[str, list[float]]:
    """The same numbers from the table of the small network; ends are those over positions."""
    stored = json.loads((DATA / "tiny_network.json").read_text())["kernel_sometimes"]
    names = ("right_right", "wrong_wrong", "right_wrong", "right_first", "wrong_first")
    block = {name: np.array(stored[name]) for name in names}
    t = np.log(stored["positions"])
    right, wrong = block["right_right"], block["wrong_wrong"]
    sharing = np.diag(block["right_wrong"]) / np.sqrt(np.diag(right) * np.diag(wrong))
    amplitude = np.sqrt(np.diag(wrong) / np.diag(right))
    stops = (right.mean() + wrong.mean()) / 2.0
    first = float(np.squeeze(stored["first_first"]))
    cross = {name: float(block[f"{name}_first"].mean() / math.sqrt(first * own.mean()))
             for name, own in (("right", right), ("wrong", wrong))}
    (d0, l0), (d1, l1) = (_fitted(k, t) for k in (right, wrong))

    def ends(middle: float, *others: float) -> list[float]:
        return [float(middle), float(min(others)), float(max(others))]

    return {"sharing": ends(block["right_wrong"].mean() / math.sqrt(right.mean() * wrong.mean()), *sharing),
            "amplitude": ends(math.sqrt(wrong.mean() / right.mean()), *amplitude),
            "slope": ends((d0 + d1) / 2.0, d0, d1), "position_scale": ends(math.sqrt(l0 * l1), l0, l1),
            "path_scale": ends(first / stops, first / right.mean(), first / wrong.mean()),
            "cross_right": ends(cross["right"], cross["right"]), "cross_wrong": ends(cross["wrong"], cross["wrong"])}


def _fitted(k: FloatArray, t: FloatArray) -> tuple[float, float]:
    """Slope and position scale of one block at log positions t, on the same grids."""
    def gain(fit: tuple[float, float]) -> float:
        slope, scale = fit
        shape = np.exp(slope / 2.0 * (t[:, None] + t) - np.abs(t[:, None] - t) / scale)
        return float((k * shape).sum()**2 / (shape**2).sum())

    return max(((float(slope), float(scale)) for slope in SLOPES for scale in SCALES), key=gain)


def models() -> dict[str, dict[str, Any]]:
    """Estimates of the three models."""
    measured = load()
    weight = _weights(measured, np.random.default_rng(0))
    found: dict[str, dict[str, Any]] = {"small network": small_network()}
    for name, matrix in (("language model", measured.raw), ("language model, Adam", measured.adam)):
        found[name] = estimates(measured, matrix, weight) | positions(measured, matrix, weight)
    kernel = found["language model"]["stop_kernel"][0]
    found["language model"] |= content(measured, weight, kernel)
    return found


# --- the rule ----------------------------------------------------------------------------------------------------


def _down(x: float, step: float) -> float:
    return round(math.floor(x / step + 1e-9) * step, 10)


def _up(x: float, step: float) -> float:
    return round(math.ceil(x / step - 1e-9) * step, 10)


def _digit(x: float, rounded: Any) -> float:
    """To one digit, down or up."""
    return float(rounded(x, 10.0 ** math.floor(math.log10(x))))


def coordinates(found: dict[str, dict[str, Any]], model: str = "language model") -> dict[str, float]:
    """Default coordinates."""
    own = found[model]
    scale = math.sqrt(found["small network"]["path_scale"][0] * own["path_scale"][0])
    return {"bins": 1 if own["position_scale"][0] >= 3.0 else 2,
            **{name: min(0.95, round(round(own[name][0] / 0.05) * 0.05, 2)) for name in ("sharing", "class_sharing")},
            "path_scale": min((0.5, 1.0, 2.0, 3.0, 5.0, 10.0), key=lambda each: abs(math.log(each / scale)))}


def family(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ranges that hold the 90 % intervals of these models."""
    def hull(*names: str) -> tuple[float, float]:
        ends = [end for each in found.values() for name in names if name in each for end in each[name][1:]]
        return min(ends), max(ends)

    low, high = hull("sharing")
    result: dict[str, Any] = {"sharing": (_down(low, 0.05), min(1.0, _up(high, 0.05)))}
    result["class_sharing"] = (max(0.0, _down(hull("class_sharing")[0], 0.05)), 1.0)
    low, high = np.clip(hull("path_scale", "path_scale_content"), 0.3, 10.0)
    result["path_scale"] = (_digit(low, _down), _digit(high, _up))
    low, high = hull("position_scale")
    result["position_scale"] = (_down(low, 1.0 if low >= 2.0 else 0.5), min(16.0, _up(high, 1.0)))
    low, high = hull("slope")
    result["slope"] = (_down(low, 0.1), _up(high, 0.1))
    low, high = hull("amplitude")
    result["amplitude"] = (_down(low, 0.05), _up(high, 0.05))
    cross = np.array([[each[f"cross_{cell}"][0] for cell in ("right", "wrong")] for each in found.values()])
    common = cross.mean(axis=1, keepdims=True)
    result["cross"] = _up(float(np.sqrt((common**2).mean())), 0.01)
    result["cross_by_cell"] = _up(float(np.sqrt(((cross - common)**2).mean())), 0.01)
    return result


def derived() -> dict[str, Any]:
    """Estimates, and what follows from them."""
    found = models()
    adam = {name: each for name, each in found.items() if name.endswith("Adam")}
    return {"models": found, "coordinates": coordinates(found), "family": family(found), "adam": family(adam)}


ROWS = {
    "sharing": "stop logits on right against wrong, different prompts of a task (`sharing`)",
    "prompt_sharing": "different prompts of a task against different responses to one prompt",
    "class_sharing": "different tasks against different prompts of a task (`class_sharing`)",
    "amplitude": "size on wrong over right (`amplitude`)",
    "position_scale": "ℓ: falls by e over this distance in log t (`position_scale`)",
    "slope": "d: the kernel at t goes as t^d (`slope`)",
    "path_scale": "first token over stop (`path_scale`)",
    "path_scale_content_between": "right against wrong content over stop, different prompts",
    "content_with_stops": "right against wrong content with stopping over stop, different prompts",
    "cross_right": "first token with stopping on right (`cross`)",
    "cross_wrong": "first token with stopping on wrong (`cross`)",
    "same_state": "one state with itself over different prompts",
}
"""What is shown, in plain words."""


def _shown(value: Any) -> str:
    return f"{value[0]:.2g} [{value[1]:.2g}, {value[2]:.2g}]"


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """Estimates as rows of a Markdown table."""
    head = ["| measured | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    return head + [f"| {text} | " + " | ".join(_shown(each[name]) if name in each else "–" for each in found.values())
                   + " |" for name, text in ROWS.items()]


def main() -> None:
    """Print, and store if asked to."""
    result = derived()
    print("\n".join(table(result["models"])))
    for name in ("coordinates", "family", "adam"):
        print(name, ", ".join(f"{key} {value}" for key, value in result[name].items()))
    if "--write" in sys.argv:
        of = load().of
        names = ("model", "script", "seed", "date", "versions", "max_tokens", "system", "sketch", "sketch_errors",
                 "cpu_seconds", "census", "mixed_groups")
        kept = {name: of[name] for name in names}
        (DATA / "smollm2_kernel.json").write_text(json.dumps(kept | result, indent=1) + "\n")


if __name__ == "__main__":
    main()
