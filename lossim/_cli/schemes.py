"""Schemes: by name or by config, with settings changed, and those that are set beside."""

from __future__ import annotations

import inspect
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lossim._cli.answers import LOGGED, given, refuse
from lossim._support import checks
from lossim._support.records import Record
from lossim.advantages import GAE, Advantage, Whitened
from lossim.configs import ParsedConfig, read_config
from lossim.penalties import KL
from lossim.rewards import Reward
from lossim.schemes import Scheme, presets

__all__ = ["Asked", "asked_schemes", "needs_of", "one_scheme", "preset_name", "preset_of", "rule_of"]

CONFIG_ONLY = ("trainer", "algorithm", "processes", "strict", "ignore", "settings")
"""Arguments that are about a config."""


class Asked(Record):
    """The schemes that were asked for, the one that is the user's ``own`` first if there is one."""

    schemes: tuple[Scheme, ...]
    own: Scheme | None
    config: ParsedConfig | None
    notes: tuple[str, ...]


def asked_schemes(args: Namespace, *, every: bool = False) -> Asked:
    """Schemes by --scheme or --config, and those by --compare; all presets if there is none and ``every``."""
    if args.kl is not None:
        checks.at_least("kl", args.kl, 0.0)
    named, config = _own(args)
    own = named[0] if len(named) == 1 else None
    beside, notes = _beside(args, named, every=every and not named)
    schemes, more = _adjusted(args, [*named, *beside])
    return Asked(schemes=tuple(schemes), own=None if own is None else schemes[0], config=config,
                 notes=(*notes, *more))


def one_scheme(args: Namespace, command: str) -> Asked:
    """The scheme by --scheme or --config, where there is to be one."""
    asked = asked_schemes(args)
    if not asked.schemes:
        raise ValueError(f"{command} needs a scheme: give --scheme NAME, or --config FILE")
    if len(asked.schemes) > 1:
        raise ValueError(f"{command} takes one scheme, and there are {len(asked.schemes)}: "
                         f"{', '.join(each.name for each in asked.schemes)}; ask for each by itself")
    return asked


def reward_of(args: Namespace) -> Reward | None:
    """The reward that was given by numbers."""
    return None if args.reward == LOGGED else args.reward


def rule_of(args: Namespace, asked: Asked) -> Reward | None:
    """The reward by which a log is paid instead of as logged: as given, or the config's, with what --shaping adds."""
    reward = reward_of(args)
    if reward is None:
        refuse(args, ("shaping",), "shapes what a rule pays; on a log give --reward too, as in --reward 1,0")
        return None
    if asked.config is not None:
        reward = asked.config.scheme.reward  # with the length penalties of the config
    return _shaped(reward, args.shaping or ())


def _shaped(reward: Reward, shapings: Sequence[Any]) -> Reward:
    """The reward through these shapings, too."""
    own = reward.shaping if isinstance(reward.shaping, tuple) else (reward.shaping,)
    return replace(reward, shaping=tuple(each for each in (*own, *shapings) if each is not None))


def preset_name(option: str, name: str) -> str:
    """A preset by its name in any case, with - or _.

    >>> preset_name("--scheme", "Dr-GRPO")
    'dr_grpo'
    """
    plain = name.strip().lower().replace("-", "_")
    if plain not in presets():
        checks.fail(option, name.strip(), "must be one of " + ", ".join(map(repr, presets())),
                    checks.nearest(plain, presets()))
    return plain


def preset_of(option: str, name: str, args: Namespace) -> Scheme:
    """A preset by name, with the reward and the KL that were given where it takes them."""
    called = preset_name(option, name)
    preset = presets()[called]
    needs = needs_of(preset)
    if needs:
        raise ValueError(f"{option} {called} needs {', '.join(needs)}, which the command line does not take; use "
                         f"Python, lossim.schemes.{called}({needs[0]}=...)")
    takes = inspect.signature(preset).parameters
    options = given(reward=reward_of(args), kl=args.kl if "kl" in takes else None)
    return preset(**options)


def needs_of(preset: Callable[..., Scheme]) -> tuple[str, ...]:
    """Arguments of a preset that have no default."""
    return tuple(name for name, each in inspect.signature(preset).parameters.items() if each.default is each.empty)


