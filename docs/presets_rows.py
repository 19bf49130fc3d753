"""What fills the slots of a scheme, and where trainers have it: data of docs/make_presets.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lossim import references as ref
from lossim.advantages import (
    GAE,
    GPG,
    OPO,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LeaveOneOutStandardized,
    LengthAdaptive,
    MaxRL,
    PassK,
    PositiveOnly,
    Raw,
    ReturnToGo,
    Whitened,
)
from lossim.aggregation import (
    BalancedTokenMean,
    ConstantNormalizer,
    LengthPower,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
    TokenSum,
    TurnMean,
)
from lossim.penalties import KL, Entropy
from lossim.rewards import (
    ALP,
    GR3,
    Cosine,
    KimiLength,
    Laser,
    LaserD,
    LCPOExact,
    LCPOMax,
    LengthZScore,
    LinearPenalty,
    MissingEOS,
    PassRateLength,
    Reward,
    ShorterBetter,
    SoftOverlong,
    StopProperly,
)
from lossim.selection import Deadline
from lossim.surrogates import (
    CISPO,
    GMPO,
    GSPO,
    SAPO,
    TOPR,
    VESPO,
    ImportanceWeight,
    OffPolicyMask,
    PolicyGradient,
    PPOClip,
)

NONE = "—"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What fills one or more slots, or a function of ``lossim.tokens`` with its options, and where trainers have it.

    ``words``: what a test has to say beside the names in ``of`` for the comparison to count.
    """

    of: dict[str, Any]
    function: str = ""
    verl: str = NONE
    trl: str = NONE
    others: str = NONE
    sources: tuple[ref.Reference, ...] = ()
    words: tuple[str, ...] = ()


def kl(estimator: str = "k1", **options: Any) -> dict[str, Any]:
    """A KL of 0.1 as the only penalty."""
    return {"penalties": (KL(coefficient=0.1, estimator=estimator, **options),)}  # type: ignore[arg-type]


