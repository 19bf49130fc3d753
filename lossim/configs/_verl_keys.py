"""The settings of verl 0.9.1, by their paths in ``ppo_trainer``."""

from __future__ import annotations

from lossim.configs._settings import OTHER, Kind, anything, choice, each, flag, inert, number, text, whole

VERSION = "0.9.1"
ACTOR = "actor_rollout_ref.actor."
ROLLOUT = "actor_rollout_ref.rollout."
CORRECTION = "algorithm.rollout_correction."
KLS = "kl k1 abs mse k2 low_var_kl k3 kl+ k1+ abs+ mse+ k2+ low_var_kl+ k3+"
_ALGORITHM: dict[str, Kind] = {
    "adv_estimator": choice("""gae grpo grpo_vectorized grpo_passk gdpo rloo rloo_vectorized opo gpg remax
        reinforce_plus_plus reinforce_plus_plus_baseline optimal_token_baseline tir_optimal_token_baseline"""),
    **each(number(1.0, low=0.0, high=1.0), "gamma lam"),
    "norm_adv_by_std_in_grpo": flag(True, idle="reaches grpo and grpo_passk alone"),
    **each(flag(False), """use_kl_in_reward use_pf_ppo filter_groups.enable rollout_correction.bypass_mode
        rollout_correction.rollout_is_batch_normalize"""),
    "kl_penalty": choice(KLS, neutral=("kl", "k1", "kl+", "k1+"), fix="set it to kl",
                         no_slot="a KL in the reward other than k1"),
    "kl_ctrl.type": choice("fixed adaptive", no_slot="a coefficient that follows the KL", fix="set it to fixed"),
    "kl_ctrl.kl_coef": number(0.001, low=0.0),
    "filter_groups.metric": Kind("text", "reward", optional=True),
    **each(anything(None), "gdpo_reward_keys gdpo_reward_weights rollout_correction.rollout_rs_threshold"),
    "rollout_correction.rollout_is": choice("token sequence", default=None),
    "rollout_correction.rollout_is_threshold": anything(2.0),
    "rollout_correction.rollout_rs": text(None),
    "rollout_correction.loss_type": choice(
        "ppo_clip reinforce", idle="read by the trainer that trainer.use_v1=False names alone"),
}
_ACTOR: dict[str, Kind] = {
    "ppo_mini_batch_size": whole(256),
    "ppo_epochs": whole(1),
    "loss_agg_mode": choice("""token-mean token-sum seq-mean-token-sum seq-mean-token-mean
        seq-mean-token-sum-norm""", idle="sapo and geo_mean take seq-mean-token-mean"),
    "loss_scale_factor": number(None),
    "clip_ratio": number(
        0.2, low=0.0,
        idle="counts only where clip_ratio_low or clip_ratio_high is null, and both are 0.2 by default"),
    **each(number(0.2, low=0.0, optional=True, why="clip_ratio counts only where this is null"),
           "clip_ratio_low clip_ratio_high"),
    "clip_ratio_c": number(3.0, why="a dual clip, which verl cannot switch off"),
    "tau_pos": number(1.0),
    "tau_neg": number(1.05),
    "policy_loss.loss_mode": choice("""vanilla gspo sapo gpg geo_mean dro cispo dppo_tv dppo_kl clip_cov
        kl_cov"""),
    **each(number(0.0002, low=0.0), "policy_loss.clip_cov_ratio policy_loss.kl_cov_ratio"),
    "policy_loss.clip_cov_lb": number(1.0),
    "policy_loss.clip_cov_ub": number(5.0),
    "policy_loss.ppo_kl_coef": number(0.1),
    "policy_loss.dro_beta": number(None),
    "use_kl_loss": flag(False),
    "kl_loss_coef": number(0.001, low=0.0),
    "kl_loss_type": choice(KLS, default="low_var_kl"),
    "entropy_coeff": number(0.0, approximated="of the decision to stop alone, not of the content"),
}
_ROLLOUT: dict[str, Kind] = {
    "n": whole(1),
    "response_length": whole(None),
    "do_sample": flag(True, approximated=OTHER),
    "top_p": number(1.0, low=0.0, high=1.0, approximated=OTHER),
    "top_k": whole(-1, low=-1, approximated=OTHER, neutral=(-1, 0)),
    "repetition_penalty": number(1.0, low=0.0, approximated=OTHER),
    "ignore_eos": flag(False, approximated="responses go on after their stop token; here they end with it"),
    "multi_turn.enable": flag(False, approximated="responses with turns of tools between; here of one turn"),
}
OVERLONG: dict[str, Kind] = {
    "overlong_buffer_cfg.enable": flag(False),
    "overlong_buffer_cfg.len": number(None),
    "overlong_buffer_cfg.penalty_factor": number(None, low=0.0),
    "overlong_buffer_cfg.log": flag(False),
    "max_resp_len": whole(None),
}
TABLE: dict[str, Kind] = {
    **{"algorithm." + name: kind for name, kind in _ALGORITHM.items()},
    **{ACTOR + name: kind for name, kind in _ACTOR.items()},
    **{ROLLOUT + name: kind for name, kind in _ROLLOUT.items()},
    "data.train_batch_size": whole(1024),
    "data.max_response_length": whole(512),
    "reward.reward_manager.name": text("naive"),
    "reward_model.reward_manager": text(None),
    **{f"{top}.reward_kwargs.{name}": kind for top in ("reward", "reward_model") for name, kind in OVERLONG.items()},
    "trainer.use_v1": flag(True),
    "trainer.v1.trainer_mode": choice("sync colocate_async separate_async",
                                      approximated="responses of earlier policies; here of the present one"),
    "distillation.enabled": flag(False, no_slot="a loss to a teacher"),
}
"""What bears on the loss, with defaults; None where Hydra fills it in from elsewhere."""

