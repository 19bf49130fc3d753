"""Tiny random networks, the recipe for measuring a kernel, and what it measures computed one prefix at a time."""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers

Array = np.ndarray[Any, np.dtype[np.float64]]
ROOT = Path(__file__).parents[2]
STOP = (10, 11)
FIRST = {("easy", "right"): (4, 5), ("easy", "wrong"): (6,),
         ("hard", "right"): (4,), ("hard", "guess"): (5,), ("hard", "wrong"): (6,)}
ORDER = list(FIRST)
CONTENT, VOCABULARY, N = (7, 8, 9), 12, 5
PROMPTS = {"easy": (0, 1), "hard": (2, 3, 0)}


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure_kernel", ROOT / "docs" / "measure_kernel.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def network(kind: str = "gpt2", seed: int = 0, tied: bool = True) -> Any:
    """Two layers, float64, weights large enough for states to differ; in Llama norms still compute in float32."""
    torch.manual_seed(seed)
    common: dict[str, Any] = dict(vocab_size=VOCABULARY, initializer_range=0.3, bos_token_id=None, eos_token_id=None)
    if kind == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, pad_token_id=None,
            max_position_embeddings=16, tie_word_embeddings=False, **common)).double()
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_positions=16, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=tied, **common))
    return model.double().eval()


def scattered(seed: int = 0, count: int = 30) -> list[Any]:
    """Responses of random tokens and lengths to several prompts of different length: no two states are the same."""
    rng, samples = np.random.default_rng(seed), []
    for i in range(count):
        cell = ORDER[i % len(ORDER)]
        prompt = (*PROMPTS[cell[0]], *rng.integers(0, 4, size=int(rng.integers(3))))
        length = int(rng.integers(2, N + 1)) if i >= len(ORDER) else N
        middle = rng.choice(CONTENT, size=length - 2)
        samples.append((prompt, (rng.choice(FIRST[cell]), *middle, rng.choice(STOP)), cell))
    return samples


def averages(model: Any, samples: list[Any], positions: list[int], *, temperature: float = 1.0,
             average: str = "probability", width: float = 0.0) -> Any:
    """Stop log-odds [cell, knot] and first-token log-odds, averaged and flattened: one prefix at a time, by softmax."""
    def probabilities(prefix: tuple[int, ...]) -> Any:
        return (model(torch.tensor([prefix])).logits[0, -1] / temperature).softmax(-1)

    def mean(ups: list[Any], downs: list[Any]) -> Any:
        if average == "probability":
            return torch.log(sum(ups) / sum(downs))
        return sum(torch.log(up / down) for up, down in zip(ups, downs, strict=True)) / len(ups)

    values = []
    for cell in ORDER:
        for knot in positions:
            stop = [probabilities((*prompt, *response[:t - 1]))[list(STOP)].sum()
                    for prompt, response, label in samples if label == cell
                    for t in range(1, len(response) + 1) if knot / (1.0 + width) <= t <= knot * (1.0 + width)]
            values.append(mean(stop, [1.0 - p for p in stop]))
    for cell in ORDER:
        last = [other for other in ORDER if other[0] == cell[0]][-1]
        prompts = [probabilities(prompt) for prompt, _, label in samples if label[0] == cell[0]]
        if cell != last:
            values.append(mean(*([p[list(FIRST[path])].sum() for p in prompts] for path in (cell, last))))
    return torch.stack(values)


def jacobian(values: Any, parameters: list[Any]) -> Array:
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(value, parameters, retain_graph=True)])
            for value in values]
    return torch.stack(rows).numpy()


def stepped(model: Any, gradients: dict[str, Any], size: float) -> Any:
    """A copy of the network after one step of plain SGD uphill."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in moved.named_parameters():
            if name in gradients:
                parameter += size * gradients[name]
    return moved


def assert_first_order(measured: Callable[[float], Array], predicted: Array, size: float) -> None:
    """The move per unit step tends to the prediction, and what is left halves with the step."""
    scale = np.abs(predicted).max()
    errors = [np.abs(measured(size / 2**k) - predicted).max() / scale for k in range(3)]
    assert errors[0] < 0.01
    np.testing.assert_allclose([errors[0] / errors[1], errors[1] / errors[2]], 2.0, rtol=0.05)


# ---- the numbers ----