ADVANTAGES = (
    Row(of={"advantage": Raw()}, sources=(ref.REMAX,), words=('"remax"',),
        verl="`compute_remax_outcome_advantage`: `algorithm.adv_estimator=remax`", others="NeMo RL `raw_reward`"),
    Row(of={"advantage": GroupMean()}, sources=(ref.DR_GRPO,),
        verl="`compute_grpo_outcome_advantage`: `algorithm.adv_estimator=grpo`, "
             "`algorithm.norm_adv_by_std_in_grpo=False`", trl='`scale_rewards="none"`',
        others="OpenRLHF `dr_grpo`, prime-rl `grpo`, oat `drgrpo`, open-instruct `centered`, tinker-cookbook"),
    Row(of={"advantage": GroupStandardized()}, sources=(ref.DEEPSEEKMATH,),
        verl="`compute_grpo_outcome_advantage`: `algorithm.adv_estimator=grpo`", trl='`scale_rewards="group"`',
        others="verl's `grpo_vectorized`, in float32; OpenRLHF `group_norm`; SkyRL, slime, ms-swift, oat `grpo`; "
               "open-instruct `standard` (`ddof=0`)"),
    Row(of={"advantage": GroupStandardized(scope="batch")}, trl='`scale_rewards="batch"`',
        others="ms-swift `scale_rewards=batch`; AReaL `reward_norm` with `std_level=batch`"),
    Row(of={"advantage": LeaveOneOut()}, sources=(ref.RLOO,),
        verl="`compute_rloo_outcome_advantage`: `algorithm.adv_estimator=rloo`",
        trl="`RLOOTrainer._generate_and_score_completions`",
        others="verl's `rloo_vectorized`; OpenRLHF, SkyRL, ms-swift `rloo`"),
    Row(of={"advantage": LeaveOneOutStandardized()},
        others="NeMo RL `normalize_rewards` with `use_leave_one_out_baseline`, its default"),
    Row(of={"advantage": OPO()}, sources=(ref.OPO,),
        verl="`compute_opo_outcome_advantage`: `algorithm.adv_estimator=opo`"),
    Row(of={"advantage": GPG()}, sources=(ref.GPG,),
        verl="`compute_gpg_outcome_advantage`: `algorithm.adv_estimator=gpg`"),
    Row(of={"advantage": PassK()}, sources=(ref.PASS_AT_K,),
        verl="`compute_grpo_passk_outcome_advantage`: `algorithm.adv_estimator=grpo_passk`"),
    Row(of={"advantage": MaxRL()}, sources=(ref.MAXRL,), others="SkyRL `maxrl`; prime-rl `max_rl` (`eps=0`)"),
    Row(of={"advantage": PositiveOnly(inner=GroupMean())}),
    Row(of={"advantage": GAE()}, sources=(ref.GAE,), verl="`compute_gae_advantage_return` before it whitens",
        others="NeMo RL, SkyRL, ROLL `gae`; slime, oat `ppo`; AReaL, torchrl; TRL's PPO up to 1.12; rlax "
               "`truncated_generalized_advantage_estimation`"),
    Row(of={"advantage": GAE(gae_lambda=LengthAdaptive())}, sources=(ref.VAPO,),
        others="NeMo RL `length_adaptive_alpha=0.05`"),
    Row(of={"advantage": ReturnToGo()}, sources=(ref.REINFORCE_PLUS_PLUS,), words=('"reinforce_plus_plus"',),
        verl="`compute_reinforce_plus_plus_outcome_advantage` before it whitens",
        others="slime `reinforce_plus_plus`; ROLL `reinforce`"),
    Row(of={"advantage": Whitened(inner=GAE())}, sources=(ref.GAE,),
        verl="`compute_gae_advantage_return`: `algorithm.adv_estimator=gae`",
        others="OpenRLHF `gae` (`ddof=0`); NeMo RL, SkyRL `gae`; TRL's PPO up to 1.12"),
    Row(of={"advantage": Whitened(inner=ReturnToGo())}, sources=(ref.REINFORCE_PLUS_PLUS,),
        words=('"reinforce_plus_plus"',),
        verl="`compute_reinforce_plus_plus_outcome_advantage`: `algorithm.adv_estimator=reinforce_plus_plus`",
        others="OpenRLHF `reinforce` (`ddof=0`); SkyRL `reinforce++`"),
    Row(of={"advantage": Whitened(inner=Raw())}, sources=(ref.REINFORCE_PLUS_PLUS,), words=('"reinforce_plus_plus"',),
        verl="`compute_reinforce_plus_plus_outcome_advantage`: `algorithm.adv_estimator=reinforce_plus_plus`, "
             "γ = 1 and no KL in the reward", others="NeMo RL `raw_reward`, normalised (`ddof=0`)"),
    Row(of={"advantage": Whitened(inner=GroupMean())}, sources=(ref.REINFORCE_PLUS_PLUS,),
        words=('"reinforce_plus_plus_baseline"',),
        verl="`compute_reinforce_plus_plus_baseline_outcome_advantage`: "
             "`algorithm.adv_estimator=reinforce_plus_plus_baseline`",
        others="OpenRLHF `reinforce_baseline`, NeMo RL `reinforce_plus_plus` (both `ddof=0`)"),
)

