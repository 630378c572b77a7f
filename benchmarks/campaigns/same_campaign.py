"""Ten thousand generated transmissions, the cliff and codecs included: is any header wrong, and are errors foreseen?

``python -m benchmarks.campaigns.same_campaign --transmissions 10000``. Every transmission has a number; a campaign of
the same seed makes the same ones, and ``--case NUMBER`` plays one of them alone and shows all that is said. With
``--journal FILE`` it may be stopped and goes on where it was. The report is JSON; the exit code is 1 when a header was
wrong or the decoder failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app_core.eas.events import HeaderDecoded, HeaderUnverified
from benchmarks.campaigns.conditions import CONDITIONS, Level, make_trial
from benchmarks.campaigns.journal import Journal
from benchmarks.campaigns.judge import MakeListener, Outcome, hear, judge, make_listener
from benchmarks.campaigns.runner import NICE, run_cases, tried
from benchmarks.campaigns.tally import MOST_PREDICTED, Tally, calibration
from benchmarks.report import machine

_TIMES_SWEPT = 2  # the levels of a sweep are tried twice as often: there errors are neither rare nor certain


@dataclass(frozen=True, slots=True)
class Plan:
    """Which transmission has which number.

    Attributes
    ----------
    seed
        Of the campaign.
    conditions
        Names of the conditions that are tried.
    """

    seed: int
    conditions: tuple[str, ...]

    def round(self) -> list[tuple[str, Level]]:
        """Every condition and level, those of a sweep twice."""
        cases: list[tuple[str, Level]] = []
        for name in self.conditions:
            times = _TIMES_SWEPT if CONDITIONS[name].kind == "sweep" else 1
            cases += [(name, level) for level in CONDITIONS[name].levels for _ in range(times)]
        return cases

    def case(self, number: int) -> tuple[str, Level, int]:
        """Condition, level and seed of a transmission."""
        cases = self.round()
        name, level = cases[number % len(cases)]
        return name, level, self.seed * 10_000_000 + number

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON knows it, with the levels, so that a change of them is noticed."""
        levels = {name: [str(level) for level in CONDITIONS[name].levels] for name in self.conditions}
        return {"campaign": "same", "seed": self.seed, "conditions": levels}


def try_case(plan: Plan, make: MakeListener, number: int) -> dict[str, Any]:
    """Make and judge one transmission; an exception of the decoder is a result, too."""
    name, level, seed = plan.case(number)
    return tried(number, make_trial(name, level, seed), make)


def run(
    plan: Plan,
    transmissions: int,
    console: Console,
    *,
    journal: Path | None = None,
    jobs: int = 1,
    make: MakeListener = make_listener,
) -> Tally:
    """Run a campaign, or what is left of it.

    Parameters
    ----------
    plan
        Which transmissions.
    transmissions
        How many, those in the journal included.
    console
        Where progress is shown.
    journal
        File as of `Journal`.
    jobs
        Number of processes.
    make
        Makes the decoder that is tried.

    Raises
    ------
    ValueError
        If the journal is of another campaign.
    """
    tally = Tally()

    def count(result: dict[str, Any]) -> str:
        name, level, _ = plan.case(result["case"])
        tally.count(result, name, str(level))
        return f"{len(tally.wrong)} wrong, {len(tally.failures)} failures"

    with Journal(journal, plan.as_json()) as kept:
        run_cases(partial(try_case, plan, make), transmissions, kept, count, console, jobs)
    return tally


def show(name: str, level: Level, seed: int, make: MakeListener, console: Console) -> Outcome:
    """Play one transmission, and show what was sent and all that was said, with places where they differ."""
    trial = make_trial(name, level, seed)
    console.print(f"{name} {level} {CONDITIONS[name].unit}, seed {seed}", highlight=False)
    for header in trial.headers:
        console.print(f"sent      {header}", highlight=False, markup=False, soft_wrap=True)
    for now_s, event in hear(trial, make):
        console.print(f"{now_s:7.2f} s {event}", highlight=False, markup=False, soft_wrap=True)
        if isinstance(event, HeaderDecoded | HeaderUnverified):
            text = event.header.text if isinstance(event, HeaderDecoded) else event.best_guess
            console.print(f"{type(event).__name__:>19} {text}", highlight=False, markup=False, soft_wrap=True)
            marks = "".join("^" if a != b else " " for a, b in zip(text, trial.headers[0], strict=False))
            console.print(f"{'':19} {marks.rstrip()}", highlight=False, markup=False, soft_wrap=True)
    return judge(trial, make)


def table_of(tally: Tally) -> Table:
    """Lay out the counts of a campaign for people; conditions whose every header was given are left out."""
    table = Table("condition", "level", "sent", "verified %", "guess %", "wrong", title="Transmissions")
    for (name, level), count in sorted(tally.counts.items(), key=lambda item: list(CONDITIONS).index(item[0][0])):
        if count["verified"] == count["sent"] and not count["wrong"]:
            continue
        shares = (f"{100.0 * count[what] / count['sent']:.0f}" for what in ("verified", "guess"))
        table.add_row(name, f"{level} {CONDITIONS[name].unit}", str(count["sent"]), *shares, str(count["wrong"] or ""))
    return table


def calibration_table(tally: Tally) -> Table:
    """Lay out how often headers are wrong beside how often they say they are."""
    table = Table("said error from", "headers", "predicted wrong", "wrong", title="Calibration, best guesses included")
    for line in calibration(tally.bins["all"]):
        table.add_row(f"{line['from']:.0e}", str(line["headers"]), f"{line['predicted']:.3g}", str(line["wrong"]))
    return table


def main(argv: Sequence[str] | None = None, make: MakeListener = make_listener) -> int:
    """Entry point: exit code 1 when a header was wrong or the decoder failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.same_campaign", description=__doc__)
    parser.add_argument("--transmissions", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--seed", type=int, default=1, help="of all transmissions (default: 1)")
    parser.add_argument("--only", metavar="NAME,...", help=f"conditions: {', '.join(CONDITIONS)}")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--journal", type=Path, metavar="FILE", help="keep results there, and go on from there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="play this transmission alone, and show all of it")
    parser.add_argument("--trial", nargs=3, metavar=("NAME", "LEVEL", "SEED"), help="the same, as `same` names them")
    arguments = parser.parse_args(argv)
    names = tuple(CONDITIONS) if arguments.only is None else tuple(arguments.only.split(","))
    if unknown := [name for name in names if name not in CONDITIONS]:
        parser.error(f"no such condition: {', '.join(unknown)}; there are {', '.join(CONDITIONS)}")
    plan, console = Plan(arguments.seed, names), Console(stderr=True)
    if arguments.case is not None:
        return 1 if show(*plan.case(arguments.case), make, Console()).wrong else 0
    if arguments.trial is not None:
        name, words, seed = arguments.trial
        level = next((level for level in CONDITIONS[name].levels if str(level) == words), words)
        return 1 if show(name, level, int(seed), make, Console()).wrong else 0
    os.nice(NICE)
    tally = run(plan, arguments.transmissions, console, journal=arguments.journal, jobs=arguments.jobs, make=make)
    console.print(table_of(tally))
    console.print(calibration_table(tally))
    most = MOST_PREDICTED * arguments.transmissions / 10_000
    report = {"campaign": "same", "seed": plan.seed, "machine": machine(), "most_predicted": most, **tally.as_json()}
    text = json.dumps(report, indent=2)
    if arguments.json is not None:
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 1 if tally.wrong or tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
