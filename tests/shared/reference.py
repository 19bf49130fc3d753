"""The oracle: the expected update of one step, by going through every batch there is, token by token.

Slow on purpose: scalars, lists and loops, nothing from the package. For max_tokens up to 4, few responses.
Batches come from the old policy, what they move is the new one; ``worlds`` says what both are.
A group is ``(class, responses)``, a batch a sequence of groups. Positions run t = 1..N; cells run over the
classes and then over their paths.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import Any, NamedTuple

from gains import active, gains, gmpo_gains, kl_slope, mean, sapo_gain  # noqa: F401 (they go by these names here too)
from worlds import (  # noqa: F401 (the worlds go by these names here as well)
    LENGTH,
    Entry,
    Quantity,
    RefClass,
    RefPath,
    Response,
    Update,
    World,
    atoms,
    entropy_gradient,
    expected_value,
    gradient_of_mean,
    inner,
    log_ratio,
    numeric_derivative,
    random_world,
    score,
    skill_score,
    stop_entropy,
    zero,
)

Group = tuple[int, Sequence[Response]]
Batch = Sequence[Group]

NAMES = {
    "advantage": ("raw", "group_mean", "leave_one_out", "leave_one_out_std", "standardized", "opo", "max_rl",
                  "pass_k", "gpg", "gae"),
    "group_of_one": ("zero", "raw", None),
    "scope": ("group", "batch"),
    "counting": ("all", "kept"),
    "truncation": ("keep", "mask", "remove"),
    "dynamic_sampling": ("none", "drop", "resample"),
    "surrogate": ("policy_gradient", "importance_weighted", "ppo_clip", "cispo", "sapo", "gspo", "gmpo", "topr",
                  "vespo"),
}
GROUP_RELATIVE = ("group_mean", "leave_one_out", "leave_one_out_std", "standardized", "opo", "max_rl", "pass_k",
                  "gpg")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained: numbers, names (``NAMES``, and the keys in ``Step.weight``) and a reward function."""

    reward: Callable[[int, bool, bool], float]  # of length, correct, truncated
    advantage: str = "raw"
    baseline: float | Sequence[float] = 0.0  # of raw: a number, or one per class
    group_of_one: str | None = None  # None: "raw" for standardized, max_rl and gpg, else "zero"
    ddof: int = 1
    eps: float = 1e-6
    scope: str = "group"  # of the standard deviation
    gamma: float = 1.0
    gae_lambda: float | tuple[str, float] = 0.95  # or ("adaptive", alpha): 1 - 1/(alpha T), at least 0
    first_values: Sequence[float] | None = None  # V_1 [class]; None is 0
    values: Sequence[Sequence[float]] | None = None  # V_t [cell][t-1], used from t = 2 on; None is 0
    wrappers: Sequence[str] = ()  # in the order applied: positive_only, center, whiten (center and scale)
    whiten_eps: float = 1e-8
    whiten_ddof: int = 1
    aggregation: str = "sequence_mean_token_mean"
    counting: str = "all"
    constant: float | None = None  # None: max_tokens
    alpha: float = 0.75  # of length_power
    tokens_per_turn: float = 1.0
    truncation: str = "keep"
    dynamic_sampling: str = "none"
    deadline: float = math.inf  # tokens; what is longer is late
    late: str = "group"  # replaced, or "response": left out
    group_size: int = 1
    prompts_per_step: int = 1
    kl_reward: tuple[float, float] = (0.0, 0.0)  # coefficient, content per go-on token
    kl_loss: tuple[float, str] = (0.0, "k1")  # coefficient, k1 | k2 | k3 | abs, as "k3+" or "corrected k3" too
    kl_to_old: bool = False  # of kl_loss: to the old policy, not the reference
    entropy: float = 0.0
    surrogate: str = "policy_gradient"
    clip_low: float = 0.2  # of ppo_clip, cispo and gspo: ratios in [1 - low, 1 + high]; of gmpo: in logs
    clip_high: float = 0.2
    dual: float | None = None  # of ppo_clip: the largest ratio at a negative advantage, above 1
    delta: float | None = None  # of ppo_clip: the largest ratio at either sign
    tau_positive: float = 1.0  # of sapo, by the sign of the advantage
    tau_negative: float = 1.05
    vespo_positive: tuple[float, float] = (2.0, 3.0)  # power, decay
    vespo_negative: tuple[float, float] = (3.0, 2.0)
    off_policy: float | None = None  # of ppo_clip: responses with A < 0 and mean log(old/new) above are dropped

    def __post_init__(self) -> None:
        unknown = [name for name, known in NAMES.items() if getattr(self, name) not in known]
        if unknown or not set(self.wrappers) <= {"positive_only", "center", "whiten"}:
            raise ValueError(f"unknown name in {self}")
        if self.advantage == "leave_one_out" and self.group_size == 1 and self.group_of_one != "raw":
            raise ValueError("leave_one_out needs a group_size of at least 2")
        if self.surrogate == "gmpo" and self.advantage == "gae":
            raise ValueError("gmpo needs one advantage per response, gae has one per token")
        if self.surrogate != "ppo_clip" and not (self.dual is None and self.delta is None):
            raise ValueError("dual and delta belong to ppo_clip")