SURROGATES = (
    Row(of={"surrogate": PolicyGradient()}, verl="`compute_policy_loss_gpg`: `actor.policy_loss.loss_mode=gpg`",
        others="ROLL `vanilla`; verl's `rollout_correction.loss_type=reinforce` in `bypass_mode`"),
    Row(of={"surrogate": ImportanceWeight()}, words=('"importance_sampling"',),
        others="SkyRL, tinker `importance_sampling`"),
    Row(of={"surrogate": PPOClip()}, sources=(ref.PPO,),
        verl="`compute_policy_loss_vanilla`: `actor.policy_loss.loss_mode=vanilla`, `actor.clip_ratio=0.2`",
        trl='`importance_sampling_level="token"`, `epsilon=0.2`',
        others="OpenRLHF `--actor.eps_clip`, NeMo RL `ratio_clip_min`, rlax `clipped_surrogate_pg_loss`, all others"),
    Row(of={"surrogate": PPOClip(high=0.28)}, sources=(ref.DAPO,), verl="`vanilla` with `actor.clip_ratio_high=0.28`",
        trl="`epsilon_high=0.28`",
        others="OpenRLHF `--actor.eps_clip_low_high`, NeMo RL `ratio_clip_max`; open-instruct's default is 0.272"),
    Row(of={"surrogate": PPOClip(dual=3.0)}, sources=(ref.DUAL_CLIP,),
        verl="`vanilla` with `actor.clip_ratio_c=3.0`, which is the default",
        others="OpenRLHF `--actor.dual_clip`, NeMo RL `ratio_clip_c`, SkyRL `dual_clip`, slime `--eps-clip-c`, AReaL "
               "`c_clip`, ROLL `dual_clip_loss` (c = 1 + 2·`pg_clip`); off unless asked for"),
    Row(of={"surrogate": PPOClip(delta=1.5)}, trl="`delta=1.5`"),
    Row(of={"surrogate": CISPO()}, sources=(ref.CISPO,),
        verl="`compute_policy_loss_cispo`: `actor.policy_loss.loss_mode=cispo`, `actor.clip_ratio_low=1`, "
             "`actor.clip_ratio_high=4`", trl='`loss_type="cispo"`, `epsilon_high=5`',
        others="SkyRL, slime, ms-swift, open-instruct, tinker `cispo`; NeMo RL `use_cispo`; ROLL"),
    Row(of={"surrogate": CISPO(low=1.0, high=0.0)}, others="ROLL `pg_variant: tis`"),
    Row(of={"surrogate": TOPR()}, sources=(ref.TOPR,), others="ROLL `pg_variant: topr`"),
    Row(of={"surrogate": PolicyGradient(), **kl("k2", to="old")}, sources=(ref.DRO, ref.KIMI_K15),
        verl="DRO, `compute_policy_loss_dro`: `actor.policy_loss.loss_mode=dro`, `dro_beta`",
        others="Kimi k1.5: ROLL `pg_variant: kimi15` (τ = 0.1); prime-rl's `kl_tau` is half such a coefficient"),
    Row(of={"surrogate": SAPO()}, sources=(ref.SAPO,),
        verl="`compute_policy_loss_sapo`: `actor.policy_loss.loss_mode=sapo`, `tau_pos`, `tau_neg`",
        trl='`loss_type="sapo"`, `sapo_temperature_pos`, `sapo_temperature_neg`',
        others="SkyRL, AReaL, ms-swift `sapo`"),
    Row(of={"surrogate": GSPO()}, sources=(ref.GSPO,),
        verl="`compute_policy_loss_gspo`: `actor.policy_loss.loss_mode=gspo`",
        trl='`importance_sampling_level="sequence"`',
        others="OpenRLHF `--actor.policy_loss_type gspo`, NeMo RL `sequence_level_importance_ratios`, SkyRL, slime "
               "`gspo`, ms-swift `sequence` and `sequence_token`, ROLL `importance_sampling: seq`, AReaL"),
    Row(of={"surrogate": GMPO()}, sources=(ref.GMPO,),
        verl="`compute_policy_loss_geo_mean`: `actor.policy_loss.loss_mode=geo_mean`", trl="`trl.experimental.gmpo`"),
    Row(of={"surrogate": VESPO()}, sources=(ref.VESPO,),
        trl='`get_gamma_weights`: `loss_type="vespo"`, `vespo_k_pos`, `vespo_lambda_pos`, `vespo_k_neg`, '
            "`vespo_lambda_neg`"),
    Row(of={"surrogate": OffPolicyMask(inner=PPOClip(), threshold=0.1)}, sources=(ref.DEEPSEEK_V32,),
        trl="`get_off_policy_mask`: `off_policy_mask_threshold`",
        others="slime `--use-opsm`, ms-swift `off_policy_sequence_mask_delta`"),
)

