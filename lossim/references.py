"""The papers lossim cites, each a constant that prints as one line."""

from __future__ import annotations

from dataclasses import dataclass

from lossim._support import checks

__all__ = [
    "CISPO", "CONCISE_REASONING", "DAPO", "DEEPSEEKMATH", "DEEPSEEK_V32", "DELTA_L", "DEMYSTIFYING_LONG_COT", "DPPO",
    "DRO", "DR_GRPO", "DUAL_CLIP", "GAE", "GDPO", "GMPO", "GPG", "GSPO", "KIMI_K15", "KL_ESTIMATORS", "LUSPO", "MAXRL",
    "OPEN_REASONER_ZERO", "OPO", "PASS_AT_K", "PPO", "PRORL", "REASON_EFFICIENTLY", "REFERENCES",
    "REINFORCE_PLUS_PLUS", "REMAX", "RLOO", "SAPO", "SKYWORK_OR1", "TOPR", "VAPO", "VC_PPO", "VESPO", "Reference"]


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


PPO = Reference(key="PPO", authors="Schulman et al.", year=2017, arxiv="1707.06347",
                title="Proximal Policy Optimization Algorithms")
GAE = Reference(key="GAE", authors="Schulman et al.", year=2015, arxiv="1506.02438",
                title="High-Dimensional Continuous Control Using Generalized Advantage Estimation")
DEEPSEEKMATH = Reference(
    key="DeepSeekMath", authors="Shao et al.", year=2024, arxiv="2402.03300",
    title="DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models")
DR_GRPO = Reference(key="Dr. GRPO", authors="Liu et al.", year=2025, arxiv="2503.20783",
                    title="Understanding R1-Zero-Like Training: A Critical Perspective")
DAPO = Reference(key="DAPO", authors="Yu et al.", year=2025, arxiv="2503.14476",
                 title="DAPO: An Open-Source LLM Reinforcement Learning System at Scale")
RLOO = Reference(
    key="RLOO", authors="Ahmadian et al.", year=2024, arxiv="2402.14740",
    title="Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs")
REINFORCE_PLUS_PLUS = Reference(
    key="REINFORCE++", authors="Hu et al.", year=2025, arxiv="2501.03262",
    title="REINFORCE++: Stabilizing Critic-Free Policy Optimization with Global Advantage Normalization")
REMAX = Reference(
    key="ReMax", authors="Li et al.", year=2023, arxiv="2310.10505",
    title="ReMax: A Simple, Effective, and Efficient Reinforcement Learning Method for Aligning "
          "Large Language Models")
OPO = Reference(key="OPO", authors="Hao et al.", year=2025, arxiv="2505.23585",
                title="On-Policy RL with Optimal Reward Baseline")
VC_PPO = Reference(key="VC-PPO", authors="Yuan et al.", year=2025, arxiv="2503.01491",
                   title="What's Behind PPO's Collapse in Long-CoT? Value Optimization Holds the Secret")
VAPO = Reference(key="VAPO", authors="Yue et al.", year=2025, arxiv="2504.05118",
                 title="VAPO: Efficient and Reliable Reinforcement Learning for Advanced Reasoning Tasks")
DELTA_L = Reference(key="ΔL", authors="He et al.", year=2025, arxiv="2509.07558",
                    title="ΔL Normalization: Rethink Loss Aggregation in RLVR")
LUSPO = Reference(
    key="LUSPO", authors="Liu et al.", year=2026, arxiv="2602.05261",
    title="Length-Unbiased Sequence Policy Optimization: Revealing and Controlling Response Length "
          "Variation in RLVR")
CONCISE_REASONING = Reference(key="Concise Reasoning", authors="Fatemi et al.", year=2025, arxiv="2504.05185",
                              title="Concise Reasoning via Reinforcement Learning")
KIMI_K15 = Reference(key="Kimi k1.5", authors="Kimi Team", year=2025, arxiv="2501.12599",
                     title="Kimi k1.5: Scaling Reinforcement Learning with LLMs")
REASON_EFFICIENTLY = Reference(
    key="Arora & Zanette", authors="Arora and Zanette", year=2025, arxiv="2502.04463",
    title="Training Language Models to Reason Efficiently")
OPEN_REASONER_ZERO = Reference(
    key="Open-Reasoner-Zero", authors="Hu et al.", year=2025, arxiv="2503.24290",
    title="Open-Reasoner-Zero: An Open Source Approach to Scaling Up Reinforcement Learning on the "
          "Base Model")
