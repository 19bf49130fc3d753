"""The papers lossim cites, each a constant that prints as one line."""

from __future__ import annotations

from dataclasses import dataclass

from lossim._support import checks

__all__ = [
    "ALP", "BALANCED", "CISPO", "CONCISE_REASONING", "DAPO", "DEEPSEEKMATH", "DEEPSEEK_V32", "DELTA_L",
    "DEMYSTIFYING_LONG_COT", "DPPO", "DRO", "DR_GRPO", "DUAL_CLIP", "GAE", "GDPO", "GMPO", "GPG", "GR3", "GSPO",
    "KIMI_K15", "KL_ESTIMATORS", "L1", "LASER", "LUSPO", "MAXRL", "OPEN_REASONER_ZERO", "OPO", "PASS_AT_K", "PPO",
    "PRORL", "REASON_EFFICIENTLY", "REFERENCES", "REINFORCE_PLUS_PLUS", "REMAX", "RLOO", "SAPO", "SHORTER_BETTER",
    "SKYWORK_OR1", "TOPR", "VAPO", "VC_PPO", "VESPO", "Reference"]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One paper: an arXiv number, or a web address where there is none.

    Attributes:
        key: short name, unique, the one used in lossim's documents.
        authors: surnames as cited, ``"Schulman et al."`` for four or more.
        title: full title.
        year: year of the first version.
        arxiv: arXiv number without version, ``""`` if the text is not on arXiv.
        url: web address; left empty, it follows from ``arxiv``.

    Raises:
        ValueError: if both ``arxiv`` and ``url`` are empty.

    >>> print(PPO)
    Schulman et al. (2017), "Proximal Policy Optimization Algorithms", arXiv:1707.06347
    >>> PPO.url
    'https://arxiv.org/abs/1707.06347'
    """

    key: str
    authors: str
    title: str
    year: int
    arxiv: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        if not (self.arxiv or self.url):
            checks.fail("url", self.url, "must be given for a reference without an arXiv number")
        if not self.url:
            object.__setattr__(self, "url", f"https://arxiv.org/abs/{self.arxiv}")

    def __str__(self) -> str:
        where = f"arXiv:{self.arxiv}" if self.arxiv else self.url
        return f'{self.authors} ({self.year}), "{self.title}", {where}'


def _arxiv(number: str, key: str, authors: str, title: str) -> Reference:
    """A paper on arXiv, whose numbers begin with the year and the month."""
    return Reference(key=key, authors=authors, title=title, year=2000 + int(number[:2]), arxiv=number)


PPO = _arxiv("1707.06347", "PPO", "Schulman et al.", "Proximal Policy Optimization Algorithms")
GAE = _arxiv("1506.02438", "GAE", "Schulman et al.",
             "High-Dimensional Continuous Control Using Generalized Advantage Estimation")
DEEPSEEKMATH = _arxiv("2402.03300", "DeepSeekMath", "Shao et al.",
                      "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models")
DR_GRPO = _arxiv("2503.20783", "Dr. GRPO", "Liu et al.", "Understanding R1-Zero-Like Training: A Critical Perspective")
DAPO = _arxiv("2503.14476", "DAPO", "Yu et al.", "DAPO: An Open-Source LLM Reinforcement Learning System at Scale")
RLOO = _arxiv("2402.14740", "RLOO", "Ahmadian et al.",
              "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs")
REINFORCE_PLUS_PLUS = _arxiv(
    "2501.03262", "REINFORCE++", "Hu et al.",
    "REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global Advantage Normalization")
REMAX = _arxiv(
    "2310.10505", "ReMax", "Li et al.",
    "ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method for Aligning Large Language Models")
OPO = _arxiv("2505.23585", "OPO", "Hao et al.", "On-Policy RL with Optimal Reward Baseline")
VC_PPO = _arxiv("2503.01491", "VC-PPO", "Yuan et al.",
                "What's Behind PPO's Collapse in Long-CoT? Value Optimization Holds the Secret")
VAPO = _arxiv("2504.05118", "VAPO", "Yue et al.",
              "VAPO: Efficient and Reliable Reinforcement Learning for Advanced Reasoning Tasks")
DELTA_L = _arxiv("2509.07558", "ΔL", "He et al.", "ΔL Normalization: Rethink Loss Aggregation in RLVR")
BALANCED = _arxiv("2605.04077", "Balanced aggregation", "Zeng et al.",
                  "Balanced Aggregation: Understanding and Fixing Aggregation Bias in GRPO")
LUSPO = _arxiv(
    "2602.05261", "LUSPO", "Liu et al.",
    "Length-Unbiased Sequence Policy Optimization: Revealing and Controlling Response Length Variation in RLVR")
CONCISE_REASONING = _arxiv("2504.05185", "Concise Reasoning", "Fatemi et al.",
                           "Concise Reasoning via Reinforcement Learning")
KIMI_K15 = _arxiv("2501.12599", "Kimi k1.5", "Kimi Team", "Kimi k1.5: Scaling Reinforcement Learning with LLMs")
REASON_EFFICIENTLY = _arxiv("2502.04463", "Arora & Zanette", "Arora and Zanette",
                            "Training Language Models to Reason Efficiently")
OPEN_REASONER_ZERO = _arxiv(
    "2503.24290", "Open-Reasoner-Zero", "Hu et al.",
    "Open-Reasoner-Zero: An Open Source Approach to Scaling Up Reinforcement Learning on the Base Model")
SKYWORK_OR1 = _arxiv("2505.22312", "Skywork-OR1", "He et al.", "Skywork Open Reasoner 1 Technical Report")
DEMYSTIFYING_LONG_COT = _arxiv("2502.03373", "Demystifying long CoT", "Yeo et al.",
                               "Demystifying Long Chain-of-Thought Reasoning in LLMs")
ALP = _arxiv("2506.05256", "ALP", "Xiang et al.",
             "Just Enough Thinking: Efficient Reasoning with Adaptive Length Penalties Reinforcement Learning")
L1 = _arxiv("2503.04697", "L1", "Aggarwal and Welleck",
            "L1: Controlling How Long A Reasoning Model Thinks With Reinforcement Learning")
LASER = _arxiv("2505.15612", "LASER", "Liu et al.",
               "Learn to Reason Efficiently with Adaptive Length-based Reward Shaping")
SHORTER_BETTER = _arxiv(
    "2504.21370", "ShorterBetter", "Yi, Wang and Li",
    "ShorterBetter: Guiding Reasoning Models to Find Optimal Inference Length for Efficient Reasoning")
GR3 = _arxiv(
    "2603.10535", "GR³", "Li et al.",
    "Tackling Length Inflation Without Trade-offs: Group Relative Reward Rescaling for Reinforcement Learning")
PRORL = _arxiv("2505.24864", "ProRL", "Liu et al.",
               "ProRL: Prolonged Reinforcement Learning Expands Reasoning Boundaries in Large Language Models")
GSPO = _arxiv("2507.18071", "GSPO", "Zheng et al.", "Group Sequence Policy Optimization")
GMPO = _arxiv("2507.20673", "GMPO", "Zhao et al.", "Geometric-Mean Policy Optimization")
CISPO = _arxiv("2506.13585", "MiniMax-M1 (CISPO)", "MiniMax",
               "MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention")
SAPO = _arxiv("2511.20347", "SAPO", "Gao et al.", "Soft Adaptive Policy Optimization")
TOPR = _arxiv("2503.14286", "TOPR", "Le Roux et al.",
              "Tapered Off-Policy REINFORCE: Stable and efficient reinforcement learning for LLMs")
VESPO = _arxiv("2602.10693", "VESPO", "Shen et al.",
               "VESPO: Variational Sequence-Level Soft Policy Optimization for Stable Off-Policy LLM Training")
MAXRL = _arxiv("2602.02710", "MaxRL", "Tajwar et al.", "Maximum Likelihood Reinforcement Learning")
GPG = _arxiv("2504.02546", "GPG", "Chu et al.",
             "GPG: A Simple and Strong Reinforcement Learning Baseline for Model Reasoning")
PASS_AT_K = _arxiv("2503.19595", "pass@k", "Tang et al.",
                   "Optimizing Language Models for Inference Time Objectives using Reinforcement Learning")
GDPO = _arxiv("2601.05242", "GDPO", "Liu et al.",
              "GDPO: Group reward-Decoupled Normalization Policy Optimization for Multi-reward RL Optimization")
DPPO = _arxiv("2602.04879", "DPPO", "Qi et al.", "Rethinking the Trust Region in LLM Reinforcement Learning")
DRO = _arxiv("2405.19107", "DRO", "Richemond et al.",
             "Offline Regularised Reinforcement Learning for Large Language Models Alignment")
DEEPSEEK_V32 = _arxiv("2512.02556", "DeepSeek-V3.2", "DeepSeek-AI",
                      "DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models")
DUAL_CLIP = _arxiv("1912.09729", "dual clip", "Ye et al.",
                   "Mastering Complex Control in MOBA Games with Deep Reinforcement Learning")
KL_ESTIMATORS = Reference(key="k1, k2, k3", authors="Schulman", year=2020,
                          title="Approximating KL Divergence", url="http://joschu.net/blog/kl-approx.html")

REFERENCES = tuple(each for each in tuple(globals().values()) if isinstance(each, Reference))
"""All of them.

>>> len({r.key for r in REFERENCES}) == len({r.url for r in REFERENCES}) == len(REFERENCES) == 40
True
"""