PENALTIES = (
    Row(of=kl("k1"), sources=(ref.KL_ESTIMATORS,), words=('"k1"',), verl="`actor.kl_loss_type=k1` or `kl`",
        others="OpenRLHF `--algo.kl.use_loss`, `--algo.kl.estimator k1`; SkyRL, slime"),
    Row(of=kl("k2"), sources=(ref.KL_ESTIMATORS,), verl="`actor.kl_loss_type=k2` or `mse`",
        others="OpenRLHF, SkyRL, slime `k2`; ROLL `mse`; open-instruct estimator 1"),
    Row(of=kl("k3"), sources=(ref.KL_ESTIMATORS,), verl="`actor.kl_loss_type=k3` or `low_var_kl`",
        trl="`beta`, `use_bias_correction_kl=False`",
        others="OpenRLHF, SkyRL, slime, ms-swift, ROLL `k3`; open-instruct estimator 2; oat"),
    Row(of=kl("abs"), verl="`actor.kl_loss_type=abs`", others="SkyRL, ROLL `abs`"),
    Row(of=kl("k3", gradient="straight_through"), verl="`actor.kl_loss_type=k3+`, also `k1+`, `abs+`",
        others="OpenRLHF `--algo.kl.unbiased_gradient`, where π and π_old agree"),
    Row(of=kl("k3", gradient="bias_corrected"), sources=(ref.DEEPSEEK_V32,),
        trl="`beta`, `use_bias_correction_kl=True`",
        others="NeMo RL, of any estimator; slime `use_unbiased_kl`; open-instruct estimator 3, of k1"),
    Row(of=kl("k1", place="reward"), verl="`apply_kl_penalty`: `algorithm.use_kl_in_reward=True`, "
        "`algorithm.kl_penalty=kl`", trl="`RLOOTrainer`: `beta=0.05`",
        others="OpenRLHF by default (0.01), AReaL `kl_ctl`, ROLL `init_kl_coef`, ms-swift `kl_in_reward`"),
    Row(of={"penalties": (Entropy(coefficient=0.01),)}, verl="`actor.entropy_coeff`", trl="`entropy_coef`",
        others="OpenRLHF `--actor.entropy_coef`, SkyRL `use_entropy_loss`, torchrl `entropy_coeff`"),
)

AGGREGATIONS = (
    Row(of={"aggregation": SequenceMeanTokenMean()}, sources=(ref.DEEPSEEKMATH,),
        verl="`agg_loss`: `actor.loss_agg_mode=seq-mean-token-mean`", trl='`loss_type="grpo"`',
        others="SkyRL `sequence_mean`; slime, ROLL by default; oat `grpo`; torchrl `prompt_mean`"),
    Row(of={"aggregation": SequenceMeanTokenMean(counting="kept")}, verl="`agg_loss` without `global_batch_size`",
        others="OpenRLHF `--actor.loss_agg_mode seq-mean-token-mean`, NeMo RL `token_level_loss=False`"),
    Row(of={"aggregation": SequenceMeanTokenSum()}, sources=(ref.LUSPO,),
        verl="`agg_loss`: `actor.loss_agg_mode=seq-mean-token-sum`", trl='`loss_type="luspo"`'),
    Row(of={"aggregation": SequenceMeanTokenSum(counting="kept")}, verl="`agg_loss` without `global_batch_size`",
        others="ROLL `seq-mean-token-sum`"),
    Row(of={"aggregation": ConstantNormalizer()}, sources=(ref.DR_GRPO,),
        verl="`agg_loss`: `actor.loss_agg_mode=seq-mean-token-sum-norm`, `actor.loss_scale_factor`",
        trl='`loss_type="dr_grpo"`, `max_completion_length`', others="SkyRL `seq_mean_token_sum_norm`; oat `drgrpo`"),
    Row(of={"aggregation": ConstantNormalizer(counting="kept")}, verl="`agg_loss` without `global_batch_size`"),
    Row(of={"aggregation": TokenSum()}, verl="`agg_loss`: `actor.loss_agg_mode=token-sum`",
        others="tinker; over a constant: ROLL `seq-mean-token-sum-norm`, open-instruct `loss_denominator` as a number"),
    Row(of={"aggregation": TokenMean()}, sources=(ref.DAPO,), verl="`agg_loss`: `actor.loss_agg_mode=token-mean`",
        trl='`loss_type="dapo"`; `"bnpo"` by micro-batch',
        others="OpenRLHF, AReaL, prime-rl by default; NeMo RL `token_level_loss=True`, SkyRL `token_mean`, slime "
               "`--calculate-per-token-loss`, open-instruct `loss_denominator=token`, torchrl `token_mean`, rlax"),
    Row(of={"aggregation": TokenMean(scope="group")}, others="SkyRL `prompt_mean`, slime by rollout group"),
    Row(of={"aggregation": BalancedTokenMean()}, sources=(ref.BALANCED,)),
    Row(of={"aggregation": TurnMean(tokens_per_turn=4)}),
    Row(of={"aggregation": TurnMean(tokens_per_turn=4, scope="step")},
        others="`seq-mean-token-sum` where each turn is a row: verl-agent, rLLM"),
    Row(of={"aggregation": LengthPower()}, sources=(ref.DELTA_L,),
        others="the authors' fork of verl: `algorithm.grpopp_config.alpha`, `use_grpopp`"),
)

