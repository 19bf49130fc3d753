"""The settings of TRL 1.16.0: fields of GRPOConfig and RLOOConfig, and of what shares a YAML file with them."""

from __future__ import annotations

from lossim.configs._settings import OTHER, Kind, anything, choice, each, flag, inert, number, pair, text, whole

VERSION = "1.16.0"
COMMON: dict[str, Kind] = {
    "per_device_train_batch_size": whole(8),
    "gradient_accumulation_steps": whole(1),
    **each(whole(None), "generation_batch_size steps_per_generation"),
    **each(flag(False), "auto_find_batch_size mask_truncated_completions"),
    "max_completion_length": whole(512, optional=True),
    "num_iterations": whole(1),
    "epsilon": number(0.2, low=0.0),
    "epsilon_high": number(None, low=0.0, why="None stands for epsilon"),
    **each(anything(None), "reward_weights generation_kwargs"),
    "sync_ref_model": flag(False, approximated="the reference moves with the policy; here it stands"),
    "top_p": number(1.0, low=0.0, high=1.0, approximated=OTHER),
    "top_k": whole(0, low=-1, approximated=OTHER, neutral=(0, -1)),
    "min_p": number(None, low=0.0, high=1.0, approximated=OTHER, neutral=(None, 0.0)),
    "repetition_penalty": number(1.0, low=0.0, approximated=OTHER),
    "vllm_structured_outputs_regex": text(None, approximated=OTHER),
}
GRPO: dict[str, Kind] = {
    **COMMON,
    "num_generations": whole(8),
    "beta": number(0.0, low=0.0),
    "use_bias_correction_kl": flag(True, why="False up to TRL 1.9"),
    "loss_type": choice("grpo dapo dr_grpo bnpo cispo sapo luspo vespo", default="dapo",
                        why="the token-mean; DAPO's other parts are settings of their own"),
    "importance_sampling_level": choice("token sequence"),
    "scale_rewards": choice("group batch none"),
    "multi_objective_aggregation": choice(
        "sum_then_normalize normalize_then_sum", no_slot="rewards that are normalised one by one (GDPO)",
        fix="take tokens.gdpo(..., over='responses') on batches"),
    "sapo_temperature_pos": number(1.0, low=0.0),
    "sapo_temperature_neg": number(1.05, low=0.0),
    **each(number(2.0, low=0.0), "vespo_k_pos vespo_lambda_neg"),
    **each(number(3.0, low=0.0), "vespo_lambda_pos vespo_k_neg"),
    **each(number(None, low=0.0), """delta off_policy_mask_threshold vllm_importance_sampling_clip_min
        vllm_importance_sampling_cap"""),
    "top_entropy_quantile": number(1.0, low=0.0, high=1.0, no_slot="a loss on the tokens of highest entropy",
                                   fix="set it to 1.0"),
    "entropy_coef": number(0.0),
    "use_adaptive_entropy": flag(False, no_slot="a coefficient that follows the entropy",
                                 fix="set it to False and entropy_coef to a number"),
    "use_vllm": flag(False),
    "vllm_importance_sampling_correction": flag(True),
    "vllm_importance_sampling_mode": choice("token_truncate token_mask sequence_truncate sequence_mask",
                                            default="sequence_mask"),
    "vllm_importance_sampling_clip_max": number(3.0, low=0.0, optional=True),
}
RLOO: dict[str, Kind] = {
    **COMMON,
    "num_generations": whole(2),
    "beta": number(0.05, low=0.0),
    "normalize_advantages": flag(False, no_slot="advantages over their std in the batch", fix="set it to False"),
    "reward_clip_range": pair(None),
}
TABLES = {"grpo": GRPO, "rloo": RLOO}
"""What bears on the loss, with defaults."""

