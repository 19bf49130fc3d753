"""Every preset a second time, in loops over lists, written from the papers and trainers and not from `lossim`.

Each twin takes a batch of responses and returns the loss and its gradient with respect to `log_prob`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.blind.dual import Dual, clip, exp, larger, mean, sigmoid, smaller, stopped, total

Rows = list[list[float]]
Answer = tuple[float, Rows]


@dataclass(frozen=True)
class Batch:
    """Responses i with tokens t; the reward of a response is paid at its last unmasked token."""

    log_prob: Rows
    old_log_prob: Rows
    mask: list[list[int]]
    reward: list[float]
    group: list[int]
    max_tokens: int
    reference_log_prob: Rows | None = None
    values: Rows | None = None


# The batch


def responses(batch: Batch) -> range:
    return range(len(batch.reward))


def positions(batch: Batch, i: int) -> list[int]:
    return [t for t, inside in enumerate(batch.mask[i]) if inside]


def length(batch: Batch, i: int) -> int:
    return len(positions(batch, i))


def members(batch: Batch, i: int) -> list[int]:
    return [j for j in responses(batch) if batch.group[j] == batch.group[i]]


def variable(batch: Batch, i: int, t: int) -> Dual:
    return Dual(batch.log_prob[i][t], {(i, t): 1.0})


def log_ratio(batch: Batch, i: int, t: int) -> Dual:
    return variable(batch, i, t) - batch.old_log_prob[i][t]


def ratio(batch: Batch, i: int, t: int) -> Dual:
    return exp(log_ratio(batch, i, t))


def mean_log_ratio(batch: Batch, i: int) -> Dual:
    return mean([log_ratio(batch, i, t) for t in positions(batch, i)])


def answer(loss: Dual, batch: Batch) -> Answer:
    gradient = [[loss.slope.get((i, t), 0.0) for t in range(len(batch.mask[i]))] for i in responses(batch)]
    return loss.value, gradient


# Advantages


def average(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers)


def sample_std(numbers: list[float]) -> float:
    """Standard deviation with n - 1, the default of torch.std."""
    centre = average(numbers)
    return math.sqrt(math.fsum((x - centre) ** 2 for x in numbers) / (len(numbers) - 1))


def group_rewards(batch: Batch, i: int) -> list[float]:
    return [batch.reward[j] for j in members(batch, i)]


def centred(batch: Batch) -> list[float]:
    return [batch.reward[i] - average(group_rewards(batch, i)) for i in responses(batch)]


def standardised(batch: Batch, eps: float) -> list[float]:
    spread = [sample_std(group_rewards(batch, i)) for i in responses(batch)]
    return [a / (s + eps) for a, s in zip(centred(batch), spread, strict=True)]


def spread_over_tokens(batch: Batch, advantage: list[float]) -> Rows:
    return [[a] * len(batch.mask[i]) for i, a in enumerate(advantage)]


def whitened(batch: Batch, advantage: Rows) -> Rows:
    """Mean 0 and variance 1 over the tokens of the step: n - 1, and 1e-8 added to the variance (TRL, verl)."""
    tokens = [advantage[i][t] for i in responses(batch) for t in positions(batch, i)]
    centre, variance = average(tokens), sample_std(tokens) ** 2
    return [[(a - centre) / math.sqrt(variance + 1e-8) for a in row] for row in advantage]


def token_rewards(batch: Batch, beta: float) -> Rows:
    """The reward at the last token; minus beta times k1 = log(pi_old / pi_ref) at each token, a constant."""
    rewards = [[0.0] * len(row) for row in batch.mask]
    for i in responses(batch):
        rewards[i][positions(batch, i)[-1]] += batch.reward[i]
        if beta:
            for t in positions(batch, i):
                rewards[i][t] -= beta * (batch.old_log_prob[i][t] - batch.reference_log_prob[i][t])
    return rewards


def returns_to_go(batch: Batch, rewards: Rows, gamma: float = 1.0) -> Rows:
    returns = [[0.0] * len(row) for row in batch.mask]
    for i in responses(batch):
        ahead = 0.0
        for t in reversed(positions(batch, i)):
            ahead = rewards[i][t] + gamma * ahead
            returns[i][t] = ahead
    return returns


def gae(batch: Batch, lambdas: list[float]) -> Rows:
    """Generalised advantages with gamma 1 and nothing after the last token (arXiv 1506.02438)."""
    rewards = token_rewards(batch, 0.0)
    values = batch.values or [[0.0] * len(row) for row in batch.mask]
    advantage = [[0.0] * len(row) for row in batch.mask]
    for i in responses(batch):
        next_value = next_advantage = 0.0
        for t in reversed(positions(batch, i)):
            surprise = rewards[i][t] + next_value - values[i][t]
            next_advantage = surprise + lambdas[i] * next_advantage
            next_value = values[i][t]
            advantage[i][t] = next_advantage
    return advantage


# Means over the step


def over_tokens(batch: Batch, term: Callable[[int, int], Dual]) -> Dual:
    """One mean over all tokens of the step."""
    return mean([term(i, t) for i in responses(batch) for t in positions(batch, i)])


def over_responses_of_means(batch: Batch, term: Callable[[int, int], Dual]) -> Dual:
    return mean([mean([term(i, t) for t in positions(batch, i)]) for i in responses(batch)])


def over_responses_of_sums(batch: Batch, term: Callable[[int, int], Dual]) -> Dual:
    return mean([total(term(i, t) for t in positions(batch, i)) for i in responses(batch)])


# Terms


def clipped(weight: Dual, advantage: float, low: float, high: float) -> Dual:
    """-min(r A, clip(r, 1 - low, 1 + high) A) of arXiv 1707.06347."""
    return -smaller(weight * advantage, clip(weight, 1.0 - low, 1.0 + high) * advantage)


def token_ppo(batch: Batch, advantage: Rows, low: float, high: float) -> Callable[[int, int], Dual]:
    return lambda i, t: clipped(ratio(batch, i, t), advantage[i][t], low, high)


def log_likelihood(batch: Batch, advantage: Rows) -> Callable[[int, int], Dual]:
    """-A log pi, whose gradient is the policy gradient of an on-policy step."""
    return lambda i, t: -advantage[i][t] * variable(batch, i, t)


# With a critic


def ppo(batch: Batch, gae_lambda: float = 0.95, whiten: bool = False) -> Answer:
    """arXiv 1707.06347 with 1506.02438; whitening as in TRL's and verl's masked_whiten."""
    advantage = gae(batch, [gae_lambda for _ in responses(batch)])
    if whiten:
        advantage = whitened(batch, advantage)
    return answer(over_responses_of_means(batch, token_ppo(batch, advantage, 0.2, 0.2)), batch)


def vapo(batch: Batch, alpha: float = 0.05) -> Answer:
    """arXiv 2504.05118: lambda = 1 - 1/(alpha l), not below 0 as in NeMo-RL; clip-higher; token mean."""
    lambdas = [max(0.0, 1.0 - 1.0 / (alpha * length(batch, i))) for i in responses(batch)]
    return answer(over_tokens(batch, token_ppo(batch, gae(batch, lambdas), 0.2, 0.28)), batch)


# With a group


def grpo(batch: Batch, eps: float = 1e-6, beta: float = 0.0) -> Answer:
    """arXiv 2402.03300: k3 against the reference inside the mean over the tokens of a response."""
    advantage = spread_over_tokens(batch, standardised(batch, eps))
    surrogate = token_ppo(batch, advantage, 0.2, 0.2)

    def term(i: int, t: int) -> Dual:
        if not beta:
            return surrogate(i, t)
        log_inverse = batch.reference_log_prob[i][t] - variable(batch, i, t)
        return surrogate(i, t) + beta * (exp(log_inverse) - log_inverse - 1.0)

    return answer(over_responses_of_means(batch, term), batch)


def dr_grpo(batch: Batch, constant: float | None = None) -> Answer:
    """arXiv 2503.20783: no std, and a constant number of tokens in place of the response's own."""
    advantage = spread_over_tokens(batch, centred(batch))
    loss = over_responses_of_sums(batch, token_ppo(batch, advantage, 0.2, 0.2)) / (constant or batch.max_tokens)
    return answer(loss, batch)