TREATMENTS = (
    Row(of={"truncation": "mask"}, trl="`mask_truncated_completions=True`",
        others="NeMo RL `overlong_filtering`, SkyRL `apply_overlong_filtering`, ms-swift `overlong_filter`, ROLL "
               "`max_len_mask`, oat `ignore_no_eos`"),
    Row(of={"truncation": "remove"}),
    Row(of={"selection": Deadline(tokens=12)},
        others="prime-rl `max_off_policy_steps`; slime `--over-sampling-batch-size`, in a large batch"),
    Row(of={"selection": Deadline(tokens=12, drops="response")}),
    Row(of={"dynamic_sampling": "drop"}, others="SkyRL `zero_variance_filter`, prime-rl `filter_zero_advantages`"),
    Row(of={"dynamic_sampling": "resample"}, sources=(ref.DAPO,),
        verl="`algorithm.filter_groups.enable=True`", others="OpenRLHF `--algo.dynamic_filtering_enable`"),
)

FUNCTIONS = (
    Row(function="importance_weights", of={"level": "token"},
        verl="TIS, `compute_rollout_correction_weights`: `algorithm.rollout_correction.rollout_is=token`, "
             "`rollout_is_threshold=2.0`", trl='`vllm_importance_sampling_mode="token_truncate"`',
        others="OpenRLHF `is_correction_level token`, `is_correction_mode clip`; NeMo RL `tis`; SkyRL "
               "`tis_ratio_type=token`; slime `--use-tis`; open-instruct, oat, by default"),
    Row(function="importance_weights", of={"level": "token", "outside": "zero"},
        verl='IcePop: a threshold `"low_high"`', trl='`vllm_importance_sampling_mode="token_mask"`',
        others="OpenRLHF mode `mask`; NeMo RL `icepop`, slime `icepop_function`; with `PolicyGradient` and no "
               "`old_log_prob`, SkyRL's `rollout_is` (GLM-5)"),
    Row(function="importance_weights", of={"level": "sequence"}, verl="`rollout_is=sequence`",
        trl='`vllm_importance_sampling_mode="sequence_truncate"`', others="SkyRL `tis_ratio_type=sequence`"),
    Row(function="importance_weights", of={"level": "sequence", "outside": "zero"},
        verl='`rollout_is=sequence` with a threshold `"low_high"`',
        trl='`vllm_importance_sampling_mode="sequence_mask"`, the default, with `vllm_importance_sampling_clip_max=3`',
        others="NeMo RL `seq-mask-tis`; SkyRL `sequence_mask` by product"),
    Row(function="importance_weights", of={"level": "geometric", "outside": "zero"},
        others="OpenRLHF `is_correction_level seq`; SkyRL `sequence_mask` by geometric mean; ROLL `geometric`"),
    Row(function="dppo_mask", of={"divergence": "tv"}, sources=(ref.DPPO,),
        verl="with `CISPO(low=1, high=c-1)`, `compute_policy_loss_dppo_tv`: `actor.policy_loss.loss_mode=dppo_tv`",
        others="with `ImportanceWeight`: SkyRL `dppo`, prime-rl by default; TRL 1.0's `experimental.dppo`"),
    Row(function="dppo_mask", of={"divergence": "kl"}, sources=(ref.DPPO,),
        verl="the same, `compute_policy_loss_dppo_kl`: `actor.policy_loss.loss_mode=dppo_kl`"),
    Row(function="gdpo", of={}, sources=(ref.GDPO,), words=("verl_peer",),
        verl="`compute_gdpo_outcome_advantage`: `algorithm.adv_estimator=gdpo`, `algorithm.gdpo_reward_keys`, "
             "`algorithm.gdpo_reward_weights`"),
    Row(function="gdpo", of={"over": "responses"}, sources=(ref.GDPO,),
        trl='`multi_objective_aggregation="normalize_then_sum"`, `reward_weights`', others="NeMo RL, ms-swift `gdpo`"),
)



