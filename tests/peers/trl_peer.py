"""TRL 1.16.0: the real methods of ``GRPOTrainer`` and ``RLOOTrainer``, from sampled completions to the loss.

Both run unbound on a stub that has the settings and, in place of a model, a table of log-probabilities. TRL makes
tensors of the default type on the way, so that is float64 while it runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

from tests.peers.rows import Rows

PAD, STOP, GO = 0, 1, 2


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _model(log_prob: torch.Tensor | None, entropy: torch.Tensor | None = None) -> SimpleNamespace:
    return SimpleNamespace(log_prob=log_prob, entropy=entropy, training=True, is_gradient_checkpointing=False)


def _read(model: SimpleNamespace, ids: torch.Tensor, attention: torch.Tensor, keep: int, *args: Any, **options: Any
          ) -> tuple[torch.Tensor, torch.Tensor, None]:
    """What a forward pass would say of the last ``keep`` tokens."""
    log_prob = model.log_prob[:, :keep]
    return log_prob, torch.zeros_like(log_prob) if model.entropy is None else model.entropy[:, :keep], None


CONFIG: dict[str, Any] = {
    "loss_type": "dapo", "importance_sampling_level": "token", "epsilon_low": 0.2, "epsilon_high": 0.2, "delta": None,
    "beta": 0.0, "use_bias_correction_kl": True, "scale_rewards": "group", "mask_truncated_completions": False,
    "max_completion_length": None, "off_policy_mask_threshold": None, "use_vllm": False,
    "vllm_importance_sampling_correction": True, "vllm_importance_sampling_mode": "sequence_mask",
    "vllm_importance_sampling_clip_min": None, "vllm_importance_sampling_clip_max": 3.0, "entropy_coef": 0.0,
    "multi_objective_aggregation": "sum_then_normalize", "sapo_temperature_pos": 1.0, "sapo_temperature_neg": 1.05,
    "vespo_k_pos": 2.0, "vespo_lambda_pos": 3.0, "vespo_k_neg": 3.0, "vespo_lambda_neg": 2.0,
    "normalize_advantages": False, "reward_clip_range": None}
"""TRL's settings and their defaults, as far as the methods read them; some from the trainer, some from its args."""


def _stub(rows: Rows, micro_batches: int, *, rewards: torch.Tensor | None = None,
          reward_weights: tuple[float, ...] = (1.0,), **options: Any) -> SimpleNamespace:
    """A trainer on these rows."""
    if unknown := options.keys() - CONFIG.keys():
        raise TypeError(f"no such settings: {unknown}")
    settings = CONFIG | options
    paid = rows.reward[:, None] if rewards is None else rewards
    args = SimpleNamespace(
        **settings, per_device_train_batch_size=len(rows.mask) // micro_batches, report_to=[],
        gradient_accumulation_steps=micro_batches, steps_per_generation=micro_batches,
        gradient_checkpointing_kwargs=None)
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), num_processes=1, process_index=0, is_main_process=True, gather=lambda x: x,
        gather_for_metrics=lambda x: x, reduce=lambda x, reduction: x, sync_gradients=True)
    return SimpleNamespace(
        **settings, args=args, accelerator=accelerator, current_gradient_accumulation_steps=micro_batches,
        # a second epoch is what makes TRL keep the old log-probabilities
        num_iterations=1 if rows.old_log_prob is None else 2,
        num_generations=len(rows.group) // len(set(rows.group.tolist())), reward_weights=torch.tensor(reward_weights),
        reward_funcs=[None] * paid.shape[1], reward_func_names=[f"reward {k}" for k in range(paid.shape[1])],
        _calculate_rewards=lambda *args: paid, model=_model(rows.old), ref_model=_model(rows.reference_log_prob),
        _get_per_token_logps_and_entropies=_read, get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
        get_gamma_weights=GRPOTrainer.get_gamma_weights, eos_token_ids=[STOP],
        _tokenizer=SimpleNamespace(pad_token_id=PAD), pad_to_multiple_of=None, environment_factories=None,
        environments=None, tools=None, top_entropy_quantile=1.0, aux_loss_enabled=False, use_adaptive_entropy=False,
        _entropy_bonus_enabled=settings["entropy_coef"] != 0.0, log_multimodal=False,
        _metrics={"train": defaultdict(list)}, _pending_extra_logs={}, _pending_metrics={},
        _logs=defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list)))


def _completions(rows: Rows, vllm: bool = False
                 ) -> tuple[list[list[int]], list[list[int]] | None, list[list[float]] | None]:
    """Token ids that end in a stop unless cut, the tool mask if a mask has gaps, and what the sampler said if asked."""
    width = torch.arange(1, rows.mask.shape[1] + 1)
    last = (rows.mask * width).amax(dim=1).clamp(min=1).tolist()
    ids = [[GO] * (n - 1) + [GO if cut else STOP] for n, cut in zip(last, rows.truncated.tolist(), strict=True)]
    inside = [row[:n] for row, n in zip(rows.mask.long().tolist(), last, strict=True)]
    said = None
    if vllm:
        assert rows.rollout_log_prob is not None
        said = [row[:n].tolist() for row, n in zip(rows.rollout_log_prob, last, strict=True)]
    return ids, inside if any(0 in row for row in inside) else None, said


def grpo(rows: Rows, *, micro_batches: int = 1, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and advantages [response] of ``GRPOTrainer``; ``options`` are settings by TRL's names.

    Groups must be adjacent rows of one size. ``micro_batches`` splits the rows in order, and the losses are added, as
    an accumulated gradient is. ``rewards`` [response, component] and ``reward_weights`` stand for reward functions.
    """
    with _float64():
        stub = _stub(rows, micro_batches, **options)
        ids, tool_mask, said = _completions(rows, stub.use_vllm)
        stub._generate = lambda prompts: ([[GO]] * len(ids), ids, tool_mask, ids, said, {}, None, [])
        inputs = GRPOTrainer._generate_and_score_completions(stub, [{"prompt": "task"}] * len(ids))
        rows_each = len(ids) // micro_batches
        total = torch.zeros(())
        for start in range(0, len(ids), rows_each):
            part = slice(start, start + rows_each)
            one = {name: x[part] if x.ndim else x for name, x in inputs.items()}
            model = _model(rows.log_prob[part], None if rows.entropy is None else rows.entropy[part])
            stub._get_per_token_logps_and_entropies = lambda _, *args, model=model, **more: _read(model, *args, **more)
            total = total + GRPOTrainer._compute_loss(stub, model, one)
        return total, inputs["advantages"]


def rloo(rows: Rows, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss and advantages [response] of ``RLOOTrainer``."""
    with _float64():
        stub = _stub(rows, 1, **options)
        ids, _, _ = _completions(rows)
        stub._generate = lambda prompts: ([[GO]] * len(ids), ids, ids)
        inputs = RLOOTrainer._generate_and_score_completions(stub, [{"prompt": "task"}] * len(ids))
        loss = RLOOTrainer._compute_loss(stub, _model(rows.log_prob, rows.entropy), inputs)
        return loss, inputs["advantages"]