def dapo(batch: Batch) -> Answer:
    """arXiv 2503.14476: clip-higher and a token mean; the batch is what dynamic sampling has let through."""
    advantage = spread_over_tokens(batch, standardised(batch, 1e-6))
    return answer(over_tokens(batch, token_ppo(batch, advantage, 0.2, 0.28)), batch)


def delta_l(batch: Batch, alpha: float = 0.75) -> Answer:
    """arXiv 2509.07558: weights T^-alpha, of mean 1 over the step, on the loss of Dr. GRPO."""
    powers = [length(batch, i) ** -alpha for i in responses(batch)]
    weights = [p / average(powers) for p in powers]
    advantage = [w * a for w, a in zip(weights, standardised(batch, 1e-6), strict=True)]
    term = token_ppo(batch, spread_over_tokens(batch, advantage), 0.2, 0.2)
    return answer(over_responses_of_sums(batch, term) / batch.max_tokens, batch)


# Policy gradient without a clip


def rloo(batch: Batch, beta: float = 0.0) -> Answer:
    """arXiv 2402.14740: the reward less the summed k1, against the mean of the other responses."""
    rewards = token_rewards(batch, beta)
    scores = [math.fsum(rewards[i][t] for t in positions(batch, i)) for i in responses(batch)]
    advantage = []
    for i in responses(batch):
        others = [scores[j] for j in members(batch, i) if j != i]
        advantage.append(scores[i] - average(others))
    term = log_likelihood(batch, spread_over_tokens(batch, advantage))
    return answer(over_responses_of_sums(batch, term), batch)


