"""The flags of OpenRLHF 0.11.2, ``openrlhf.cli.train_ppo_ray``, without their two dashes."""

from __future__ import annotations

from lossim.configs._settings import OTHER, Kind, anything, choice, each, flag, inert, number, pair, text, whole

VERSION = "0.11.2"
TABLE: dict[str, Kind] = {
    "algo.advantage.estimator": choice("gae reinforce rloo reinforce_baseline group_norm dr_grpo flash_reinforce",
                                       why="token-whitened GAE with a critic"),
    "algo.advantage.gamma": number(1.0, low=0.0, high=1.0, idle="1 for group estimators, whatever is given"),
    "algo.advantage.lambd": number(1.0, low=0.0, high=1.0),
    "algo.advantage.no_std_norm": flag(False),
    "algo.advantage.is_correction_level": choice("off token seq"),
    "algo.advantage.is_correction_mode": choice("mask clip"),
    "algo.advantage.is_correction_gating": choice("ratio binary_kl tv"),
    "algo.advantage.is_correction_threshold": anything((0.5, 5.0)),
    "algo.kl.init_coef": number(0.01),
    "algo.kl.target": number(None, no_slot="a coefficient that follows the KL", fix="leave it out"),
    "algo.kl.estimator": choice("k1 k2 k3"),
    **each(flag(False), "algo.kl.use_loss algo.kl.unbiased_gradient algo.dynamic_filtering_enable"),
    "algo.dynamic_filtering_range": pair((0.0, 1.0)),
    "actor.eps_clip": number(0.2, low=0.0),
    "actor.eps_clip_low_high": pair(None, low=0.0, why="None stands for actor.eps_clip on both sides"),
    "actor.dual_clip": number(None),
    "actor.policy_loss_type": choice("ppo gspo"),
    "actor.loss_agg_mode": choice("token-mean seq-mean-token-mean", idle="gspo takes seq-mean-token-mean"),
    "actor.entropy_coef": number(None),
    "reward.clip_range": pair((-10.0, 10.0)),
    "reward.overlong_buffer_len": number(None, low=0.0),
    "reward.overlong_penalty_factor": number(1.0, low=0.0),
    "reward.stop_properly_penalty_coef": number(None, high=1.0),
    "rollout.batch_size": whole(1024),
    "rollout.n_samples_per_prompt": whole(1),
    "rollout.max_new_tokens": whole(None, why="whatever data.max_len leaves behind the prompt"),
    "rollout.top_p": number(1.0, low=0.0, high=1.0, approximated=OTHER),
    "data.max_len": whole(2048),
    "train.batch_size": whole(128, why="in responses"),
    "train.max_epochs": whole(1),
    **each(flag(False, approximated="responses of earlier policies; here of the present one"),
           "train.async_enable train.partial_rollout_enable"),
    "train.agent_func_path": text(None, approximated="responses with turns between; here of one turn"),
}
"""What bears on the loss, with defaults."""

OPTIMISER = """optim muon.lr muon.momentum muon.ns_steps muon.nesterov muon.no_nesterov adam.lr adam.betas adam.eps
    adam.weight_decay lr_scheduler lr_warmup_ratio min_lr_ratio max_norm"""
INERT = inert({
    ("devices", ""): """ref.num_nodes ref.num_gpus_per_node reward.num_nodes reward.num_gpus_per_node
        train.colocate_actor_ref actor.num_nodes actor.num_gpus_per_node critic.num_nodes critic.num_gpus_per_node
        train.colocate_critic_reward train.colocate_all local_rank ref.offload reward.offload
        train.async_queue_size""",
    ("the sampling engine", "vllm."): """num_engines tensor_parallel_size sync_backend sync_with_ray
        enable_prefix_caching enforce_eager enable_sleep gpu_memory_utilization""",
    ("memory, precision and speed", ""): """ds.zero_stage ds.deepcompile ds.param_dtype ds.zpg ds.adam_offload
        ds.attn_implementation ds.experts_implementation ds.use_liger_kernel ds.grad_accum_dtype ds.overlap_comm
        ds.enable_sleep ds.tensor_parallel_size ds.packing_samples ds.load_in_4bit ds.ring_attn_size
        ds.ring_attn_head_stride ds.use_universal_ckpt actor.gradient_checkpointing_enable
        actor.gradient_checkpointing_reentrant train.dynamic_batch_enable rollout.max_tokens_per_gpu
        train.max_tokens_per_gpu rollout.micro_batch_size train.micro_batch_size rollout.vllm_generate_batch_size
        train.full_determinism_enable""",
    ("the model", ""): """ds.lora.rank ds.lora.alpha ds.lora.target_modules ds.lora.dropout ds.value_head_prefix
        actor.model_name_or_path critic.model_name_or_path actor.freeze_visual_encoder use_ms train.enable_ema
        train.ema_beta""",
    ("balances experts, a loss of its own", ""): "actor.aux_loss_coef",
    ("the critic's own loss: say what it is by critic=", "critic."): f"""value_clip freezing_steps save_value_network
        {OPTIMISER}""",
    ("the optimiser", "actor."): OPTIMISER,
    ("how long it runs", ""): "train.num_episodes data.max_samples train.seed",
    ("what is paid: say so by reward=", "reward."): "normalize_enable model_name_or_path remote_url",
    ("of the adaptive KL controller", ""): "algo.kl.horizon",
    ("divides the logits in sampling and in the loss alike", ""): "rollout.temperature",
    ("the data", "data."): """disable_fast_tokenizer dataloader_num_workers prompt_dataset prompt_probs prompt_split
        input_key label_key input_template apply_chat_template image_key max_images_per_prompt""",
    ("evaluation", "eval."): "steps dataset split temperature n_samples_per_prompt",
    ("saving", "ckpt."): """save_steps path save_hf disable_ds max_num max_mem load_enable best_metric_key
        output_dir""",
    ("logging", "logger."): """logging_steps wandb.key wandb.org wandb.group wandb.project wandb.run_name
        tensorboard_dir""",
})
"""What does not bear on the loss, with the reason."""
