"""What the code cannot say about presets and trainers: data of docs/make_presets.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lossim import references as ref


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Of a preset: its sources, where trainers have all of it, and who means something else by its name.

    Left at None, ``verl`` and ``trl`` are put together from the rows of the preset's slots.
    """

    sources: tuple[ref.Reference, ...]
    elsewhere: str
    verl: str | None = None
    trl: str | None = None
    others: str = "—"
    arguments: tuple[tuple[str, Any], ...] = ()


ENTRIES = {
    "ppo": Entry(
        sources=(ref.PPO, ref.GAE), others="OpenRLHF, NeMo RL, SkyRL, ROLL `gae`; slime, oat `ppo`",
        elsewhere="verl, OpenRLHF and TRL's PPO always whiten the advantages over the tokens of the batch; here "
                  "`whiten=True` does. λ is 0.95 in TRL's PPO and ROLL, 1 in verl, OpenRLHF, SkyRL, slime and AReaL. "
                  "verl and OpenRLHF take a token-mean by default, and verl a dual clip at 3 too. TRL's PPO left the "
                  "wheel with 1.13."),
    "grpo": Entry(
        sources=(ref.DEEPSEEKMATH,),
        others="OpenRLHF `group_norm`; SkyRL, slime, ms-swift `grpo`; NeMo RL `grpo` with "
               "`use_leave_one_out_baseline=False`",
        elsewhere="The paper averages over each response's tokens. verl, TRL, OpenRLHF, SkyRL and NeMo RL do not "
                  "unless told: they take the token-mean of a step. OpenRLHF calls the advantage `group_norm`. NeMo RL "
                  "leaves the own response out of mean and std by default. prime-rl's `grpo` has no std."),
    "dr_grpo": Entry(
        sources=(ref.DR_GRPO,), others="oat `drgrpo`",
        elsewhere='Three things. TRL\'s `loss_type="dr_grpo"` is the constant normaliser alone and needs '
                  '`scale_rewards="none"` beside it. OpenRLHF\'s `dr_grpo` drops the std alone and keeps the '
                  "token-mean; it has no constant normaliser. verl needs both switches set, and its constant too; "
                  "`norm_adv_by_std_in_grpo` reaches `grpo` and `grpo_passk`, not `grpo_vectorized` or `gdpo`."),
    "dapo": Entry(
        sources=(ref.DAPO,), trl='`scale_rewards="group"`, `epsilon_high=0.28`, `loss_type="dapo"`; no resampling',
        others="OpenRLHF `group_norm` with `--algo.dynamic_filtering_enable`",
        elsewhere='TRL\'s default `loss_type="dapo"` is the token-mean alone, over the tokens of the whole generation '
                  "batch. verl composes it from group filtering, clip-higher and a reward manager whose overlong "
                  "penalty keeps falling beyond the cap. With `max_tokens` and `buffer` the preset adds that penalty, "
                  "and then needs Monte Carlo."),
    "rloo": Entry(
        sources=(ref.RLOO,), trl="`RLOOTrainer`, on-policy", others="OpenRLHF, SkyRL, ms-swift `rloo`",
        elsewhere="TRL takes groups of two and a KL of 0.05 in the reward by default, and clips the ratio of the whole "
                  "response, the product over its tokens. verl and OpenRLHF have the advantage only and aggregate by "
                  "token-mean unless told otherwise."),
    "reinforce_plus_plus": Entry(
        sources=(ref.REINFORCE_PLUS_PLUS,), others="OpenRLHF `reinforce`; SkyRL `reinforce++`; slime",
        elsewhere="OpenRLHF calls it `reinforce`, whitens by the population variance and has a KL of 0.01 in the "
                  "reward by default; verl uses Bessel's correction and no KL. NeMo RL's `reinforce_plus_plus` "
                  "subtracts the group mean, and a token's own KL alone. ms-swift's divides by the std over "
                  "responses."),
    "reinforce_plus_plus_baseline": Entry(
        sources=(ref.REINFORCE_PLUS_PLUS,), others="OpenRLHF `reinforce_baseline`; NeMo RL `reinforce_plus_plus`",
        elsewhere="`reinforce_baseline` in OpenRLHF. verl and OpenRLHF whiten over tokens, so long responses count for "
                  "more; slime does not whiten unless asked."),
    "remax": Entry(
        sources=(ref.REMAX,), arguments=(("greedy_reward", 0.0),),
        elsewhere="verl has the advantage and aggregates it by token-mean unless told otherwise. The reward of the "
                  "greedy response is an input here; the row is for 0."),
    "opo": Entry(
        sources=(ref.OPO,),
        elsewhere="verl has the baseline; the aggregation is its default, not OPO's own."),
    "gspo": Entry(
        sources=(ref.GSPO,), others="OpenRLHF, SkyRL, slime `gspo`; NeMo RL `sequence_level_importance_ratios`",
        elsewhere="One ratio per response, exp of the mean log ratio. Its aggregation differs: verl 0.9.1 honours the "
                  "configured one, token-mean by default; verl's later heads, OpenRLHF and NeMo RL force the mean over "
                  "responses of the token mean; TRL has it as `importance_sampling_level=\"sequence\"` beside any loss "
                  "type. AReaL also averages the advantage over the response. The clip range is the paper's here, 0.2 "
                  "in trainers unless set."),
    "gmpo": Entry(
        sources=(ref.GMPO,), verl="`compute_grpo_outcome_advantage`: `algorithm.adv_estimator=grpo` · "
        "`compute_policy_loss_geo_mean`: `actor.policy_loss.loss_mode=geo_mean`", trl="`trl.experimental.gmpo`",
        elsewhere="verl's `geo_mean` takes the mean over the rows of a micro-batch whatever the aggregation says. The "
                  "clip range is in log space, 0.4 in TRL's experimental trainer."),
    "cispo": Entry(
        sources=(ref.CISPO,), trl='`scale_rewards="group"` · `loss_type="cispo"`, `epsilon_high=5`',
        others="SkyRL, slime, ms-swift, open-instruct, tinker `cispo`; NeMo RL `use_cispo`",
        elsewhere="The bounds differ most here: [1 - low, 1 + high] in verl with its PPO defaults; in TRL and ms-swift "
                  "no lower bound, and the upper one is `epsilon_high` itself, which left unset is 0.2 in TRL; "
                  "1 + high alone in open-instruct, ±0.1 in ROLL; SkyRL's are those of this preset, [0, 5]; tinker's "
                  "[0, 4]. torchrl lets the gradient through the ratio."),
    "sapo": Entry(
        sources=(ref.SAPO,), trl='`scale_rewards="group"` · `loss_type="sapo"`', others="SkyRL, AReaL, ms-swift `sapo`",
        elsewhere="verl hard-codes the mean over each response's tokens for it, and so does TRL."),
    "luspo": Entry(
        sources=(ref.LUSPO,),
        elsewhere="TRL up to 1.9 multiplies the loss by the length and takes a mean, which is the same only where a "
                  "response has one loss value for all its tokens; its ratio is per token unless the level is set."),
    "vapo": Entry(
        sources=(ref.VAPO,), others="NeMo RL, in parts",
        elsewhere="NeMo RL has its parts as options (`length_adaptive_alpha`, a λ of its own for the critic, "
                  "`positive_example_nll_weight`); none of the trainers read has it under this name. Pretraining means "
                  "a better critic here."),
    "delta_l": Entry(
        sources=(ref.DELTA_L,), others="the authors' fork of verl",
        elsewhere="The authors' code multiplies the advantages by the weights and divides by responses times padded "
                  "width."),
}