# ---- one batch ----


class Facts(NamedTuple):
    """What one response brings, whatever its batch. Lists run over its tokens."""

    j: int
    response: Response
    reward: float  # of the task, shaping included
    paid: list[float]  # KL in the reward, of the old policy
    total: float  # what an advantage sees that is one number per response: reward + sum(paid)
    log_ratio: list[float]  # new to reference: KL in the loss
    log_moved: list[float]  # new to old
    score: list[list[Entry]]
    entropy: list[list[Entry]]


def tokens(responses: Sequence[Facts]) -> int:
    return sum(f.response.length for f in responses)


def deviation(numbers: Sequence[float], ddof: int) -> float:
    center = mean(numbers)
    return math.sqrt(math.fsum((x - center) ** 2 for x in numbers) / (len(numbers) - ddof))


class Members(NamedTuple):
    """The responses of a group that enter its statistics, and those in the loss."""

    baseline: list[Facts]
    trained: list[Facts]
    unequal: bool  # two in the baseline have different task rewards
    advantages: list[list[float]] | None  # of each token in the loss; None if they depend on the rest of the step


class Step:
    """One setting in one world. Remembers what each response and each group brings, whatever its batch."""

    def __init__(self, world: World, setting: Setting) -> None:
        self.world, self.old, self.setting = world, world.old(), setting
        self.known: dict[tuple[int, Response], Facts] = {}
        self.groups: dict[tuple[int, tuple[Response, ...]], Members] = {}

    def facts(self, j: int, response: Response) -> Facts:
        if (j, response) not in self.known:
            world, (coefficient, content) = self.world, self.setting.kl_reward
            positions = range(1, response.length + 1)
            reward = self.setting.reward(response.length, response.correct, response.truncated)
            d = [log_ratio(self.old, j, response, t) for t in positions]
            paid = [-coefficient * (d[t - 1] + (0.0 if response.stops_at(t) else content)) for t in positions]
            self.known[j, response] = Facts(
                j=j,
                response=response,
                reward=reward,
                paid=paid,
                total=reward + sum(paid),
                log_ratio=[log_ratio(world, j, response, t) for t in positions],
                log_moved=[log_ratio(world, j, response, t, "old") for t in positions],
                score=[score(world, j, response, t) for t in positions],
                entropy=[entropy_gradient(world, j, response, t) for t in positions],
            )
        return self.known[j, response]

    def in_baseline(self, group: Sequence[Facts]) -> list[Facts]:
        """The responses that enter the group's statistics."""
        return [f for f in group if not self.late(f)
                and not (self.setting.truncation == "remove" and f.response.truncated)]

    def late(self, f: Facts) -> bool:
        """Whether a response is left out because it is late."""
        return self.setting.late == "response" and f.response.length > self.setting.deadline

    def in_loss(self, group: Sequence[Facts]) -> list[Facts]:
        """The responses whose tokens are trained on."""
        s = self.setting
        removes = s.truncation == "remove" or (s.late == "response" and s.deadline < math.inf)
        if removes and s.advantage in GROUP_RELATIVE and s.group_size >= 2 and len(self.in_baseline(group)) < 2:
            return []
        return [f for f in group if not self.late(f) and (s.truncation == "keep" or not f.response.truncated)]

    def members(self, group: Group) -> Members:
        key = (group[0], tuple(group[1]))
        if key not in self.groups:
            everyone = [self.facts(group[0], response) for response in group[1]]
            baseline, trained = self.in_baseline(everyone), self.in_loss(everyone)
            of_step = self.setting.advantage == "gpg" or self.setting.scope == "batch"
            own = None if of_step else self.advantages(baseline, trained, [])
            self.groups[key] = Members(baseline, trained, len({f.reward for f in baseline}) > 1, own)
        return self.groups[key]

    def advantages(self, baseline: Sequence[Facts], trained: Sequence[Facts], step_totals: Sequence[float]
                   ) -> list[list[float]]:
        """Of each token in the loss of a group, [response][t-1]."""
        if self.setting.advantage == "gae":
            return [self.gae(f) for f in trained]
        return [[self.response_advantage(f, baseline, step_totals)] * f.response.length for f in trained]

    def unequal(self, group: Group) -> bool:
        """Whether two responses in the baseline have different task rewards."""
        return self.members(group).unequal

    def taken(self, group: Group) -> bool:
        """Whether a step takes the group, and does not draw another in its place."""
        s = self.setting
        if s.late == "group" and any(response.length > s.deadline for response in group[1]):
            return False
        return s.dynamic_sampling != "resample" or self.unequal(group)

    def gae(self, f: Facts) -> list[float]:
        """A_t = delta_t + gamma lambda A_{t+1}, delta = paid + gamma V_{t+1} - V_t; last: paid + r - V."""
        s, length = self.setting, f.response.length
        lam = s.gae_lambda
        if isinstance(lam, tuple):
            lam = max(0.0, 1.0 - 1.0 / max(lam[1] * length, 1.0))
        value = [0.0] * length
        if s.values is not None:
            cells = [self.world.cell(f.j, f.response.path, f.response.done(t)) for t in range(1, length + 1)]
            value = [s.values[cell][i] for i, cell in enumerate(cells)]
        value[0] = 0.0 if s.first_values is None else s.first_values[f.j]
        advantage = [0.0] * length
        advantage[length - 1] = f.paid[length - 1] + f.reward - value[length - 1]
        for i in range(length - 2, -1, -1):
            delta = f.paid[i] + s.gamma * value[i + 1] - value[i]
            advantage[i] = delta + s.gamma * lam * advantage[i + 1]
        return advantage

    def response_advantage(self, f: Facts, group: Sequence[Facts], step_totals: Sequence[float]) -> float:
        """One number, given the baseline responses of the group and the totals of all in the step."""
        s, own, totals = self.setting, f.total, [g.total for g in group]
        if s.advantage == "raw":
            return own - (s.baseline if isinstance(s.baseline, (int, float)) else s.baseline[f.j])
        if s.group_size == 1 and s.advantage not in ("raw", "standardized"):
            return own if (s.group_of_one or ("raw" if s.advantage in ("max_rl", "gpg") else "zero")) == "raw" else 0.0
        if s.advantage == "group_mean":
            return own - mean(totals)
        if s.advantage == "gpg":
            return (own - mean(totals)) * len(step_totals) / max(sum(x != 0.0 for x in step_totals), 1)
        if s.advantage == "max_rl":
            return (own - mean(totals)) / (mean(totals) + s.eps) if mean(totals) > 0.0 else 0.0
        if s.advantage == "pass_k":
            best, second = sorted(totals, reverse=True)[:2]
            return (best - second) / (deviation(totals, 1) + s.eps) if own == best else 0.0
        if s.advantage == "leave_one_out":
            return own - (sum(totals) - own) / (len(totals) - 1)
        if s.advantage == "leave_one_out_std":
            others = sorted(totals)
            others.remove(own)
            same = others[0] == others[-1]
            return (own - mean(others)) / (1.0 if same else deviation(others, 1) + s.eps)
        if s.advantage == "opo":
            return own - sum(g.response.length * g.total for g in group) / tokens(group)
        if s.group_size == 1:  # standardized from here on
            return 0.0 if s.group_of_one == "zero" else own / (1.0 + s.eps)
        spread = deviation(step_totals if s.scope == "batch" else totals, s.ddof)
        return (own - mean(totals)) / (spread + s.eps)

    def wrapped(self, advantages: list[list[list[float]]]) -> list[list[list[float]]]:
        """The wrappers in order, on [group][response in the loss][t-1]; statistics over all these tokens."""
        for wrapper in self.setting.wrappers:
            flat = [x for group in advantages for row in group for x in row]
            shift, scale, floor = -mean(flat), 1.0, -math.inf
            if wrapper == "positive_only":
                shift, floor = 0.0, 0.0
            if wrapper == "whiten" and len(flat) <= self.setting.whiten_ddof:
                scale = 0.0
            elif wrapper == "whiten":
                scale = (deviation(flat, self.setting.whiten_ddof) ** 2 + self.setting.whiten_eps) ** -0.5
            advantages = [[[max((x + shift) * scale, floor) for x in row] for row in g] for g in advantages]
        return advantages

    def weight(self, f: Facts, group: Sequence[Facts], kept: Sequence[Facts]) -> float:
        """Of each token of a response, given the responses in the loss of its group and of the step."""
        s, length = self.setting, f.response.length
        if s.aggregation == "token_sum":
            return 1.0
        if s.aggregation == "token_mean_step":
            return 1.0 / tokens(kept)
        if s.aggregation == "token_mean_group":
            return 1.0 / (s.prompts_per_step * tokens(group))
        if s.aggregation == "turns_response":
            return 1.0 / (s.prompts_per_step * s.group_size * self.turns(f))
        if s.aggregation == "turns_step":
            return 1.0 / sum(self.turns(g) for g in kept)
        constant = self.world.max_tokens if s.constant is None else s.constant
        if s.aggregation == "length_power":
            return float(length**-s.alpha) / (constant * math.fsum(g.response.length**-s.alpha for g in kept))
        count = s.prompts_per_step * s.group_size if s.counting == "all" else len(kept)
        factors = {"sequence_mean_token_mean": length, "sequence_mean_token_sum": 1.0, "constant": constant}
        return 1.0 / (count * factors[s.aggregation])

    def turns(self, f: Facts) -> int:
        """Turns of a response: one begins with the first token, and with each that finds the last one full."""
        return 1 + sum(t % self.setting.tokens_per_turn == 0 for t in range(1, f.response.length))

    def balanced_weight(self, own: list[float], group: Sequence[Facts], advantages: Sequence[list[float]]) -> float:
        """Of each token of a response whose tokens have the advantage ``own``: the token-mean of its sign, by count."""
        sign = (own[0] > 1e-9) - (own[0] < -1e-9)
        alike = [g for g, a in zip(group, advantages, strict=True) if (a[0] > 1e-9) - (a[0] < -1e-9) == sign]
        size, prompts = self.setting.group_size, self.setting.prompts_per_step
        return len(alike) / size / tokens(alike) / prompts

    def credited(self, batch: Batch) -> Iterator[tuple[Facts, float, list[float]]]:
        """The responses that move something, each with the weight of its tokens and their advantages."""
        s = self.setting
        groups = [self.members(group) for group in batch]
        kept = [f for group in groups for f in group.trained]
        if not kept:
            return

        step_totals = [f.total for group in groups for f in group.baseline]
        advantages = self.wrapped([
            self.advantages(group.baseline, group.trained, step_totals) if group.advantages is None
            else group.advantages for group in groups])
        for group, of_group in zip(groups, advantages, strict=True):
            if s.dynamic_sampling == "drop" and not group.unequal:
                continue
            for f, advantage in zip(group.trained, of_group, strict=True):
                if s.aggregation == "balanced":
                    yield f, self.balanced_weight(advantage, group.trained, of_group), advantage
                else:
                    yield f, self.weight(f, group.trained, kept), advantage

    def add(self, total: Update, probability: float, batch: Batch) -> None:
        """total += probability * the update of this batch."""
        s = self.setting
        kl, estimator = s.kl_loss
        for f, weight, advantage in self.credited(batch):
            gain, mass = gains(s, advantage, f.log_moved), probability * weight
            for i in range(f.response.length):
                slope = advantage[i] * gain[i]
                if kl:
                    held = f.log_moved[i] if s.kl_to_old else f.log_ratio[i]
                    slope -= kl * kl_slope(estimator, held, f.log_moved[i])
                for table, row, column, value in f.score[i]:
                    total[table][row][column] += mass * slope * value
                for table, row, column, value in f.entropy[i] if s.entropy else ():
                    total[table][row][column] += mass * s.entropy * value

    def add_skill(self, total: list[float], probability: float, batch: Batch) -> None:
        """total[cell] += probability * the update of the log-odds to be correct in the cell where responses ended.

        What decides the grade is spread evenly over the tokens of a response. No ratio of a token multiplies it; that
        of a whole response does.
        """
        whole = self.setting.surrogate in ("gspo", "vespo")
        for f, weight, advantage in self.credited(batch):
            cell, score = skill_score(self.world, f.j, f.response)
            gain = gains(self.setting, advantage, f.log_moved) if whole else [1.0] * f.response.length
            for a, g in zip(advantage, gain, strict=True):
                total[cell] += probability * weight * a * g * score / f.response.length


