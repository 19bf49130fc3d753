"""The oracle with batches of an old policy: updates against differentiated losses, by hand and by identities."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import reference as ref
from objectives import OBJECTIVES, surrogate
from reference import RefClass, RefPath, Setting, World
from reference_cases import UNBIASED, ZOO, assert_close, by_grade, differentiated, of_everything, one_path, quantity


@pytest.fixture(scope="module")
def stale():
    """Two classes, three cells, N = 2, a reference and an old policy; no frozen hazards."""
    rng = np.random.default_rng(4)
    return ref.random_world(rng, paths=(2, 1), max_tokens=2, zero_one=0.0, reference=True, old=True)


def token_logs(world, j, response):
    """Log probabilities of the tokens, said once more: (path and first decision), then decision by decision."""
    k, length, truncated = response[:3]
    path = world.classes[j].paths[k]
    logs = [math.log(1 - h) for h in path.hazard[:length]]
    if not truncated:
        logs[-1] = math.log(path.hazard[length - 1])
    logs[0] += math.log(path.probability)
    return logs


def old_policy(world):
    """The world with its old policy as the policy, put together here by hand."""
    classes = [
        replace(c, paths=[replace(p, hazard=p.old_hazard, probability=p.old_probability) for p in c.paths])
        for c in world.classes
    ]
    return replace(world, classes=classes)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_update_of_a_batch_is_the_gradient_of_the_surrogate_loss(stale, name):
    """The mean over responses of the mean over tokens, differentiated by every logit; all the batches of two."""
    setting, objective = surrogate(name, baseline=0.2, group_size=2), OBJECTIVES[name][1]
    old, gained = old_policy(stale), []
    for _, batch in ref.batches(stale, setting):
        ((j, responses),) = batch
        before = [token_logs(old, j, r) for r in responses]
        now = [np.subtract(token_logs(stale, j, r), b) for r, b in zip(responses, before, strict=True)]

        def loss(world, j=j, responses=responses, before=before, now=now):
            terms = []
            for r, b, at in zip(responses, before, now, strict=True):
                a = of_everything(r.length, r.correct, r.truncated) - 0.2
                logs = np.subtract(token_logs(world, j, r), b)
                terms.append(math.fsum(objective(logs, at, [a] * r.length)) / r.length)
            return math.fsum(terms) / 2

        update = ref.batch_update(stale, setting, batch)
        assert_close(update, differentiated(stale, loss, step=1e-5), atol=1e-8)
        gained.append(ref.inner(update, update))
    assert max(gained) > 1e-4


def test_one_token_of_an_old_policy_by_hand():
    """h = 1/4, drawn with 1/2; stopping pays 1: 1/2 * 3/4, and with the ratio 1/2 the gradient 1/4 * 3/4."""
    world = one_path([0.25], old_hazard=[0.5])
    setting = Setting(reward=by_grade)

    def moves_by(**slots):
        return ref.expected_update(world, replace(setting, **slots)).hazard_gradient[0][0]

    assert moves_by() == pytest.approx(3 / 8)
    assert moves_by(surrogate="importance_weighted") == pytest.approx(3 / 16)
    assert moves_by(surrogate="cispo") == pytest.approx(0.8 * 3 / 8)
    assert moves_by(surrogate="ppo_clip") == pytest.approx(3 / 16)  # far below 1, but it pays to go back
    assert moves_by(surrogate="ppo_clip", reward=lambda *_: -1.0) == pytest.approx(-1 / 2 * 3 / 2 * -1 / 4)
    # penalties have no ratio; the reference is 1/2 and so is the old policy: no KL is paid in the reward
    world = one_path([0.25], old_hazard=[0.5], reference_hazard=[0.5])
    nothing = dict(reward=lambda *_: 0.0, surrogate="importance_weighted")
    assert moves_by(**nothing, kl_reward=(1.0, 0.0)) == 0.0
    assert moves_by(**nothing, kl_loss=(1.0, "k1")) == pytest.approx(-(1 / 2 * 3 / 4 - 1 / 2 * 1 / 4))
    assert moves_by(**nothing, kl_loss=(1.0, "k2")) == pytest.approx(3 / 8 * math.log(2) + 1 / 8 * math.log(3 / 2))
    assert moves_by(**nothing, entropy=1.0) == pytest.approx(3 / 16 * math.log(3))
    # the reference is the new policy: what is paid is log(old/new), log 2 for stopping and log(2/3) for going on
    world = one_path([0.25], old_hazard=[0.5], reference_hazard=[0.25])
    paid = -math.log(2) * 1 / 2 * 1 / 2 * 3 / 4 + math.log(2 / 3) * 1 / 2 * 3 / 2 * 1 / 4
    assert moves_by(**nothing, kl_reward=(1.0, 0.0)) == pytest.approx(paid)
    assert moves_by(**nothing, kl_loss=(1.0, "k2")) == 0.0


def test_the_path_is_part_of_the_first_token():
    """Paths 1/4 and 3/4, drawn evenly; the first pays 1: 1/2 * 1/2 * (3/4, -3/4)."""
    right = RefPath(probability=0.25, hazard=[1.0], p_correct=[1.0], old_probability=0.5)
    wrong = RefPath(probability=0.75, hazard=[1.0], p_correct=[0.0], old_probability=0.5)
    world = World(classes=[RefClass(weight=1.0, paths=[right, wrong])], max_tokens=1)
    setting = Setting(reward=by_grade, surrogate="importance_weighted")
    np.testing.assert_allclose(ref.expected_update(world, setting).path_gradient, [[3 / 16, -3 / 16]], rtol=1e-14)


@pytest.mark.parametrize("setting", UNBIASED, ids=lambda s: s["advantage"])
def test_with_one_token_importance_weights_give_the_gradient_at_the_new_policy(setting):
    """One token is a whole response, so its ratio makes up for the batch; a baseline may not see the response."""
    world = ref.random_world(np.random.default_rng(8), paths=(3, 2), max_tokens=1, zero_one=0.0, old=True)
    setting = {key: value for key, value in setting.items() if key != "values"}
    setting = Setting(
        reward=of_everything,
        aggregation="token_sum",
        surrogate="importance_weighted",
        group_size=2,
        prompts_per_step=2,
        **setting,
    )
    expected = ref.gradient_of_mean(world, quantity(of_everything))
    assert_close(ref.expected_update(world, setting), expected, scale=4)
    assert_close(expected, differentiated(world, lambda w: ref.expected_value(w, quantity(of_everything))), atol=1e-7)
    unweighted = ref.expected_update(world, replace(setting, surrogate="policy_gradient"))
    assert max(abs(x / 4 - y) for x, y in zip(unweighted[0][0], expected[0][0], strict=True)) > 1e-3


def test_ratios_of_tokens_leave_out_how_often_a_position_is_reached(stale):
    """Two tokens: z_2 moves as under the new policy, times how much oftener the old one comes to position 2."""
    setting = Setting(reward=of_everything, aggregation="token_sum", surrogate="importance_weighted")
    found, exact = ref.expected_update(stale, setting), ref.gradient_of_mean(stale, quantity(of_everything))
    for c in range(3):
        j, k = ((0, 0), (0, 1), (1, 0))[c]
        path = stale.classes[j].paths[k]
        now, before = path.probability * (1 - path.hazard[0]), path.old_probability * (1 - path.old_hazard[0])
        assert found[0][c][1] == pytest.approx(exact[0][c][1] * before / now, rel=1e-11)


def test_bounds_that_do_not_bind_leave_the_importance_weights(stale):
    wide = dict(clip_low=1.0, clip_high=1e9)
    for setting in ZOO:
        plain = ref.expected_update(stale, replace(setting, surrogate="importance_weighted"))
        for name, slots in (("ppo_clip", {}), ("ppo_clip", dict(dual=1e9, delta=1e9)), ("cispo", {})):
            assert_close(ref.expected_update(stale, replace(setting, surrogate=name, **wide, **slots)), plain)
        if setting.advantage != "gae":
            wide_logs = dict(clip_low=1e9, clip_high=1e9)
            assert_close(
                ref.expected_update(stale, replace(setting, surrogate="gmpo", **wide_logs)),
                ref.expected_update(stale, replace(setting, surrogate="gspo", **wide_logs)),
            )


def test_old_batches_merged_and_ordered_agree(stale):
    chosen = [{"surrogate": name.split()[0], **OBJECTIVES[name][0]} for name in OBJECTIVES if name != "gmpo"]
    zoo = [replace(s, **chosen[i % len(chosen)]) for i, s in enumerate(ZOO)]
    zoo.append(replace(ZOO[3], surrogate="gmpo"))
    merged, ordered = (ref.expected_updates(stale, zoo, merge=merge) for merge in (True, False))
    for a, b in zip(merged, ordered, strict=True):
        assert_close(a, b)
        assert ref.inner(a, a) > 1e-8


@pytest.mark.parametrize("dynamic_sampling", ["none", "drop", "resample"])
def test_batches_are_those_of_the_old_policy(stale, dynamic_sampling):
    setting = replace(ZOO[0], dynamic_sampling=dynamic_sampling)
    assert list(ref.batches(stale, setting)) == list(ref.batches(old_policy(stale), setting))
    assert list(ref.batches(stale, setting)) != list(ref.batches(replace_old(stale), setting))


def replace_old(world):
    """The world without its old policy."""
    classes = [
        replace(c, paths=[replace(p, old_hazard=None, old_probability=None) for p in c.paths]) for c in world.classes
    ]
    return replace(world, classes=classes)


def test_random_old_policies_reach_the_clips():
    """The same world but for the old policy, frozen hazards shared; ratios on all sides of 0.8, 1.2 and 3."""
    reached = []
    for seed in range(20):
        made, plain = (ref.random_world(np.random.default_rng(seed), zero_one=0.3, old=old) for old in (True, False))
        assert replace_old(made) == plain
        ratios = []
        for j, prompts in enumerate(made.classes):
            assert sum(p.old_probability for p in prompts.paths) == pytest.approx(1.0)
            for path in prompts.paths:
                for h, before in zip(path.hazard, path.old_hazard, strict=True):
                    assert (h in (0.0, 1.0)) == (h == before)
            for _, response in ref.atoms(made.old(), j):
                assert response in [r for _, r in ref.atoms(made, j)]
                ratios += [math.exp(ref.log_ratio(made, j, response, t, "old")) for t in range(1, response.length + 1)]
        reached.append([min(ratios) < 0.8, any(0.8 < r < 1.2 and r != 1.0 for r in ratios), max(ratios) > 3.0])
    assert np.all(np.mean(reached, axis=0) > 0.7)