def paid(shaping: Any, **options: Any) -> dict[str, Any]:
    """A reward with that shaping."""
    return {"reward": Reward(shaping=shaping, **options)}


REWARDS = (
    Row(of=paid(LinearPenalty(slope=0.01))),
    Row(of=paid(SoftOverlong(max_tokens=16, buffer=4)), sources=(ref.DAPO,),
        verl="reward manager `dapo`, `overlong_buffer_cfg` (`capped=False`)", trl="`get_soft_overlong_punishment`",
        others="OpenRLHF `overlong_buffer_len`; NeMo RL `reward_shaping`, ms-swift `soft_overlong`, AReaL "
               "(`capped=False`)"),
    Row(of=paid(Cosine(max_tokens=16, correct=(1.0, 0.5), incorrect=(-1.0, -0.5))),
        sources=(ref.DEMYSTIFYING_LONG_COT,), trl="`get_cosine_scaled_reward(max_len=16)`",
        others="ms-swift `cosine` (`incorrect=(-0.5, 0)`); open-r1, by characters"),
    Row(of=paid(Laser(target=8)), sources=(ref.LASER,), others="the authors' `larse`"),
    Row(of=paid(MissingEOS(penalty=1)), trl="`missing_eos_penalty` of its PPO, up to 1.12",
        others="oat `non_stop_penalty`"),
    Row(of=paid(StopProperly(coefficient=0.5)), sources=(ref.PRORL,),
        others="OpenRLHF `stop_properly_penalty_coef`, NeMo RL `stop_properly_penalty_coef`"),
    Row(of=paid(KimiLength()), sources=(ref.KIMI_K15,), others="open-r1 `len_reward`, by characters"),
    Row(of=paid(LengthZScore(alpha=0.4)), sources=(ref.REASON_EFFICIENTLY,)),
    Row(of=paid(ALP(beta=0.01)), sources=(ref.ALP,)),
    Row(of=paid(PassRateLength()), others="prime-rl `length_penalty`, its term of output tokens"),
    Row(of=paid(LaserD(easy=4, medium=6, hard=8)), sources=(ref.LASER,),
        others="the authors' `larse-d`, with targets that follow a set of prompts during the run"),
    Row(of=paid(ShorterBetter(), correct=2.0), sources=(ref.SHORTER_BETTER,), others="the authors' fork of verl"),
    Row(of=paid(GR3(alpha=0.5)), sources=(ref.GR3,)),
    Row(of=paid(LCPOExact()), sources=(ref.L1,), others="the authors' code (`alpha=1/3000`), for targets above 0"),
    Row(of=paid(LCPOMax()), sources=(ref.L1,), others="the authors' code (`alpha=1/1000`), for targets below 0"),
)

ROWS = {"Advantages": ADVANTAGES, "Surrogates": SURROGATES, "Penalties": PENALTIES, "Aggregation": AGGREGATIONS,
        "Rewards by length": REWARDS,
        "Truncated responses and equal groups": TREATMENTS, "Functions of `lossim.tokens`": FUNCTIONS}
