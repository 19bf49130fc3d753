"""A long run works in memory that it has, instead of asking the operating system for it in every step."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

RUN = """
import resource
import lossim as ls
policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=3000), max_tokens=65536,
                               wrong=ls.lengths.geometric(mean=5000))
def faults(steps):
    ls.train(ls.schemes.grpo(), policy, steps=steps, optimizer=ls.optimizers.SGD(learning_rate=0.1))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults(3)
print(faults(20) - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory by other rules")
def test_steps_do_not_ask_for_memory() -> None:
    """Every array of a step has 128 or 256 pages, and there are dozens: 20 steps would ask for 10,000 or more."""
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, check=True)
    assert 0 <= int(done.stdout) < 2000