INERT = inert({
    ("the optimiser", ACTOR): "optim.* grad_clip",
    ("memory, precision and speed", ACTOR): """strategy ppo_micro_batch_size ppo_micro_batch_size_per_gpu
        use_dynamic_bsz ppo_max_token_len_per_gpu ppo_infer_micro_batch_size_per_gpu ppo_infer_max_token_len_per_gpu
        use_torch_compile use_fused_kernels use_remove_padding use_prefix_grouper ulysses_sequence_parallel_size
        pad_to_length entropy_from_logits_with_chunking entropy_from_logits_chunk_size entropy_checkpointing
        fsdp_config.* megatron.* torchtitan.* veomni.* qat.* checkpoint.* profiler.* profile.* router_replay.*""",
    ("the order of the data", ACTOR): "shuffle data_loader_seed",
    ("logging", ACTOR): "calculate_entropy calculate_sum_pi_squared",
    ("the model", ACTOR): "freeze_vision_tower",
    ("a copy of rollout.n", ACTOR): "rollout_n",
    ("a name of a class", ""): """_target_ actor_rollout_ref.actor._target_ actor_rollout_ref.rollout._target_
        actor_rollout_ref.actor.policy_loss._target_ actor_rollout_ref.rollout.multi_turn._target_ algorithm._target_
        algorithm.filter_groups._target_ algorithm.kl_ctrl._target_ reward._target_ reward.reward_manager._target_""",
    ("divides the logits in sampling and in the loss alike", ROLLOUT): "temperature",
    ("the sampling engine", ROLLOUT): """name mode nnodes n_gpus_per_node full_determinism seed prompt_length dtype
        gpu_memory_utilization enforce_eager cudagraph_capture_sizes free_cache_engine tensor_model_parallel_size
        data_parallel_size expert_parallel_size pipeline_model_parallel_size max_num_batched_tokens max_model_len
        max_num_seqs enable_chunked_prefill enable_prefix_caching logprobs_mode scheduling_policy load_format
        layered_summon log_prob_micro_batch_size log_prob_micro_batch_size_per_gpu log_prob_use_dynamic_bsz
        log_prob_max_token_len_per_gpu disable_log_stats over_sample_rate multi_stage_wake_up router_config_path
        skip_tokenizer_init enable_rollout_routing_replay moe_load_balance_metrics_interval quantization
        quantization_config_file calculate_log_probs engine_kwargs.* mtp.* qat.* agent.* trace.* profiler.*
        prometheus.* checkpoint_engine.* disaggregation.* server.* custom.* update_weights_bucket_megabytes""",
    ("evaluation", ROLLOUT): "val_kwargs.*",
    ("turns with tools", ROLLOUT + "multi_turn."): """max_assistant_turns tool_config_path function_tool_path
        max_user_turns max_parallel_calls max_tool_response_length tool_response_truncate_side
        use_inference_chat_template tokenization_sanity_check_mode format num_repeat_rollouts
        interaction_config_path""",
    ("the model", "actor_rollout_ref."): "model.*",
    ("how the reference is computed", "actor_rollout_ref."): "ref.*",
    ("devices", "actor_rollout_ref."): "hybrid_engine nccl_timeout",
    ("the critic's own loss: say what it is by critic=", ""): "critic.* trainer.critic_warmup",
    ("the data", "data."): """tokenizer use_shm train_files val_files train_max_samples val_max_samples prompt_key
        reward_fn_key max_prompt_length gen_batch_size val_batch_size tool_config_path function_tool_path
        return_raw_input_ids return_raw_chat return_full_prompt shuffle seed dataloader_num_workers image_patch_size
        validation_shuffle filter_overlong_prompts filter_overlong_prompts_workers truncation image_key video_key
        audio_key trust_remote_code custom_cls.* return_multi_modal_inputs apply_chat_template_kwargs.*
        mm_processor_kwargs.* sampler.* datagen.*""",
    ("what is paid: say so by reward=", ""): """custom_reward_function.* reward.custom_reward_function.*
        reward.reward_model.* reward.sandbox_fusion.* sandbox_fusion.* reward_model.enable reward_model.model.*""",
    ("how rewards are computed", ""): """reward.num_workers reward.reward_manager.source
        reward.reward_manager.module.* reward_model.num_workers reward_model.enable_resource_pool
        reward_model.n_gpus_per_node reward_model.nnodes reward_model.reward_loop_source
        reward_model.reward_loop_module_path reward_model.reward_loop_class_name reward_model.rollout.*""",
    ("of the adaptive KL controller", "algorithm.kl_ctrl."): "horizon target_kl",
    ("how much is generated", "algorithm.filter_groups."): "max_num_gen_batches max_inflight_gen_batches",
    ("of pf-ppo", "algorithm."): "pf_ppo.*",
    ("of distillation, which is off", "distillation."): "*",
    ("how long and where it runs, what it logs", "trainer."): """balance_batch total_epochs total_training_steps
        project_name experiment_name logger log_val_generations rollout_data_dir validation_data_dir nnodes
        n_gpus_per_node save_freq esi_redundant_time resume_mode resume_from_path checkpoint_callback_class
        val_before_train val_only test_freq default_hdfs_dir del_local_ckpt_after_load default_local_dir
        max_actor_ckpt_to_keep max_critic_ckpt_to_keep ray_wait_register_center_timeout device v1.sync.*
        v1.colocate_async.* v1.separate_async.* v1.sampler.*""",
    ("verl's own, which are assumed anyway", ""): "defaults",
    ("the run, not the loss", ""): """ray_kwargs.* ray_init.* global_profiler.* skip.* transfer_queue.* hydra.*
        model_engine""",
})
"""What does not bear on the loss, with the reason; a star stands for any ending."""

HINTS = {
    **{f"reward_model.overlong_buffer.{name}": "verl 0.9.1 does not read it; it has "
       f"reward.reward_kwargs.overlong_buffer_cfg.{name}" for name in ("enable", "len", "penalty_factor", "log")},
    f"{ACTOR}policy_loss_fn": "verl 0.9.1 has policy_loss.loss_mode",
}
"""Settings of recipes and other versions."""