NUMBERS = """\
### ε, degrees of freedom, whitening

The std is of a group's rewards unless it says otherwise, and ε is added to it. Whitening is over the tokens of the
batch, so long responses count for more; its variance is taken with ddof 1 plus 1e-8 unless it says otherwise.

| trainer | ddof of the std | ε | whitening |
|---|---|---|---|
| verl | 1 | 1e-6 | `gae`, `reinforce_plus_plus`, `reinforce_plus_plus_baseline`, `gdpo`: always; the others never |
| TRL | 1 | 1e-4 | none in GRPO; RLOO's `normalize_advantages`: over responses, ε 1e-4; PPO: always |
| OpenRLHF | 1 | 1e-9 | `gae`, `reinforce`, `reinforce_baseline`: always; ddof 0, variance ≥ 1e-8 |
| NeMo RL | 1, own response left out | 1e-6 | `gae`; `reinforce_plus_plus`: ddof 0, variance ≥ 1e-8 |
| SkyRL | 1 | 1e-6 | `gae`, `reinforce++`: always |
| slime | 1 | 1e-6 | only with `--normalize-advantages` |
| AReaL | 1 | 1e-5 | `adv_norm`, off: over the tokens of the batch or of the group |
| ms-swift | 1 | 1e-4 | `reinforce_plus_plus`: over responses, of the advantages |
| ROLL | 1 | 1e-6 | only with `whiten_advantages` |
| open-instruct | 0 | 1e-8 | none; the std itself only with `standard`, default is `centered` |
| oat | 1 | 1e-8 | only with `whiten_adv` |
| lossim | 1, `GroupStandardized(ddof=)` | 1e-6, `eps=` | only with `Whitened(ddof=, eps=, scale=)` |

### A group of one

| estimator | raw reward | 0 | refused | lossim |
|---|---|---|---|---|
| group std | verl, SkyRL | NeMo RL, ms-swift, open-instruct | TRL, OpenRLHF; NaN in slime | `"raw"`, over 1 + ε |
| group mean | verl (both estimators that use it) | prime-rl, tinker-cookbook | OpenRLHF | `"zero"` |
| leave one out | verl `rloo` | verl `rloo_vectorized`, SkyRL | TRL, OpenRLHF | `"zero"`; a scheme refuses it |
| OPO | verl | | | `"zero"`, as the formula says |
| GPG | verl (times n / paid) | | | `"raw"` |
| MaxRL | SkyRL | prime-rl | | `"raw"` |
| pass@k | | | verl | a scheme refuses it; 0 on batches |

The last column is the default of the field `group_of_one`, `"raw"` or `"zero"`, where an estimator has it.

### What a loss is divided by

- **The constant** of the constant normaliser: `max_tokens` here unless given; `max_completion_length` in TRL; oat's
  `generate_max_length`; to be set in SkyRL. verl's `actor.loss_scale_factor`, left at null, is the padded width: of the
  batch in its old trainer, of the micro-batch's longest response in the new one, so not a constant. ROLL's
  `seq-mean-token-sum-norm` divides by the width and not by the responses, open-instruct's number by nothing else.
- **Masked responses** in a mean over responses: they count in verl's trainer and in TRL (`counting="all"`); they do
  not in OpenRLHF, NeMo RL, ROLL's `seq-mean-token-sum`, nor in verl's `agg_loss` called alone (`counting="kept"`).
- **Micro-batches.** TRL's `bnpo` and verl's `geo_mean` take means by micro-batch, SkyRL's `token_mean_legacy` too. A
  `tokens.Batch` is a whole step; for these give it one micro-batch.
- **Rejected tokens** of rollout corrections stay in the denominators of AReaL and SkyRL, and here; verl's `rollout_rs`
  takes them out of the mask.

### KL

- **Place**: in the loss in TRL's GRPO, SkyRL (on by default), NeMo RL, ms-swift and open-instruct; in the reward in
  OpenRLHF, TRL's RLOO, AReaL and ROLL; off in verl and slime unless asked for. TRL's RLOO leaves masked tokens out of
  the KL it pays, so a masked truncated response pays none; here it pays as any other.
- **Aggregation**: that of the policy loss in verl and TRL, and here. OpenRLHF takes a token-mean whatever the loss
  has, SkyRL a mean over responses.
- **Gradient**: of the estimator itself in verl and OpenRLHF; of the estimator times a differentiable ratio in NeMo RL
  and, from 1.10, in TRL, where with `importance_sampling_level="sequence"` it is the ratio of the response (here always
  the token's). verl's `+` takes the gradient of k2, OpenRLHF's `unbiased_gradient` that gradient times π/π_old.
- **Clamps**: verl holds log ratios within ±20 and k3 within ±10, OpenRLHF and AReaL KL within ±10. Here none. k3
  passes 10 where π < 0.08 π_ref, which happens: verl's gradient is 0 from there on.
- **With vLLM**: TRL's `off_policy_mask_threshold` then takes the ratio to the sampling engine, and VESPO's w has it as
  a factor; here both take the ratio to `old_log_prob`, which may be the engine's.

- **Behind the baseline**: OpenRLHF pays its KL (0.01 unless told otherwise) after the group's baseline was taken off,
  so its `group_norm`, `rloo`, `dr_grpo` and `reinforce_baseline` are read without it, which is a doubt in the verdict.

### Clips

verl's `actor.clip_ratio` does nothing as long as `clip_ratio_low` and `clip_ratio_high` have values, and both are 0.2
unless told otherwise. TRL's CISPO clamps at `epsilon_high` itself and not at 1 + `epsilon_high`. `read_config` knows
these.

### The value behind the last token

0 here, in verl and in OpenRLHF, whether the response stopped or was cut; `bootstrap_truncated=True` takes the critic's
value there for cut ones, as torchrl does for what is not terminated and rlax for a discount that is not 0. TRL's PPO
takes the critic's value one position behind the end of every response. AReaL bootstraps rows that fill the padded
width, so the longest response of a batch whether it was cut or not. verl, NeMo RL and AReaL carry the recursion over
gaps in the mask, as here; OpenRLHF, SkyRL, ROLL and TRL's PPO do not.
"""

