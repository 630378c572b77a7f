"""Hours of sound without a header to be given: noise, speech, music, tones, other modems, garbage, spoilt headers.

``python -m benchmarks.campaigns.quiet_campaign --hours 100``. Every minute has a number; a campaign of the same seed
makes the same ones, and ``--case NUMBER`` plays one of them alone. With ``--journal FILE`` it may be stopped and goes
on where it was. The report is JSON; the exit code is 1 when a header was given that was not sent, or the decoder
failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.campaigns.journal import Journal
from benchmarks.campaigns.judge import MakeListener, hear, make_listener
from benchmarks.campaigns.quiet_sounds import CASE_S, KINDS, kind_of, quiet_trial
from benchmarks.campaigns.runner import NICE, run_cases, tried
from benchmarks.campaigns.tally import Tally
from benchmarks.report import machine

CAVEATS = (
    "some ten minutes each of speech and music are used again at other speeds, levels, places and mixtures",
    "espeak-ng speaks where it is installed, else an imitation of speech",
    "each minute is heard by a new decoder",
    "of spoilt headers, one that is given is right when it is exactly a text that was sent",
)


def try_case(seed: int, make: MakeListener, number: int) -> dict[str, Any]:
    """Make and judge one minute; an exception of the decoder is a result, too."""
    began = time.process_time()
    trial = quiet_trial(seed, number)
    made_s = time.process_time() - began
    return {**tried(number, trial, make), "made_s": made_s}


def run(
    seed: int,
    hours: float,
    console: Console,
    *,
    journal: Path | None = None,
    jobs: int = 1,
    make: MakeListener = make_listener,
) -> tuple[Tally, Counter[str]]:
    """Run a campaign, or what is left of it.

    Parameters
    ----------
    seed
        Of all minutes.
    hours
        How many, those in the journal included.
    console
        Where progress is shown.
    journal
        File as of `Journal`.
    jobs
        Number of processes.
    make
        Makes the decoder that is tried.

    Returns
    -------
    tally, unverified
        The counts, and by kind how many headers were heard and not given.

    Raises
    ------
    ValueError
        If the journal is of another campaign.
    """
    tally = Tally()
    unverified: Counter[str] = Counter()

    def count(result: dict[str, Any]) -> str:
        kind = kind_of(result["case"])
        tally.count(result, kind, "")
        claims = result.get("outcome", {"claims": ()})["claims"]
        unverified[kind] += sum(not claim["verified"] for claim in claims)
        tally.cpu_s += result["made_s"]
        return f"{len(tally.wrong)} wrong, {len(tally.failures)} failures"

    campaign = {"campaign": "quiet", "seed": seed, "kinds": {kind: times for kind, (_, times) in KINDS.items()}}
    with Journal(journal, campaign) as kept:
        run_cases(partial(try_case, seed, make), round(hours * 3600.0 / CASE_S), kept, count, console, jobs)
    return tally, unverified


def report(seed: int, tally: Tally, unverified: Counter[str]) -> dict[str, Any]:
    """Give the results as JSON knows them."""
    kinds = {
        kind: {"minutes": count["sent"] * CASE_S / 60.0, "wrong": count["wrong"], "heard_unverified": unverified[kind]}
        for (kind, _), count in tally.counts.items()
    }
    return {
        "campaign": "quiet",
        "machine": machine(),
        "caveats": CAVEATS,
        "seed": seed,
        "hours": round(tally.audio_s / 3600.0, 2),
        "audio_s_per_cpu_s_with_making": round(tally.audio_s / max(tally.cpu_s, 1e-9), 1),
        "kinds": kinds,
        "wrong_headers": len(tally.wrong),
        "wrong": tally.wrong,
        "failures": tally.failures,
    }


def main(argv: Sequence[str] | None = None, make: MakeListener = make_listener) -> int:
    """Entry point: exit code 1 when a header was given that was not sent, or the decoder failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.quiet_campaign", description=__doc__)
    parser.add_argument("--hours", type=float, default=100.0, help="of sound (default: 100)")
    parser.add_argument("--seed", type=int, default=1, help="of all minutes (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="keep results there, and go on from there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="play this minute alone, and show all that is said")
    arguments = parser.parse_args(argv)
    console = Console(stderr=True)
    if arguments.case is not None:
        trial = quiet_trial(arguments.seed, arguments.case)
        print(f"case {arguments.case}: {kind_of(arguments.case)}", *trial.headers, sep="\n  may be given: ")
        for now_s, event in hear(trial, make):
            print(f"{now_s:6.2f} s {event}")
        return 0
    os.nice(NICE)
    tally, unverified = run(
        arguments.seed, arguments.hours, console, journal=arguments.journal, jobs=arguments.jobs, make=make
    )
    results = report(arguments.seed, tally, unverified)
    table = Table("kind", "minutes", "wrong", "heard, unverified", title="Nothing to be given")
    for kind, row in results["kinds"].items():
        table.add_row(kind, *(f"{row[column]:g}" for column in ("minutes", "wrong", "heard_unverified")))
    console.print(table)
    text = json.dumps(results, indent=2)
    if arguments.json is not None:
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 1 if tally.wrong or tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
