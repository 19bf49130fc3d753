"""What verl needs to train on a CPU, in the places that it has for other devices and other engines.

    VERL_USE_EXTERNAL_MODULES=verl_cpu VERL_PLATFORM=cpu VERL_ENGINE_DEVICE=cuda python -m verl.trainer.main_ppo ... \\
        actor_rollout_ref.actor.strategy=fsdp2 actor_rollout_ref.rollout.name=transformers

verl imports this module in each of its processes. The platform has no accelerator; the rollout, in place of vLLM,
is an actor that samples by transformers from the weights that it is sent. The engine, FSDP, is verl's own.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import ray
import torch
import transformers
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry
from verl.utils import distributed, import_utils
from verl.workers.rollout import base
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

NAME = "transformers"
NOTHING = dict.fromkeys(("empty_cache", "synchronize", "set_device", "reset_peak_memory_stats"), lambda *_, **__: None)
ZERO = dict.fromkeys(("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"),
                     lambda *_, **__: 0)
DEVICE = SimpleNamespace(**NOTHING, **ZERO, current_device=lambda: "cpu", device_count=lambda: 1,
                         is_available=lambda: False, mem_get_info=lambda *_: (0, 1), get_device_name=lambda *_: "cpu",
                         get_rng_state=torch.get_rng_state, set_rng_state=torch.set_rng_state)

# verl names gloo for the CPU and a backend for the accelerator; here both are one device, which torch wants once.
distributed.initialize_global_process_group_ray = functools.partial(distributed.initialize_global_process_group_ray,
                                                                    backend="cpu:gloo")

# verl changes a class of TRL where there is one; the TRL beside it here has that class no more.
import_utils.is_trl_available = lambda: False


@PlatformRegistry.register(platform="cpu")
class Platform(PlatformBase):
    """No accelerator; ray is told of a GPU that is none, which is what verl asks it for."""

    device_name = vendor_name = "cpu"  # type: ignore[assignment]
    device_module = DEVICE  # type: ignore[assignment]

    def is_available(self) -> bool:
        return True

    def current_device(self) -> Any:
        return "cpu"

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...

    def synchronize(self, device_index: int | None = None) -> None: ...

    def manual_seed(self, seed: int) -> None: ...

    def manual_seed_all(self, seed: int) -> None: ...

    def set_allocator_settings(self, settings: str) -> None: ...

    def empty_cache(self) -> None: ...

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None: ...

    def profiler_stop(self) -> None: ...

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None: ...


class Server:
    """Samples from the weights that it was sent last; each response by a seed of its own, whoever asks first."""

    def __init__(self, path: str, length: int) -> None:
        torch.set_num_threads(1)
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path)
        self.length, self.step = length, 0

    def update(self, weights: dict[str, torch.Tensor], step: int) -> None:
        self.model.load_state_dict(weights)
        self.step = step

    def sleep(self) -> None: ...

    @torch.no_grad()
    def generate(self, prompt_ids: list[int], sampling_params: dict[str, Any], **_: Any) -> TokenOutput:
        seed = hashlib.sha256(repr((self.step, list(prompt_ids), sampling_params["place"])).encode()).digest()
        torch.manual_seed(int.from_bytes(seed[:6], "big"))
        asked = torch.tensor([list(prompt_ids)])
        done = self.model.generate(asked, attention_mask=torch.ones_like(asked), max_new_tokens=self.length,
                                   do_sample=True, top_k=0, return_dict_in_generate=True, output_logits=True)
        drawn = done.sequences[0, asked.shape[1]:]
        chances = torch.stack(done.logits)[:, 0].log_softmax(-1).gather(1, drawn[:, None])[:, 0]
        return TokenOutput(token_ids=drawn.tolist(), log_probs=chances.tolist(), stop_reason="completed",
                           extra_fields={"global_steps": self.step})


class Adapter(BaseRollout):
    """Sends the weights of the actor to the server."""

    async def resume(self, tags: list[str]) -> None: ...

    async def release(self) -> None: ...

    async def update_weights(self, weights: Any, wire_format: str = "named_tensors", global_steps: int = 0,
                             **_: Any) -> None:
        state = {name: tensor.detach().clone() for name, tensor in weights}
        await ray.get_actor(f"{NAME}_0").update.remote(state, global_steps)


class Replica(RolloutReplica):
    """The one server, in a process of its own."""

    async def launch_servers(self) -> None:
        server = ray.remote(Server).options(name=f"{NAME}_{self.replica_rank}", num_cpus=0)
        self.servers = [server.remote(self.model_config.path, self.config.response_length)]
        self._server_handle, self._server_address = self.servers[0], f"{NAME}:{self.replica_rank}"


base._ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.Adapter"
RolloutReplicaRegistry.register(NAME, lambda: Replica)