def _own(args: Namespace) -> tuple[list[Scheme], ParsedConfig | None]:
    """The schemes by --scheme, or the one by --config."""
    if args.config is None:
        refuse(args, CONFIG_ONLY, "is for a config; give --config FILE")
        if args.scheme is None:
            return [], None
        names = dict.fromkeys(preset_name("--scheme", word) for word in args.scheme.split(","))
        return [preset_of("--scheme", name, args) for name in names], None
    source = Path(args.config) if os.path.exists(args.config) else args.config
    config = read_config(source, trainer=args.trainer, algorithm=args.algorithm, processes=args.processes,
                         reward=reward_of(args), settings=_settings(args),
                         **given(strict=args.strict, ignore=args.ignore))
    return [config.scheme], config


def _settings(args: Namespace) -> dict[str, str]:
    """The settings by --set."""
    pairs = [word.partition("=") for word in args.settings or ()]
    for key, equals, value in pairs:
        if not (key and equals):
            checks.fail("--set", key + equals + value, "must be KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _beside(args: Namespace, own: Sequence[Scheme], *, every: bool) -> tuple[list[Scheme], list[str]]:
    """The presets to set beside, and what there is to say of them."""
    wanted = getattr(args, "compare", None)
    if wanted is None and not every:
        return [], []
    names = ["all"] if wanted is None else wanted.split(",")
    notes = []
    if [name.strip().lower() for name in names] == ["all"]:
        missing = {name: needs_of(preset) for name, preset in presets().items() if needs_of(preset)}
        names = [name for name in presets() if name not in missing]
        kept = "which a log does not hold" if args.command == "audit" else "which is not among what is given"
        notes = [f"{name} is left out: it needs {', '.join(needs)}, {kept}" for name, needs in missing.items()]
    mine = {each.name for each in own}
    called = dict.fromkeys(preset_name("--compare", name) for name in names)
    return [preset_of("--compare", name, args) for name in called if name not in mine], notes


# --- settings ---------------------------------------------------------------------------------------------------


def _adjusted(args: Namespace, schemes: Sequence[Scheme]) -> tuple[list[Scheme], list[str]]:
    """Schemes with the settings that were given, and who has no use for one of them."""
    changes = given(gae_lambda=args.gae_lambda, critic=args.critic)
    notes = []
    for name in changes:
        words = "--lambda" if name == "gae_lambda" else "--critic"
        without = [each.name for each in schemes if not _has_gae(each)]
        if schemes and len(without) == len(schemes):
            raise ValueError(f"{words} is for GAE, which {', '.join(without)} {'has' if len(without) == 1 else 'have'} "
                             "not; leave it out, or ask for ppo or vapo")
        if without:
            notes.append(f"{words} is for GAE, which {', '.join(without)} {'has' if len(without) == 1 else 'have'} not")
    return [_with_settings(each, args, changes) for each in schemes], notes


def _with_settings(scheme: Scheme, args: Namespace, of_gae: dict[str, Any]) -> Scheme:
    """One scheme with the settings that it has a place for."""
    slots = given(group_size=args.group_size, prompts_per_step=args.prompts_per_step)
    if args.shaping:
        slots["reward"] = _shaped(scheme.reward, args.shaping)
    if of_gae and _has_gae(scheme):
        slots["advantage"] = _gae_with(scheme.advantage, of_gae)
    if args.kl is not None:
        slots["penalties"] = _with_kl(scheme, args.kl)
    return replace(scheme, **slots) if slots else scheme


def _has_gae(scheme: Scheme) -> bool:
    """Whether there are λ and critic to choose."""
    return type(scheme.advantage.token_level) is GAE


def _gae_with(advantage: Advantage, changes: dict[str, Any]) -> Advantage:
    """GAE with other settings, whitened if it was."""
    if isinstance(advantage, Whitened):
        return replace(advantage, inner=_gae_with(advantage.inner, changes))
    return replace(advantage, **changes)


def _with_kl(scheme: Scheme, coefficient: float) -> tuple[Any, ...]:
    """Its penalties with the KL at that coefficient: the scheme's own, or else k3 in the loss; none at 0."""
    own = scheme.kl_in_reward or scheme.kl_in_loss or KL(coefficient=0.0, estimator="k3", place="loss")
    rest = tuple(each for each in scheme.penalties if not isinstance(each, KL))
    return (*rest, replace(own, coefficient=coefficient)) if coefficient else rest
