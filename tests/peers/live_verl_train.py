"""verl trains a tiny network on a CPU by its own command line, with lossim beside it and without, into a folder.

    python tests/peers/live_verl_train.py FOLDER

Everything is verl's but for generation: ray with its workers, TransferQueue, the update by FSDP, weights sent on, the
loop, its metrics and its dumps. {alone, watched}.sh is the command, {alone, watched}_dumps/, _metrics.jsonl and .log
what came of it. Takes two to four minutes, most of which ten processes pass importing torch.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import tiny_run

HERE = Path(__file__).parent
STEPS, PROMPTS, GROUP, CAP = 4, 8, 4, 16
SUMS = [f"{a}+{b}=?" for a in range(4) for b in range(8)]
WATCHED = ["+actor_rollout_ref.rollout.agent.agent_loop_manager_class=lossim.live.verl.AgentLoopManager",
           "+trainer.lossim.correct_above=0.5", "+trainer.lossim.budget=null"]
SETTINGS = """
algorithm.adv_estimator=grpo
data.train_files={folder}/sums.parquet
data.val_files={folder}/sums.parquet
data.train_batch_size={prompts}
data.max_prompt_length=8
data.max_response_length={cap}
data.dataloader_num_workers=0
data.seed=1
actor_rollout_ref.model.path={folder}/model
actor_rollout_ref.model.use_remove_padding=false
actor_rollout_ref.model.enable_gradient_checkpointing=false
+actor_rollout_ref.model.override_config.attn_implementation=eager
actor_rollout_ref.actor.strategy=fsdp2
actor_rollout_ref.actor.optim.lr=0.005
actor_rollout_ref.actor.ppo_mini_batch_size={prompts}
actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=32
actor_rollout_ref.actor.use_torch_compile=false
actor_rollout_ref.actor.fsdp_config.use_torch_compile=false
actor_rollout_ref.actor.fsdp_config.full_determinism=true
+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32
actor_rollout_ref.rollout.name=transformers
actor_rollout_ref.rollout.n={group}
actor_rollout_ref.rollout.tensor_model_parallel_size=1
actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=32
actor_rollout_ref.rollout.agent.num_workers=1
actor_rollout_ref.rollout.agent.agent_loop_config_path={folder}/turn.yaml
actor_rollout_ref.rollout.agent.default_agent_loop=turn
reward.num_workers=1
reward.custom_reward_function.path={here}/verl_places.py
transfer_queue.backend.SimpleStorage.num_data_storage_units=1
trainer.v1.sampler.custom_sampler.path={here}/verl_places.py
trainer.v1.sampler.custom_sampler.name=Sorted
trainer.logger=[file]
trainer.n_gpus_per_node=1
trainer.device=cpu
trainer.total_training_steps={steps}
trainer.val_before_train=false
trainer.resume_mode=disable
trainer.rollout_data_dir={folder}/{way}_dumps
+ray_kwargs.ray_init.num_gpus=1
ray_kwargs.ray_init.num_cpus=10
+ray_kwargs.ray_init.include_dashboard=false
+ray_kwargs.ray_init._node_ip_address=127.0.0.1
hydra.run.dir={folder}/hydra
"""


def prepare(folder: Path) -> None:
    """The network, its tokenizer, the prompts, and how a response is asked for."""
    tiny_run.network(1).save_pretrained(folder / "model")
    tiny_run.tokenizer().save_pretrained(folder / "model")
    rows = [{"prompt": [{"role": "user", "content": text}], "data_source": "sums", "extra_info": {"index": i},
             "reward_model": {"ground_truth": "", "style": "rule"}} for i, text in enumerate(SUMS)]
    pd.DataFrame(rows).to_parquet(folder / "sums.parquet")
    (folder / "turn.yaml").write_text(json.dumps([{"name": "turn", "_target_": "verl_places.Turn"}]), encoding="utf-8")


def train(folder: Path, way: str) -> None:
    """verl's command line."""
    said = SETTINGS.format(folder=folder, way=way, here=HERE, prompts=PROMPTS, cap=CAP, group=GROUP, steps=STEPS)
    command = [sys.executable, "-m", "verl.trainer.main_ppo", *said.split(), *(WATCHED if way == "watched" else [])]
    (folder / f"{way}.sh").write_text(shlex.join(command) + "\n", encoding="utf-8")
    path = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    settings = {"PYTHONPATH": path, "VERL_USE_EXTERNAL_MODULES": "verl_cpu", "VERL_PLATFORM": "cpu",
                "VERL_ENGINE_DEVICE": "cuda", "VERL_FILE_LOGGER_PATH": str(folder / f"{way}_metrics.jsonl"),
                "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_enable_worker_prestart": "0"}
    with open(folder / f"{way}.log", "w", encoding="utf-8") as log:
        subprocess.run(command, env=os.environ | settings, stdout=log, stderr=log, check=True, timeout=600)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    for way in ("alone", "watched"):
        train(folder, way)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
