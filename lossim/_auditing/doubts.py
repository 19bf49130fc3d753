"""What a log leaves unknown beside the kernel: the critic, where nobody gave one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._auditing.bootstrap import Spread, read
from lossim._support.doubts import Doubt


def critic_doubt(spread: Spread) -> list[Doubt]:
    """Tokens in a step of 0.01 nats under each critic that may be meant; nothing where one was given."""
    plugin = spread.plugin
    gae = plugin.scheme.advantage.token_level
    if gae is None or not gae.critic.alternatives:
        return []
    lengths = {}
    for name, critic in gae.critic.alternatives:
        scheme = replace(plugin.scheme, advantage=plugin.scheme.advantage.with_critic(critic))
        other = replace(plugin, scheme=scheme)
        try:
            found = Spread(other, read(other))
        except ValueError:  # a critic that this reward, or a value beyond the cap, leaves without a meaning
            continue
        lengths[name] = found.readout.ratios(found.changes).length_per_kl
    return [Doubt(unknown="critic", options=tuple(lengths), lengths=np.nan_to_num(np.array(list(lengths.values()))))]