def batch_update(world: World, setting: Setting, batch: Sequence[tuple[int, Sequence[Any]]]) -> Update:
    """The update of one batch; a response is given as (path, length, truncated, correct, moved)."""
    total = zero(world)
    Step(world, setting).add(total, 1.0, [(j, [Response(*r) for r in responses]) for j, responses in batch])
    return total


def batch_skill_update(world: World, setting: Setting, batch: Sequence[tuple[int, Sequence[Any]]]) -> list[float]:
    """The update of skill by one batch, [cell]."""
    total = [0.0] * world.cells
    Step(world, setting).add_skill(total, 1.0, [(j, [Response(*r) for r in responses]) for j, responses in batch])
    return total


# ---- all batches ----


def draws(law: Sequence[tuple[float, Any]], size: int, merge: bool) -> Iterator[tuple[float, Any]]:
    """All outcomes of ``size`` independent draws; ``merge``: all orders as one, probabilities summed."""
    indices = range(len(law))
    for drawn in combinations_with_replacement(indices, size) if merge else product(indices, repeat=size):
        alike = math.prod(math.factorial(n) for n in Counter(drawn).values())
        orders = math.factorial(size) // alike if merge else 1
        yield orders * math.prod(law[i][0] for i in drawn), tuple(law[i][1] for i in drawn)