SKYWORK_OR1 = Reference(key="Skywork-OR1", authors="He et al.", year=2025, arxiv="2505.22312",
                        title="Skywork Open Reasoner 1 Technical Report")
DEMYSTIFYING_LONG_COT = Reference(
    key="Demystifying long CoT", authors="Yeo et al.", year=2025, arxiv="2502.03373",
    title="Demystifying Long Chain-of-Thought Reasoning in LLMs")
PRORL = Reference(
    key="ProRL", authors="Liu et al.", year=2025, arxiv="2505.24864",
    title="ProRL: Prolonged Reinforcement Learning Expands Reasoning Boundaries in Large Language Models")
GSPO = Reference(key="GSPO", authors="Zheng et al.", year=2025, arxiv="2507.18071",
                 title="Group Sequence Policy Optimization")
GMPO = Reference(key="GMPO", authors="Zhao et al.", year=2025, arxiv="2507.20673",
                 title="Geometric-Mean Policy Optimization")
CISPO = Reference(key="MiniMax-M1 (CISPO)", authors="MiniMax", year=2025, arxiv="2506.13585",
                  title="MiniMax-M1: Scaling Test-Time Compute Efficiently with Lightning Attention")
SAPO = Reference(key="SAPO", authors="Gao et al.", year=2025, arxiv="2511.20347",
                 title="Soft Adaptive Policy Optimization")
TOPR = Reference(key="TOPR", authors="Le Roux et al.", year=2025, arxiv="2503.14286",
                 title="Tapered Off-Policy REINFORCE: Stable and efficient reinforcement learning for LLMs")
VESPO = Reference(
    key="VESPO", authors="Shen et al.", year=2026, arxiv="2602.10693",
    title="VESPO: Variational Sequence-Level Soft Policy Optimization for Stable Off-Policy LLM Training")
MAXRL = Reference(key="MaxRL", authors="Tajwar et al.", year=2026, arxiv="2602.02710",
                  title="Maximum Likelihood Reinforcement Learning")
GPG = Reference(key="GPG", authors="Chu et al.", year=2025, arxiv="2504.02546",
                title="GPG: A Simple and Strong Reinforcement Learning Baseline for Model Reasoning")
PASS_AT_K = Reference(key="pass@k", authors="Tang et al.", year=2025, arxiv="2503.19595",
                      title="Optimizing Language Models for Inference Time Objectives using Reinforcement Learning")
GDPO = Reference(
    key="GDPO", authors="Liu et al.", year=2026, arxiv="2601.05242",
    title="GDPO: Group reward-Decoupled Normalization Policy Optimization for Multi-reward RL Optimization")
DPPO = Reference(key="DPPO", authors="Qi et al.", year=2026, arxiv="2602.04879",
                 title="Rethinking the Trust Region in LLM Reinforcement Learning")
DRO = Reference(key="DRO", authors="Richemond et al.", year=2024, arxiv="2405.19107",
                title="Offline Regularised Reinforcement Learning for Large Language Models Alignment")
DEEPSEEK_V32 = Reference(key="DeepSeek-V3.2", authors="DeepSeek-AI", year=2025, arxiv="2512.02556",
                         title="DeepSeek-V3.2: Pushing the Frontier of Open Large Language Models")
DUAL_CLIP = Reference(key="dual clip", authors="Ye et al.", year=2019, arxiv="1912.09729",
                      title="Mastering Complex Control in MOBA Games with Deep Reinforcement Learning")
KL_ESTIMATORS = Reference(key="k1, k2, k3", authors="Schulman", year=2020,
                          title="Approximating KL Divergence", url="http://joschu.net/blog/kl-approx.html")

REFERENCES = (
    PPO, GAE, DEEPSEEKMATH, DR_GRPO, DAPO, RLOO, REINFORCE_PLUS_PLUS, REMAX, OPO, VC_PPO, VAPO, DELTA_L,
    LUSPO, CONCISE_REASONING, KIMI_K15, REASON_EFFICIENTLY, OPEN_REASONER_ZERO, SKYWORK_OR1,
    DEMYSTIFYING_LONG_COT, PRORL, GSPO, GMPO, CISPO, SAPO, TOPR, VESPO, MAXRL, GPG, PASS_AT_K, GDPO, DPPO, DRO,
    DEEPSEEK_V32, DUAL_CLIP, KL_ESTIMATORS)
"""All of them.

>>> len({r.key for r in REFERENCES}) == len({r.url for r in REFERENCES}) == len(REFERENCES) == 35
True
"""
