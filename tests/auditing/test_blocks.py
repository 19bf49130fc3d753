"""What is drawn again of a log with many prompts: blocks of them."""

from __future__ import annotations

import numpy as np

from logged import sample
from lossim._auditing.reading import MOST_BLOCKS, read_log


def test_prompts_drawn_again_are_blocks_of_prompts_where_there_are_many() -> None:
    log = read_log(sample(prompts=1500, group_size=2), needs_grades=True)
    sizes = np.bincount(log.block_of_prompt)
    assert len(sizes) == log.blocks == MOST_BLOCKS
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(log.by_end(log.redrawn(log.counts, np.ones((1, log.blocks))))[0], log.law)