def batches(world: World, setting: Setting, merge: bool = True) -> Iterator[tuple[float, Batch]]:
    """Every batch a step may see, with its probability."""
    law: list[tuple[float, Group]] = []
    old = world.old()
    for j, prompts in enumerate(world.classes):
        for probability, responses in draws(atoms(old, j), setting.group_size, merge):
            law.append((prompts.weight * probability, (j, responses)))
    if setting.dynamic_sampling == "resample" or setting.deadline < math.inf:
        step = Step(world, setting)
        law = [(probability, group) for probability, group in law if step.taken(group)]
        some = math.fsum(probability for probability, _ in law)
        if some == 0.0:
            raise ValueError("no group is taken")
        law = [(probability / some, group) for probability, group in law]
    return draws(law, setting.prompts_per_step, merge)


def expected_update(world: World, setting: Setting, merge: bool = True) -> Update:
    """The update averaged over every batch."""
    return expected_updates(world, [setting], merge)[0]


def expected_skill_update(world: World, setting: Setting) -> list[float]:
    """The update of skill averaged over every batch, [cell]."""
    step, total = Step(world, setting), [0.0] * world.cells
    for probability, batch in batches(world, setting):
        step.add_skill(total, probability, batch)
    return total


def expected_updates(world: World, settings: Sequence[Setting], merge: bool = True) -> list[Update]:
    """``expected_update`` of each setting; those with the same law of batches share the list of them."""
    lists: dict[object, list[tuple[float, Batch]]] = {}
    updates = []
    for s in settings:
        law: tuple[object, ...] = (s.group_size, s.prompts_per_step, s.deadline, s.late)
        if s.dynamic_sampling == "resample":  # the law depends on what counts as unequal
            law += (s.reward, s.truncation)
        if law not in lists:
            lists[law] = list(batches(world, s, merge))
        step, total = Step(world, s), zero(world)
        for probability, batch in lists[law]:
            step.add(total, probability, batch)
        updates.append(total)
    return updates