_NAMES = {
    "the optimiser": """learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps optim optim_args weight_decay
        adam_beta1 adam_beta2 adam_epsilon optim_target_modules max_grad_norm neftune_noise_alpha""",
    "how long it runs": "num_train_epochs max_steps do_train do_eval do_predict resume_from_checkpoint",
    "precision, memory and devices": """bf16 fp16 bf16_full_eval fp16_full_eval tf32 activation_checkpointing
        activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs torch_compile
        torch_compile_backend torch_compile_mode use_liger_kernel liger_kernel_config use_cache torch_empty_cache_steps
        use_cpu accelerator_config parallelism_config ddp_find_unused_parameters ddp_bucket_cap_mb
        ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed local_rank
        full_determinism seed data_seed ds3_gather_for_generation cast_lm_head_to_fp32 pad_to_multiple_of
        cache_implementation""",
    "read by other trainers": """label_smoothing_factor average_tokens_across_devices include_num_input_tokens_seen
        label_names remove_unused_columns""",
    "logging": """logging_strategy logging_steps logging_first_step log_on_each_node logging_nan_inf_filter log_level
        log_level_replica disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
        trackio_static_space_id debug skip_memory_metrics log_completions log_multimodal num_completions_to_print
        log_unique_prompts log_completions_hub_repo""",
    "evaluation": """eval_strategy eval_steps eval_delay per_device_eval_batch_size prediction_loss_only eval_on_start
        eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics batch_eval_metrics
        num_generations_eval load_best_model_at_end metric_for_best_model greater_is_better""",
    "saving": """output_dir save_only_model save_strategy save_steps save_on_each_node save_total_limit
        enable_jit_checkpoint push_to_hub hub_token hub_private_repo hub_model_id hub_strategy hub_always_push
        hub_revision restore_callback_states_from_checkpoint""",
    "the data": """ignore_data_skip dataloader_drop_last dataloader_num_workers dataloader_pin_memory
        dataloader_persistent_workers dataloader_prefetch_factor dataloader_multiprocessing_context dataloader_in_order
        train_sampling_strategy length_column_name shuffle_dataset chat_template_kwargs dataset_name dataset_config
        dataset_train_split dataset_test_split dataset_streaming ignore_bias_buffers datasets streaming
        test_split_size""",
    "the model": """model_init_kwargs trust_remote_code disable_dropout model_name_or_path model_revision dtype
        attn_implementation use_peft lora_r lora_alpha lora_dropout lora_target_modules lora_target_parameters
        lora_modules_to_save lora_task_type use_rslora use_dora load_in_8bit load_in_4bit bnb_4bit_quant_type
        use_bnb_nested_quant bnb_4bit_quant_storage""",
    "balances experts, a loss of its own": "router_aux_loss_coef",
    "what is paid: say so by reward=": "reward_funcs reward_model_name_or_path",
    "divides the logits in sampling and in the loss alike": "temperature",
    "turns with tools": "max_tool_calling_iterations",
    "the sampling engine": """vllm_mode vllm_model_impl vllm_enable_sleep_mode vllm_server_base_url vllm_server_host
        vllm_server_port vllm_server_timeout vllm_group_port vllm_gpu_memory_utilization vllm_max_model_length
        vllm_tensor_parallel_size use_transformers_continuous_batching transformers_continuous_batching_config
        use_transformers_paged""",
    "of the reference model, which does not move here": "ref_model_mixup_alpha ref_model_sync_steps",
    "of the adaptive entropy bonus": """entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target""",
    "no longer in TRL 1.16.0": """max_prompt_length use_liger_loss warmup_ratio logging_dir overwrite_output_dir
        save_safetensors evaluation_strategy group_by_length wandb_log_unique_prompts vllm_device vllm_dtype
        vllm_max_model_len vllm_enable_prefix_caching""",
}
_INERT = inert({(why, ""): names for why, names in _NAMES.items()})
_ONLY_GRPO = {"entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target", "cast_lm_head_to_fp32",
              "max_tool_calling_iterations"}
INERT = {"grpo": _INERT, "rloo": {name: why for name, why in _INERT.items() if name not in _ONLY_GRPO} | {
    "use_vllm": "the sampling engine, whose log-probabilities RLOO does not read"}}
"""What does not bear on the loss, with the reason."""
