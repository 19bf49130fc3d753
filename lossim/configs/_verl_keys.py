"""What of verl's settings bears on the loss: paths in ``ppo_trainer``, their defaults by version, and names.

Read off ``verl/trainer/config`` in the packages of 0.2 to 0.9.1, and off ``verl/trainer/ppo/ray_trainer.py``,
``core_algos.py`` and ``verl/workers/actor/dp_actor.py`` there.
"""

from __future__ import annotations

from lossim.configs._kinds import OTHER, Kind, Was, anything, choice, each, flag, number, spans, text, whole

RELEASES = ("0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9.0", "0.9.1")
ACTOR = "actor_rollout_ref.actor."
ROLLOUT = "actor_rollout_ref.rollout."
CORRECTION = "algorithm.rollout_correction."
AVERAGED = "over what the loss is averaged"
GSPO_RULE = "what gspo's loss is averaged by"
MASKED = "a mask of truncated responses"
FILTERED = "a filter of equal groups"
BUFFER = "reward_model.overlong_buffer."
KLS = "kl k1 abs mse k2 low_var_kl k3 kl+ k1+ abs+ mse+ k2+ low_var_kl+ k3+"
_ALGORITHM: dict[str, Kind] = {
    "adv_estimator": choice("""gae grpo grpo_vectorized grpo_passk gdpo rloo rloo_vectorized opo gpg remax
        reinforce_plus_plus reinforce_plus_plus_baseline optimal_token_baseline tir_optimal_token_baseline""",
        open=True),
    **each(number(1.0, low=0.0, high=1.0), "gamma lam"),
    "norm_adv_by_std_in_grpo": flag(True, idle="reaches grpo and grpo_passk alone"),
    "use_kl_in_reward": flag(False, optional=True),
    **each(flag(False), """use_pf_ppo filter_groups.enable rollout_correction.bypass_mode
        rollout_correction.use_policy_gradient rollout_correction.rollout_is_batch_normalize"""),
    "kl_penalty": choice(KLS, neutral=("kl", "k1", "kl+", "k1+"), fix="set it to kl",
                         no_slot="a KL in the reward other than k1"),
    "kl_ctrl.type": choice("fixed adaptive", no_slot="a coefficient that follows the KL", fix="set it to fixed"),
    "kl_ctrl.kl_coef": number(0.001, low=0.0),
    "filter_groups.metric": Kind("text", "reward", optional=True),
    **each(anything(None), """gdpo_reward_keys gdpo_reward_weights rollout_correction.rollout_rs_threshold
        rollout_correction.rollout_rs_threshold_lower rollout_correction.rollout_token_veto_threshold"""),
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
    "clip_ratio_c": number(3.0, optional=True, why="a dual clip, which verl cannot switch off"),
    "tau_pos": number(1.0),
    "tau_neg": number(1.05),
    "policy_loss.loss_mode": choice("""vanilla gspo sapo gpg geo_mean dro cispo dppo_tv dppo_kl clip_cov
        kl_cov""", open=True),
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
    **each(flag(False), f"{BUFFER}enable {BUFFER}log"),
    f"{BUFFER}len": number(None, low=0.0),
    f"{BUFFER}penalty_factor": number(None, low=0.0),
    AVERAGED: choice("step micro-batch"),
    GSPO_RULE: choice("loss_agg_mode seq-mean-token-mean"),
    **dict.fromkeys((MASKED, FILTERED), flag(False)),
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

WAS = (
    Was(GSPO_RULE, "0.9.0", "seq-mean-token-mean", "compute_policy_loss_gspo in core_algos.py"),
    Was("trainer.use_v1", "0.8", False, "not in ppo_trainer.yaml before 0.9"),
    Was(AVERAGED, "0.6", "micro-batch", "agg_loss in core_algos.py, masked_mean before 0.4"),
    Was("algorithm.use_kl_in_reward", "0.3", None, "ray_trainer.py: KL in the reward unless use_kl_loss"),
    Was(ACTOR + "entropy_coeff", "0.3", 0.001, "ppo_trainer.yaml"),
    Was(ACTOR + "clip_ratio_c", "0.3", None, "compute_policy_loss in core_algos.py"),
    Was(ACTOR + "clip_ratio_low", "0.3", None, "compute_policy_loss in core_algos.py"),
    Was(ACTOR + "clip_ratio_high", "0.3", None, "compute_policy_loss in core_algos.py"),
)
"""Defaults of earlier versions, and what stood for a setting before there was one."""

SINCE = {
    **spans({"0.4": """algorithm.norm_adv_by_std_in_grpo algorithm.use_kl_in_reward algorithm.use_pf_ppo
        algorithm.kl_ctrl.horizon algorithm.kl_ctrl.target_kl data.reward_fn_key data.return_full_prompt
        data.filter_overlong_prompts_workers trainer.val_before_train trainer.log_val_generations
        trainer.rollout_data_dir trainer.validation_data_dir reward_model.launch_reward_fn_async""",
             "0.5": "data.dataloader_num_workers trainer.esi_redundant_time",
             "0.6": "algorithm.rollout_correction.rollout_is algorithm.rollout_correction.bypass_mode data.seed",
             "0.7": "algorithm.rollout_correction.loss_type reward.reward_manager.name",
             "0.9": "trainer.use_v1"}),
    **{ACTOR + key: version for key, version in spans({
        "0.4": """clip_ratio_low clip_ratio_high clip_ratio_c loss_agg_mode policy_loss.loss_mode
            entropy_from_logits_with_chunking""",
        "0.7": "loss_scale_factor tau_pos tau_neg", "0.9": "policy_loss.dro_beta"}).items()},
    **{ROLLOUT + key: "0.4" for key in ("multi_turn.enable", "calculate_log_probs", "layered_summon")},
}
UPTO = spans({"0.3": "trainer.val_generations_to_log_to_wandb",
              "0.6": "reward_model.launch_reward_fn_async algorithm.rollout_correction.use_policy_gradient"})
HINTS = {"data.val_batch_size": "0.3", ACTOR + "ppo_micro_batch_size": "0.3"}
"""Keys that not every version has, and keys that scripts of old versions give."""

NAMES = {
    ROLLOUT + "n_agent": ROLLOUT + "n", "data.n_samples": ROLLOUT + "n", "env.rollout.n": ROLLOUT + "n",
    ACTOR + "loss_mode": ACTOR + "policy_loss.loss_mode",
    "algorithm.mask_truncated_samples": MASKED, "actor_rollout_ref.agent.mask_overlong_loss": MASKED,
    "trainer.rejection_sample": FILTERED, "trainer.dyn_sampling_polaris": FILTERED,
}
"""What forks call settings."""

_ENGINE = """name mode nnodes n_gpus_per_node full_determinism seed prompt_length dtype gpu_memory_utilization
    enforce_eager cudagraph_capture_sizes free_cache_engine *_parallel_size max_num_* max_model_len enable_*
    logprobs_mode
    scheduling_policy load_format layered_summon log_prob_* disable_log_stats over_sample_rate multi_stage_wake_up
    router_config_path skip_* moe_* quantization* calculate_log_probs engine_kwargs.* agent.* trace.* profiler.*
    prometheus.* checkpoint_engine.* disaggregation.* server.* custom.* update_weights_* val_kwargs.* temperature
    use_fire_sampling limit_images micro_*batch_size n_val val_* compute_reward mtp* qat* skip.* layer_name_map.*"""
_COMPUTE = """strategy ppo_micro_batch_size* ppo_max_token_len_per_gpu ppo_infer_* use_dynamic_bsz use_torch_compile
    use_fused_kernels use_remove_padding use_prefix_grouper ulysses_* pad_to_length entropy_from_logits_*
    entropy_checkpointing fsdp_config.* megatron.* torchtitan.* veomni.* qat.* checkpoint.* profiler.* profile.*
    router_replay.* shuffle data_loader_seed calculate_entropy calculate_sum_pi_squared sum_pi_* freeze_vision_tower
    rollout_n optim.* grad_clip load_weight"""
_REWARDS = """enable strategy micro_batch_size* max_length use_dynamic_bsz forward_* ulysses_* launch_reward_fn_async
    num_workers nnodes n_gpus_per_node enable_resource_pool model.* rollout.* sandbox_fusion.* reward_loop_* profiler.*
    megatron.* nccl_timeout load_weight reward_manager.source reward_manager.module.* custom_reward_function.path
    custom_reward_function.name reward_model.* param_offload"""
NEUTRAL = (
    *(ROLLOUT + name for name in _ENGINE.split()), *(ACTOR + name for name in _COMPUTE.split()),
    *(f"{top}.{name}" for top in ("reward", "reward_model") for name in _REWARDS.split()),
    *(f"{ROLLOUT}multi_turn.{name}" for name in ("max_*", "*_path", "format", "tool_*", "num_*", "token*", "use_*",
                                             "completion_callback")),
    *(f"actor_rollout_ref.{name}" for name in ("model.*", "ref.*", "critic.*", "hybrid_engine", "nccl_timeout")),
    "*_target_", "critic.*", "data.filter_overlong_prompts*", "data.truncation", "algorithm.kl_ctrl.horizon",
    "algorithm.kl_ctrl.target_kl", "algorithm.filter_groups.max_*", "algorithm.pf_ppo.*", "custom_reward_function.path",
    "custom_reward_function.name", "distillation.*", "transfer_queue.*", "global_profiler.*", "ray_*", "hydra.*",
    "trainer.lossim.*")
BEARING = ("algorithm.*", "actor_rollout_ref.*", "reward.*", "reward_model.*", "custom_reward_function.*")
"""Patterns of what never bears on the loss, and of where what nobody knows may."""
