"""A trainer's config, read as a scheme: nothing is dropped in silence.

>>> from lossim.configs import read_config
>>> read_config({"loss_type": "grpo", "beta": 0.04}, trainer="trl").scheme
Scheme 'trl grpo (loss_type grpo)': GroupStandardized(eps=0.0001) · PPOClip ·
SequenceMeanTokenMean [verl seq-mean-token-mean, TRL grpo] · reward 1 if correct, else 0 ·
KL(coefficient=0.04, estimator='k3', gradient='bias_corrected') · 1 prompts × 8
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from lossim._support import checks
from lossim.configs import _source, openrlhf, trl, verl
from lossim.configs._parsed import Entry, ParsedConfig
from lossim.configs._settings import Options
from lossim.critics import Critic
from lossim.rewards import Reward

__all__ = ["Entry", "ParsedConfig", "read_config"]

PARSERS = {"trl": trl.parse, "verl": verl.parse, "openrlhf": openrlhf.parse}


def read_config(source: Mapping[str, Any] | str | os.PathLike[str] | Sequence[str], *,
                trainer: Literal["trl", "verl", "openrlhf"], algorithm: Literal["grpo", "rloo"] | None = None,
                processes: int | None = None, reward: Reward | None = None, critic: Critic | None = None,
                unsupported: Literal["error", "report"] = "error", ignore: Iterable[str] = ()) -> ParsedConfig:
    """The scheme that a trainer's config stands for, with what became of every setting.

    Read as TRL 1.16.0, verl 0.9.1 and OpenRLHF 0.11.2 would; what is not given has their default and is listed.

    Args:
        source: a mapping, nested or with dotted keys (an OmegaConf one too); the path of a ``.yaml``, ``.yml`` (needs
            ``lossim[configs]``) or ``.json`` file; for verl also Hydra overrides, for OpenRLHF flags: a list of words,
            or one string as on the command line, which may begin with the program.
        trainer: ``"trl"`` (``GRPOConfig``, ``RLOOConfig``), ``"verl"`` (``ppo_trainer``) or ``"openrlhf"``
            (``train_ppo_ray``).
        algorithm: which of TRL's two configs it is; None tells by settings that only one of them has, else GRPO.
        processes: devices that TRL's batch sizes are per; None takes 1 unless the config tells.
        reward: what is paid, which a config does not say; None is ``Reward()``. Length penalties of the config are
            added to its shaping.
        critic: the critic for GAE; None is ``critics.NotGiven()``, which assumes V = 0.
        unsupported: what becomes of settings that no slot of a scheme can hold: ``"error"``, or ``"report"`` them and
            leave them out.
        ignore: keys of the config to pass over: settings of one's own, which are errors otherwise.

    Returns:
        The scheme, and every setting as read, assumed, ignored, approximated or unsupported.

    Raises:
        ValueError: an unknown setting, a value out of range, settings that contradict each other, one without a slot
            (unless reported), a reference that cannot be followed, a file that holds no mapping.
        TypeError: a value of another kind.
        FileNotFoundError: no such file.
        ImportError: a YAML file without pyyaml.

    >>> parsed = read_config("algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=8 data.train_batch_size=256 "
    ...                      "actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean", trainer="verl")
    >>> parsed.scheme
    Scheme 'verl grpo (vanilla, seq-mean-token-mean)': GroupStandardized · PPOClip(dual=3.0) ·
    SequenceMeanTokenMean [verl seq-mean-token-mean, TRL grpo] · reward 1 if correct, else 0 · 256 prompts × 8
    >>> read_config("--algo.advantage.estimator dr_grpo --rollout.n_samples_per_prompt 8 --algo.kl.init_coef 0",
    ...             trainer="openrlhf").scheme.advantage
    GroupMean(group_of_one='zero')
    >>> read_config({"los_type": "grpo"}, trainer="trl")
    Traceback (most recent call last):
        ...
    ValueError: los_type is not a setting that lossim knows of TRL 1.16.0 GRPOConfig, got 'grpo'; did you mean
    'loss_type'?
    """
    checks.choice("trainer", trainer, PARSERS)
    checks.choice("unsupported", unsupported, ("error", "report"))
    if processes is not None:
        checks.whole("processes", processes)
    for name, value, kind in (("reward", reward, Reward), ("critic", critic, Critic)):
        if value is not None and not isinstance(value, kind):
            checks.fail(name, value, f"must be a {kind.__name__}", f"see lossim.{name}s", TypeError)
    if algorithm is not None and trainer != "trl":
        checks.fail("algorithm", algorithm, "must be left out unless trainer is 'trl'")
    skipped = checks.members("ignore", list(ignore) if not isinstance(ignore, str) else ignore, str, "keys",
                             "write one as [key]")
    config, typed = _source.read(source, trainer)
    return PARSERS[trainer](config, Options(reward=reward, critic=critic, algorithm=algorithm, processes=processes,
                                            report=unsupported == "report", ignore=skipped, typed=typed))
