"""A measured kernel in lossim predicts what a step of the network that it was measured on does, to first order."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import lossim as ls
from lossim import advantages, aggregation
from tests.peers.networks import (
    CONTENT,
    FIRST,
    ORDER,
    PROMPTS,
    STOP,
    Array,
    N,
    assert_first_order,
    network,
    recipe,
    scattered,
    stepped,
)


def decisive(seed: int = 0) -> Any:
    """A network that is the model of lossim: stopping depends on cell and position alone, not on what a response says.

    All content tokens have one embedding, as have the tokens of one path, and embeddings are frozen, so that all
    prefixes of a cell and position are one state, before and after any step. An average over prefixes is then each of
    them, and so is the product of averages.
    """
    model = network(seed=seed, tied=False)
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings[list(CONTENT)] = embeddings[CONTENT[0]].clone()
        embeddings[5] = embeddings[4]  # so "right" and "guess" of class hard are one state after their first token
        model.lm_head.weight[list(STOP)] += 0.1 * torch.randn(2, 16, dtype=torch.float64)
    embeddings.requires_grad_(False)
    return model


def decisions(model: Any) -> tuple[Any, Any]:
    """Log-odds that decide: of stopping, [cell, t] for t = 2, ..., N, and of paths within their class, [cell].

    The path is chosen among its class's first tokens alone, and content tokens follow: what else the network might say
    is not in the game, neither in sampling nor in the loss.
    """
    stops, paths = [], []
    for cell in ORDER:
        logits = model(torch.tensor([(*PROMPTS[cell[0]], FIRST[cell][0], *[CONTENT[0]] * (N - 2))])).logits[0]
        start = len(PROMPTS[cell[0]])
        after_first = logits[start:].softmax(-1)[:, list(STOP)].sum(-1)
        stops.append(torch.log(after_first / (1.0 - after_first)))
        paths.append(logits[start - 1, list(FIRST[cell])].logsumexp(0))
    return torch.stack(stops), torch.stack(paths)


def policy(model: Any, coordinates: Any) -> ls.Policy:
    """The network's own hazards and path probabilities; the path token never stops."""
    with torch.no_grad():
        stops, paths = decisions(model)
    hazard = np.column_stack([np.zeros(len(ORDER)), stops.sigmoid().numpy()])
    classes = []
    for name in PROMPTS:
        mine = [i for i, cell in enumerate(ORDER) if cell[0] == name]
        share = paths[mine].softmax(0).numpy()
        classes.append(ls.PromptClass(name, weight=0.5, paths=[
            ls.Path(ORDER[i][1], probability=float(p), length=ls.lengths.table(hazard[i]),
                    p_correct=float(ORDER[i][1] == "right")) for i, p in zip(mine, share, strict=True)]))
    return ls.Policy(classes, max_tokens=N, coordinates=coordinates)


def draw(model: Any, rng: np.random.Generator, count: int) -> list[Any]:
    """Responses of the network token by token: a first token of some path, then content or a stop token."""
    samples = []
    for i in range(count):
        prompt = PROMPTS["easy" if i % 2 else "hard"]
        response: list[int] = []
        while len(response) < N and not set(STOP) & set(response):
            with torch.no_grad():
                p = model(torch.tensor([(*prompt, *response)])).logits[0, -1].softmax(-1).numpy()
            allowed = (4, 5, 6) if not response else (*CONTENT, *STOP)
            if response:  # stopping by its chance among all tokens, content in proportion
                p[list(CONTENT)] *= (1.0 - p[list(STOP)].sum()) / p[list(CONTENT)].sum()
            response.append(int(rng.choice(allowed, p=p[list(allowed)] / p[list(allowed)].sum())))
        cell = next(cell for cell in ORDER if cell[0] == ("easy" if i % 2 else "hard") and response[0] in FIRST[cell])
        samples.append((prompt, tuple(response), cell))
    return samples


def log_probability(model: Any, cells: Array, lengths: Array, stopped: Array) -> tuple[Any, Any]:
    """Of each response's decisions: log π of its path [response], and of going on and stopping [response, t >= 2]."""
    stops, paths = decisions(model)
    normaliser = torch.stack([paths[[i for i, other in enumerate(ORDER) if other[0] == cell[0]]].logsumexp(0)
                              for cell in ORDER])
    t = np.arange(2, N + 1)
    ends = torch.tensor((lengths[:, None] == t) & stopped[:, None])
    terms = torch.where(ends, torch.nn.functional.logsigmoid(stops[cells]),
                        torch.nn.functional.logsigmoid(-stops[cells]))
    return (paths - normaliser)[cells], terms * torch.tensor(lengths[:, None] >= t)


def uphill_of(model: Any, objective: Any) -> dict[str, Any]:
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return dict(zip(named, torch.autograd.grad(objective, list(named.values())), strict=True))


