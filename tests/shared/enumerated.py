"""Drifts of a small world against the plain enumeration of every batch."""

from __future__ import annotations

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate


def check(world: ref.World, cases: list[dict[str, object]], seed: int = 0) -> None:
    """All cases on one world; the reference enumerates the batches once."""
    pairs = [translate.both(world, np.random.default_rng(seed + i), **case)  # type: ignore[arg-type]
             for i, case in enumerate(cases)]
    policy, reference = translate.policies(world)
    truth = ref.expected_updates(world, [setting for _, setting in pairs])
    for case, (scheme, _), update in zip(cases, pairs, truth, strict=True):
        result = ls.drift(scheme, policy, reference=reference)
        expected = translate.flat(world, update)
        np.testing.assert_allclose(translate.engine_flat(result), expected, rtol=1e-10,
                                   atol=1e-10 * max(1e-2, np.abs(expected).max()), err_msg=str(case))
        drift = ref.numeric_derivative(world, ref_direction(world, policy, result))
        assert result.length.value == pytest.approx(drift, rel=1e-9, abs=1e-11), case
        assert result.sources.value.sum() == pytest.approx(result.length.value, rel=1e-12, abs=1e-14)
        for parts in ((result.composition, result.within), (result.needed, result.free)):
            both = sum(part.value for part in parts)
            assert both == pytest.approx(result.length.value, rel=1e-12, abs=1e-14)


def ref_direction(world: ref.World, policy: ls.Policy, result: ls.Drift) -> ref.Update:
    """The move of the logits that the update makes, for the reference to differentiate along."""
    stops, paths, _ = policy.motion.push(result.update.value)
    split = np.cumsum([len(c.paths) for c in world.classes])[:-1]
    return ref.Update(hazard_gradient=stops.tolist(), path_gradient=[p.tolist() for p in np.split(paths, split)])