LEFT_OUT = """\
## Left out

`ls.tokens.loss` takes any advantages (`advantages=`) and any detached weights (`weight=`), so what is only missing as
an estimator or a mask can be computed outside and given to it. The expectation knows the tables above and no more.

- **Needs the vocabulary or entropies**: `optimal_token_baseline` and `tir_optimal_token_baseline` of verl (Σπ²), KL
  `full`, `top_entropy_quantile` of TRL, DPPO's top-k divergences, an entropy bonus at the token level. In the
  expectation, entropy is that of the decision to stop.
- **Selects by the whole batch or at random**: `clip_cov` (random), `kl_cov` (largest covariances), m2po (AReaL's
  `m2_threshold`), pf-ppo (`use_pf_ppo` draws the batch again), GFPO (keeps the k best by a score of the user).
- **Another kind of loss**: A2PO (a regression on the optimal value), `real` of ms-swift (log-sum-exp of a group),
  VAPO's likelihood term on correct responses, losses of critics.
- **Needs another model or another turn**: `opd`, `rlsd`, `sdar`, on-policy distillation; ROLL's `gigpo`,
  `step_reinforce` and `agentic_reinforce`, prime-rl's `hierarchical_grpo`, verl's sessions of several trajectories.
- **Remembers earlier steps**: adaptive KL controllers (verl `kl_ctrl`, OpenRLHF `--algo.kl.target`), TRL's adaptive
  entropy and `sync_ref_model`, `rae` of prime-rl (a moving average), ROLL's `running` normalisation. One step is
  modelled: give it the coefficient or the baseline of that step.
- **Estimators**: a std over responses of the advantages (`normalize_advantages` of TRL's RLOO, ms-swift's
  `reinforce_plus_plus`, SkyRL's `advantage_batch_normalize`), `flash_reinforce` of OpenRLHF (mean over the batch; on a
  `tokens.Batch` make it one group), `whiten_rewards`, clips of advantages
  (`advantage_clip`, OpenRLHF's `--reward.clip_range`, which acts behind the baseline), KL charged to its own token
  alone (slime's and NeMo RL's REINFORCE++) or centred over the batch (tinker-cookbook), torchrl's max(std, ε).
- **Ratios**: PPO's clip on the product of a response's ratios (TRL's RLOO off-policy), `fipo` (products of later
  ratios), `ipo` (a mask by |p - p_old| on both sides), torchrl's CISPO with its gradient through the ratio, weights by
  segment and TOPR's sign by score instead of advantage in ROLL, clamps of log ratios.
- **Rollout mismatch**: rejection by k2, k3, means or maxima over tokens (verl's `rollout_rs`), gating by `binary_kl` or
  `tv` (OpenRLHF), outlier masks (SkyRL), `batch_normalize`. Decoupled PPO (AReaL's `use_decoupled_loss`) is
  `importance_weights` with the proximal policy as `old_log_prob`; `bypass_mode` is the sampler's as `old_log_prob`.
- **Aggregation**: ROLL's token-mean without a mask, `length_loss_weight`, `difficulty_loss_weight`; KL or entropy
  aggregated otherwise than the loss; a reducer of one's own (slime `--custom-pg-loss-reducer-function-path`).

Formulas of rewards by length are in `lossim.rewards`; those that compare a group are sampled, never summed.
"""