def remax(batch: Batch, greedy_reward: float = 0.0) -> Answer:
    """arXiv 2310.10505: the reward of the greedy response is the baseline."""
    advantage = [r - greedy_reward for r in batch.reward]
    term = log_likelihood(batch, spread_over_tokens(batch, advantage))
    return answer(over_responses_of_sums(batch, term), batch)


def opo(batch: Batch) -> Answer:
    """arXiv 2505.23585: the baseline weighs the rewards of a group with the lengths."""
    advantage = []
    for i in responses(batch):
        weighted = math.fsum(length(batch, j) * batch.reward[j] for j in members(batch, i))
        advantage.append(batch.reward[i] - weighted / sum(length(batch, j) for j in members(batch, i)))
    return answer(over_tokens(batch, log_likelihood(batch, spread_over_tokens(batch, advantage))), batch)


# Whitened over the step


def reinforce_plus_plus(batch: Batch, beta: float = 0.0) -> Answer:
    """arXiv 2501.03262, verl's `reinforce_plus_plus`: returns to go with the KL of each token in the reward."""
    advantage = whitened(batch, returns_to_go(batch, token_rewards(batch, beta)))
    return answer(over_tokens(batch, token_ppo(batch, advantage, 0.2, 0.2)), batch)


def reinforce_plus_plus_baseline(batch: Batch) -> Answer:
    """verl's `reinforce_plus_plus_baseline`: rewards less their group mean, whitened as tokens."""
    advantage = whitened(batch, spread_over_tokens(batch, centred(batch)))
    return answer(over_tokens(batch, token_ppo(batch, advantage, 0.2, 0.2)), batch)


# Other weights than the clipped ratio


def gspo(batch: Batch) -> Answer:
    """arXiv 2507.18071: one ratio per response, the geometric mean of its tokens' ratios."""
    advantage = standardised(batch, 1e-6)
    losses = [clipped(exp(mean_log_ratio(batch, i)), advantage[i], 3e-4, 4e-4) for i in responses(batch)]
    return answer(mean(losses), batch)


def luspo(batch: Batch, low: float = 2e-3, high: float = 2.5e-3) -> Answer:
    """arXiv 2602.05261: GSPO with each response's loss times its length; clip of its section 5.1, eps of TRL."""
    advantage = standardised(batch, 1e-4)
    losses = [
        length(batch, i) * clipped(exp(mean_log_ratio(batch, i)), advantage[i], low, high) for i in responses(batch)
    ]
    return answer(mean(losses), batch)


def gmpo(batch: Batch) -> Answer:
    """arXiv 2507.20673: the geometric mean of token ratios, each held to e^±0.4 where the sign of A would push it."""
    advantage = standardised(batch, 1e-6)
    losses = []
    for i in responses(batch):
        logs = []
        for t in positions(batch, i):
            free = log_ratio(batch, i, t)
            held = clip(free, -0.4, 0.4)
            logs.append(smaller(free, held) if advantage[i] > 0.0 else larger(free, held))
        losses.append(-advantage[i] * exp(mean(logs)))
    return answer(mean(losses), batch)


def cispo(batch: Batch) -> Answer:
    """arXiv 2506.13585: the clipped ratio is a constant weight on A log pi."""
    advantage = standardised(batch, 1e-6)

    def term(i: int, t: int) -> Dual:
        weight = stopped(clip(ratio(batch, i, t), 0.0, 5.0))
        return -weight * advantage[i] * variable(batch, i, t)

    return answer(over_tokens(batch, term), batch)


def sapo(batch: Batch) -> Answer:
    """arXiv 2511.20347: a sigmoid gate of temperature 1 where A > 0 and 1.05 elsewhere."""
    advantage = standardised(batch, 1e-6)

    def term(i: int, t: int) -> Dual:
        tau = 1.0 if advantage[i] > 0.0 else 1.05
        gate = sigmoid(tau * (ratio(batch, i, t) - 1.0)) * (4.0 / tau)
        return -advantage[i] * gate

    return answer(over_responses_of_means(batch, term), batch)
