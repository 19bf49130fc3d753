"""``lossim audit``: what schemes do on a log."""

from __future__ import annotations

from argparse import Namespace

from lossim._auditing import audit
from lossim._cli.answers import Answer, answered, given, progress
from lossim._cli.logs import paths_of, read_log
from lossim._cli.schemes import asked_schemes, rule_of
from lossim._cli.tables import in_a_sentence, side_of_finding, ways
from lossim._support.text import wrapped

__all__ = ["audit_log"]


def audit_log(args: Namespace) -> Answer:
    """``lossim audit``."""
    asked = asked_schemes(args, every=True)
    rollouts, reading, cap, about_log = read_log(args, asked.config)
    paths, about_paths = paths_of(args, rollouts)
    notes = [*asked.notes, *about_log, *about_paths]
    found = audit(asked.schemes, rollouts, reward=rule_of(args, asked), paths=paths, needed=args.needed, max_tokens=cap,
                  correct_above=args.correct_above, progress=progress(args), **given(replicates=args.replicates))
    sides = [side_of_finding(each) for each in found.findings]
    side_by_side = asked.own is None and len(asked.schemes) > 1
    verdict = found.verdict
    if side_by_side:
        sentence = in_a_sentence(sides, of_log=True)
        verdict = "; ".join([sentence, *found.findings[0].asides])  # which are the log's
    said = found.sections() | {"verdict": [verdict]}
    said |= {name: reading.sections()[name] for name in ("left out", "first")}
    if asked.config is not None and len(found.findings) > 1:
        said["slots"] = wrapped("scheme", asked.schemes[0].slots)  # which nothing else prints
    return answered(said, found.plot, asked.config, notes, ways=ways(sides), found=found, verdict=verdict,
                    audit=found.to_dict(), reading=reading.to_dict())
