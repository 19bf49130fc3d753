"""The settings that the readers of configs know. Tests of "each setting" go through them; nothing public lists them."""

from __future__ import annotations

from lossim.configs import _openrlhf_keys, _trl_keys, _verl_keys

# What bears on the loss: the kind and the default of each setting by its name; of TRL for each algorithm.
TRL_KEYS = _trl_keys.TABLES
VERL_KEYS = _verl_keys.TABLE
OPENRLHF_KEYS = _openrlhf_keys.TABLE

# What does not bear on it, and why.
TRL_INERT = _trl_keys.INERT
VERL_INERT = _verl_keys.INERT
OPENRLHF_INERT = _openrlhf_keys.INERT