def moves_of(model: Any, uphill: dict[str, Any], read: Callable[[Any], Array]) -> Callable[[float], Array]:
    """What is read from a network, as its move per unit step."""
    start = read(model)
    return lambda size: (read(stepped(model, uphill, size)) - start) / size


def all_log_odds(model: Any) -> Array:
    """All stop logits, and each path against the last of its class (0 for that one), flattened."""
    with torch.no_grad():
        stops, paths = decisions(model)
    last = [max(j for j, other in enumerate(ORDER) if other[0] == cell[0]) for cell in ORDER]
    return np.concatenate([stops.numpy().ravel(), (paths - paths[last]).numpy()])


def test_without_first_tokens_paths_stay(recipe: ModuleType) -> None:
    model, samples = network(), scattered()
    numbers = recipe.measure(model, samples, order=ORDER, stop=STOP, positions=[2], min_responses=1)
    assert not numbers["paths"].any()
    drift = ls.drift(ls.schemes.grpo(), policy(model, ls.kernel(**numbers)))
    assert not drift.path_probability.value.any()
    assert float(drift.length) != 0


def test_a_batch_moves_the_logits_as_lossim_says(recipe: ModuleType) -> None:
    """One step on a sampled batch with group means and token means, against the motion of a policy with its kernel.

    Exact to first order: the loss is a function of the decisions alone, whose logits are those measured (see
    ``decisive``), so its gradient is Σ ∂L/∂z·∇z, and it moves every other logit by the inner products that K holds.
    """
    model = decisive()
    samples = draw(model, np.random.default_rng(0), 96)
    numbers = recipe.measure(model, samples, order=ORDER, stop=STOP, positions=range(2, N + 1), first_tokens=FIRST,
                             min_responses=1)
    start = policy(model, ls.kernel(**numbers))
    cells = np.array([ORDER.index(cell) for _, _, cell in samples])
    lengths = np.array([len(response) for _, response, _ in samples], dtype=np.float64)
    stopped = np.array([response[-1] in STOP for _, response, _ in samples])
    assert 0 < (~stopped).sum() < len(samples)
    reward = np.array([cell[1] == "right" for _, _, cell in samples]) & stopped
    advantage = np.zeros(len(samples))
    for group in (np.arange(0, 96, 2), np.arange(1, 96, 2)):
        advantage[group] = reward[group] - reward[group].mean()
    weight = advantage / lengths / len(samples)

    path, terms = log_probability(model, cells, lengths, stopped)
    uphill = uphill_of(model, (torch.tensor(weight) * (path + terms.sum(-1))).sum())

    stops, paths = np.zeros((5, N)), np.zeros(5)
    for w, cell, length, end in zip(weight, cells, lengths.astype(int), stopped, strict=True):
        stops[cell, :length] -= w * start.hazard[cell, :length]
        stops[cell, length - 1] += w * end
        mine = start.class_cells[start.class_of_cell[cell]]
        paths[mine] -= w * start.probability[mine]
        paths[cell] += w
    moved = start.motion.push(start.motion.pull(stops, paths, np.zeros(len(stops))))
    predicted = np.concatenate([moved[0][:, 1:].ravel(), moved[1]])
    assert_first_order(moves_of(model, uphill, all_log_odds), predicted, 1e-4)


