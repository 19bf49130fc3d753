"""A policy from numbers on the command line: means as trainers log them, or medians."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from lossim._cli.answers import LOGGED, flag, given, refuse
from lossim._cli.logs import LOG_ONLY
from lossim.configs import ParsedConfig
from lossim.lengths import lognormal
from lossim.policies import Policy, from_summary, two_paths

__all__ = ["NUMBERS", "SUMMARY", "policy_of"]

SIGMA = 0.7
SUMMARY = ("accuracy", "mean_length", "ratio", "truncated", "mean_of", "spread", "premature", "verbosity", "classes")
"""Arguments of means alone."""
MEDIANS = ("solve_rate", "sigma")
"""Arguments of medians alone."""
NUMBERS = (*SUMMARY, *MEDIANS, "right", "wrong")


def policy_of(args: Namespace, config: ParsedConfig | None, command: str) -> tuple[Policy, list[str]]:
    """The policy, and what was assumed of its lengths where it does not say that itself.

    With --solve-rate --right and --wrong are medians before the cut, without it means.
    """
    refuse(args, LOG_ONLY, f"is for a log; give {'--log LOG' if command == 'drift' else 'LOG'}")
    if args.reward == LOGGED:
        raise ValueError(f"--reward {LOGGED} is for a log; give {'--log LOG' if command == 'drift' else 'LOG'}")
    cap = args.max_tokens
    if cap is None and config is not None:
        cap = config.max_tokens
    if any(getattr(args, name) is not None for name in MEDIANS):
        refuse(args, SUMMARY, "goes with means: give --accuracy in place of --solve-rate, with --right and --wrong as "
               "means, and --spread in place of --sigma")
        return _of_medians(args, cap, command)
    return _of_means(args, cap, command)


def _of_means(args: Namespace, cap: int | None, command: str) -> tuple[Policy, list[str]]:
    missing = [flag(name) for name, value in (("accuracy", args.accuracy), ("max_tokens", cap)) if value is None]
    if args.mean_length is None and args.right is None and args.wrong is None:
        missing.insert(len(missing) and int(args.accuracy is None), "--mean-length (or --right and --wrong)")
    if missing or cap is None:
        raise ValueError(_needs(command, missing))
    chosen: dict[str, Any] = given(**{name: getattr(args, name) for name in (*SUMMARY, "right", "wrong")})
    return from_summary(**chosen, max_tokens=cap), []


def _of_medians(args: Namespace, cap: int | None, command: str) -> tuple[Policy, list[str]]:
    needed = {"--solve-rate": args.solve_rate, "--right": args.right, "--wrong": args.wrong, "--max-tokens": cap}
    missing = [name for name, value in needed.items() if value is None]
    if missing or cap is None:
        raise ValueError(_needs(command, missing))
    sigma = SIGMA if args.sigma is None else args.sigma
    policy = two_paths(solve_rate=args.solve_rate, right=lognormal(median=args.right, sigma=sigma),
                       wrong=lognormal(median=args.wrong, sigma=sigma), max_tokens=cap)
    assumed = " (assumed)" if args.sigma is None else ""
    return policy, [f"lengths are lognormal with median {args.right:g} tokens if right and {args.wrong:g} if wrong, "
                    f"and standard deviation {sigma:g} of their logarithm{assumed}"]


def _needs(command: str, missing: list[str]) -> str:
    where = {"drift": "; or --log LOG to fit them", **dict.fromkeys(("what-if", "attribute", "stops"), "; or a LOG")}
    return f"{command} needs responses: give {', '.join(missing)}{where.get(command, '')}"