@pytest.mark.parametrize(("advantage", "rule"), [
    (advantages.GroupStandardized(eps=1e-6), aggregation.SequenceMeanTokenMean()),
    (advantages.GroupMean(), aggregation.SequenceMeanTokenSum()),
], ids=["grpo", "group mean, token sum"])
def test_expected_step_is_the_drift(recipe: ModuleType, advantage: Any, rule: Any) -> None:
    """The same step over all pairs of responses that a group of two can hold, against ``drift`` with the kernel.

    Pairs are enumerated with their probabilities, so there is no noise, and first order is all that is left out.
    """
    model = decisive()
    numbers = recipe.measure(model, draw(model, np.random.default_rng(0), 96), order=ORDER, stop=STOP,
                             positions=range(2, N + 1), first_tokens=FIRST, min_responses=1)
    start = policy(model, ls.kernel(**numbers))
    scheme = ls.Scheme(reward=ls.Reward(correct=1.0, incorrect=-0.5), advantage=advantage, aggregation=rule,
                       group_size=2, prompts_per_step=1)
    drift = ls.drift(scheme, start)

    token_mean = isinstance(rule, aggregation.SequenceMeanTokenMean)
    ends = [(cell, length, stopped) for cell in range(5)
            for length, stopped in [*((t, True) for t in range(2, N + 1)), (N, False)]]
    cells, lengths, stopped = (np.array(column) for column in zip(*ends, strict=True))
    chance = start.probability[cells] * start.ends[cells, np.where(stopped, lengths - 1, N)]
    reward = np.where(np.array([ORDER[cell][1] == "right" for cell in cells]) & stopped, 1.0, -0.5)
    coefficient = np.zeros(len(ends))
    for i in range(len(ends)):
        for k in range(len(ends)):
            if start.class_of_cell[cells[i]] == start.class_of_cell[cells[k]]:
                pair = reward[[i, k]]
                scale = pair.std(ddof=1) + 1e-6 if isinstance(advantage, advantages.GroupStandardized) else 1.0
                share = 1.0 / lengths[i] if token_mean else 1.0
                coefficient[i] += 0.5 * chance[i] * chance[k] * (pair[0] - pair.mean()) / scale * share

    path, terms = log_probability(model, cells, lengths, stopped)
    uphill = uphill_of(model, (torch.tensor(coefficient) * (path + terms.sum(-1))).sum())
    logits, paths, _ = start.motion.push(np.asarray(drift.update))
    assert_first_order(moves_of(model, uphill, all_log_odds), np.concatenate([logits[:, 1:].ravel(), paths]), 1e-3)

    def readouts(network: Any) -> Array:
        now = policy(network, ls.coordinates())
        return np.concatenate([[now.mean_length], now.mean_length_by_path, now.probability])

    predicted = np.concatenate([[float(drift.length)], drift.length_by_path.value, drift.path_probability.value])
    assert_first_order(moves_of(model, uphill, readouts), predicted, 1e-3)


@pytest.mark.parametrize(("average", "exact"), [("probability", True), ("log_odds", False)])
def test_unlike_prefixes_need_the_mean_probability(recipe: ModuleType, average: str, exact: bool) -> None:
    """Where prefixes of a cell differ, the logit of a hazard is that of the mean probability, not the mean logit.

    Cut at 2, so that nothing follows the one decision to stop: prefix i, of share w_i, pulls with w_i h_i (1 - h_i)
    times what its cell earns by stopping, and moves the cell's hazard with the same weight. Shares are held fixed.
    """
    model, cells = network(seed=3), ORDER[:2]
    with torch.no_grad():
        model.lm_head.weight[list(STOP)] *= 2.0
    prompt, share = PROMPTS["easy"], {4: 0.75, 5: 0.25, 6: 1.0}
    firsts = {cell: FIRST[cell] for cell in cells}
    samples = [(prompt, (token, 7), cell) for cell in cells for token in firsts[cell]
               for _ in range(int(4 * share[token]))]
    numbers = recipe.measure(model, samples, order=cells, stop=STOP, positions=[2], first_tokens=firsts,
                             min_responses=1, average=average)

    def chances(network: Any) -> tuple[Any, dict[int, Any]]:
        """Of the paths, and of stopping after each first token."""
        def probabilities(*ids: int) -> Any:
            return network(torch.tensor([ids])).logits[0, -1].softmax(-1)

        paths = torch.stack([probabilities(*prompt)[list(firsts[cell])].sum() for cell in cells])
        return paths / paths.sum(), {token: probabilities(*prompt, token)[list(STOP)].sum() for token in share}

    def hazards(network: Any) -> Array:
        _, stop = chances(network)
        return np.array([sum(share[token] * stop[token].item() for token in firsts[cell]) for cell in cells])

    (paths, stop), hazard = chances(model), hazards(model)
    assert abs((stop[4].logit() - stop[5].logit()).item()) > 0.5
    start = ls.Policy([ls.PromptClass("easy", paths=[
        ls.Path(cell[1], probability=p.item(), length=ls.lengths.table([0.0, h]), p_correct=float(cell[1] == "right"))
        for cell, p, h in zip(cells, paths, hazard, strict=True)])], max_tokens=2, coordinates=ls.kernel(**numbers))
    drift = ls.drift(ls.Scheme(reward=ls.Reward(correct=1.0, incorrect=-0.5), advantage=advantages.Raw(),
                               aggregation=aggregation.SequenceMeanTokenSum(), prompts_per_step=1), start)

    objective = 0.0
    for path, cell in zip(paths, cells, strict=True):
        for token in firsts[cell]:
            for reward, end in ((1.0 if cell[1] == "right" else -0.5, stop[token]), (-0.5, 1.0 - stop[token])):
                chance = (path * end).item() * share[token]
                objective = objective + chance * reward * (torch.log(path) + torch.log(end))
    move = moves_of(model, uphill_of(model, objective), hazards)
    predicted = start.motion.push(np.asarray(drift.update))[0][:, 1] * hazard * (1.0 - hazard)
    if exact:
        assert_first_order(move, predicted, 1e-4)
    else:
        assert np.abs(move(1e-6) / predicted - 1.0).max() > 0.02


# ---- the page ----
