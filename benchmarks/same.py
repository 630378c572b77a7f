"""How well SAME is decoded, against multimon-ng on the same transmissions: thresholds, what has to work, wrong headers.

Generated transmissions (`benchmarks.campaigns.conditions`): sweeps over white noise, narrow FM through the project's
own demodulator and Rayleigh fading give the levels at which 50 and 90 % of the headers are exact; the other conditions
shall all be decoded. *Verified* headers are those that are given; *best guesses* are shown as unverified where they
are not. ``--full`` takes ten times the transmissions, and half an hour of a core. Every wrong header is told with what
``python -m benchmarks.campaigns.same_campaign --trial`` needs to play it again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.campaigns.conditions import CONDITIONS, Level, make_trial
from benchmarks.campaigns.judge import MakeListener, Outcome, judge, make_listener, outcome_of
from benchmarks.campaigns.runner import results_of
from benchmarks.campaigns.same_campaign import calibration_table
from benchmarks.campaigns.tally import Tally
from benchmarks.decoding.curves import crossing
from benchmarks.decoding.limits import LIMITS, exact_share
from benchmarks.decoding.multimon import INSTALL, PROGRAM, has_multimon, printed_headers
from benchmarks.report import Figure, ceiling, machine

CAVEATS = (
    "generated transmissions; their headers are the same at every level, which lowers the scatter between levels",
    "20 transmissions a level (quick) place a threshold to some 0.4 dB, 200 (--full) to some 0.1 dB",
    "a header counts when it is exact; anything else that is printed as a header is wrong",
    "multimon-ng prints single bursts, and shortened ones as if they were whole",
    "limits: perfect synchronisation, nothing known of the header, white noise",
    "delays in time of the stream, to 0.05 s",
)

PLOT = Path("docs/images/sensitivity.png")
SWEEPS = ("awgn", "fm", "fading")
TARGETS_DB = {"awgn": (8.2, 6.1), "fm": (3.7, 2.3), "fading": (12.0, 10.0)}
"""What is asked for at 90 %: verified, best guess."""

MOST_AFTER_THIRD_S = 1.0
MOST_AFTER_FIRST_S = 0.5
STRONG: tuple[str, Level] = ("awgn", 24.0)
"""Where the first burst is strong enough to be given at once."""

_QUICK = 20
_FULL = 200
_OTHER = 0.3  # of the transmissions of a sweep's level, at each level of the other conditions


@dataclass(slots=True)
class Results:
    """What the trials gave, by condition and level.

    Attributes
    ----------
    ours, peer
        Outcomes of ours, and texts printed by the peer for the same trials.
    tally
        Counts of ours.
    headers
        All headers of the sweeps, each once.
    """

    ours: dict[tuple[str, Level], list[Outcome]] = field(default_factory=dict)
    peer: dict[tuple[str, Level], list[list[str]]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    headers: dict[str, None] = field(default_factory=dict)

    def share(self, condition: str, level: Level, which: str) -> float:
        """Share of exact transmissions: ``verified``, ``guess`` or ``peer``."""
        outcomes = self.ours[condition, level]
        if which == "peer":
            pairs = zip(self.peer[condition, level], outcomes, strict=True)
            return float(np.mean([set(outcome.sent) <= set(texts) for texts, outcome in pairs]))
        return float(np.mean([o.verified if which == "verified" else o.guessed for o in outcomes]))

    def shares(self, condition: str, which: str) -> list[float]:
        """`share` at every level."""
        return [self.share(condition, level, which) for level in CONDITIONS[condition].levels]

    def crossing(self, condition: str, which: str, share: float) -> float:
        """Level at which a sweep reaches a share; NaN where it does not. [dB]"""
        levels = [float(level) for level in CONDITIONS[condition].levels]
        return crossing(levels, self.shares(condition, which), share)

    @property
    def peers_wrong(self) -> int:
        """Transmissions for which the peer printed a wrong header."""
        pairs = [(t, o) for key, texts in self.peer.items() for t, o in zip(texts, self.ours[key], strict=True)]
        return sum(any(text not in outcome.sent for text in texts) for texts, outcome in pairs)


def try_both(make: MakeListener, with_peer: bool, case: tuple[str, Level, int]) -> dict[str, Any]:
    """Make a trial, and give what both say of it."""
    trial = make_trial(*case)
    peer = printed_headers(trial) if with_peer else []
    return {"condition": case[0], "level": case[1], "seed": case[2], "ours": judge(trial, make).as_json(), "peer": peer}


def measure(
    n_swept: int, n_other: int, *, jobs: int = 1, make: MakeListener = make_listener, with_peer: bool = True
) -> Results:
    """Try every condition.

    Parameters
    ----------
    n_swept
        Transmissions at each level of a sweep.
    n_other
        At each level of the conditions that shall all be decoded.
    jobs
        Number of processes.
    make
        Makes our decoder.
    with_peer
        Whether the peer is tried, too.
    """
    cases: list[tuple[str, Level, int]] = []
    for condition in CONDITIONS.values():
        n = {"sweep": n_swept, "demanded": n_other}.get(condition.kind, 0)
        cases += [(condition.name, level, seed) for seed in range(n) for level in condition.levels]
    results = Results()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("transmissions", total=len(cases))
        done = sorted(
            progress.track(results_of(partial(try_both, make, with_peer), cases, jobs), task_id=task),
            key=lambda each: each["seed"],
        )
    for each in done:
        key, outcome = (each["condition"], each["level"]), outcome_of(each["ours"])
        results.ours.setdefault(key, []).append(outcome)
        if with_peer:
            results.peer.setdefault(key, []).append(each["peer"])
        results.tally.add(each["seed"], each["condition"], str(each["level"]), outcome)
        if CONDITIONS[each["condition"]].kind == "sweep":
            results.headers |= dict.fromkeys(outcome.sent)
    return results


def limit(name: str, results: Results, share: float) -> float:
    """Eb/N0 at which a limit reaches a share of the headers of the sweeps. [dB]"""
    levels_db = np.arange(0.0, 20.0, 0.02)
    return crossing(list(levels_db), list(exact_share(name, levels_db, list(results.headers))), share)


def figures(results: Results) -> Iterator[Figure]:
    """Make figures of what was measured."""
    has_peer = bool(results.peer)
    for sweep in SWEEPS:
        unit = CONDITIONS[sweep].unit
        for share in (0.5, 0.9):
            peer = results.crossing(sweep, "peer", share) if has_peer else math.nan
            for which, target_db in zip(("verified", "guess"), TARGETS_DB[sweep], strict=True):
                ours = results.crossing(sweep, which, share)
                asked = share == 0.9
                name = f"{sweep}, {100.0 * share:g} % {which} [{unit}]"
                target = f"<= {target_db:g}" if asked else "-"
                met = not asked or ours <= target_db
                yield Figure(name, ours, None if math.isnan(peer) else peer, None, target, met)
    for name in LIMITS:
        yield Figure(f"limit, awgn, 90 %, {name} [dB]", limit(name, results, 0.9), None, None, "-", True)
    for condition in CONDITIONS.values():
        if condition.kind == "demanded":
            percent = 100.0 * float(np.mean(results.shares(condition.name, "verified")))
            theirs = 100.0 * float(np.mean(results.shares(condition.name, "peer"))) if has_peer else None
            yield Figure(f"{condition.name}, verified [%]", percent, theirs, None, "100", percent >= 100.0)
    n = results.tally.total("sent")
    wrong = results.tally.total("wrong")
    yield ceiling(f"wrong headers printed [of {n}]", wrong, 0.0, results.peers_wrong if has_peer else None)
    yield from _delays(results)
    yield from _errors(results)


def _delays(results: Results) -> Iterator[Figure]:
    """How long after the bursts headers are given: the longest of all sweeps, and of strong signals."""
    swept = [outcome for (name, _), outcomes in results.ours.items() if name in SWEEPS for outcome in outcomes]
    after_third = max((o.after_third_s for o in swept if o.after_third_s is not None), default=math.nan)
    after_first = max((o.after_first_s for o in results.ours[STRONG] if o.after_first_s is not None), default=math.nan)
    yield ceiling("given after the third burst, longest [s]", after_third, MOST_AFTER_THIRD_S)
    yield ceiling(f"given after the first burst at {STRONG[1]} dB, longest [s]", after_first, MOST_AFTER_FIRST_S)


def _errors(results: Results) -> Iterator[Figure]:
    """Predicted errors: of headers that were given, and beside the observed ones of all, best guesses included."""
    tally = results.tally
    most = 0.1 * tally.total("sent") / 10_000
    yield ceiling("predicted errors of headers given, their sum", tally.predicted("given"), most)
    ratio = tally.observed("all") / max(tally.predicted("all"), 1e-9)
    yield Figure("errors of all, observed over predicted", ratio, None, None, "0.5 to 2", 0.5 <= ratio <= 2.0)


def as_json(results: Results) -> dict[str, Any]:
    """Give all that was measured as JSON knows it; `benchmarks.decoding.plot` draws it."""
    levels_db = [float(level) for level in np.arange(3.0, 17.01, 0.1)]
    kinds = ("verified", "guess", "peer") if results.peer else ("verified", "guess")
    return {
        "benchmark": "same",
        "machine": machine(),
        "sweeps": {
            sweep: {
                "levels": list(CONDITIONS[sweep].levels),
                "unit": CONDITIONS[sweep].unit,
                "transmissions": len(results.ours[sweep, CONDITIONS[sweep].levels[0]]),
                **{which: results.shares(sweep, which) for which in kinds},
            }
            for sweep in SWEEPS
        },
        "limits": {
            "levels": levels_db,
            **{name: list(exact_share(name, np.array(levels_db), list(results.headers))) for name in LIMITS},
        },
        "conditions": {
            name: {str(level): {which: results.share(name, level, which) for which in kinds} for level in c.levels}
            for name, c in CONDITIONS.items()
            if c.kind == "demanded"
        },
        "ours": results.tally.as_json(),
        "peers_wrong": results.peers_wrong,
        "figures": [{**asdict(figure), "ours": _number(figure.ours)} for figure in figures(results)],
    }


def not_all_decoded(results: Results) -> Table:
    """Lay out what shall all be decoded, and is not."""
    table = Table("condition", "level", "verified %", "guess %", "multimon-ng %", title="Not all decoded")
    for name, level in results.ours:
        if CONDITIONS[name].kind == "demanded" and results.share(name, level, "verified") < 1.0:
            kinds = ("verified", "guess", "peer") if results.peer else ("verified", "guess")
            shares = (f"{100.0 * results.share(name, level, which):.0f}" for which in kinds)
            table.add_row(name, f"{level} {CONDITIONS[name].unit}", *shares)
    return table


def _number(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what this benchmark knows besides."""
    parser.add_argument("--full", action="store_true", help=f"{_FULL} transmissions at each level of a sweep")
    parser.add_argument(
        "--transmissions", type=int, default=_QUICK, metavar="N", help=f"so many at each of them (default: {_QUICK})"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write curves, tables and every wrong header as JSON"
    )
    parser.add_argument("--plot", action="store_true", help=f"draw {PLOT}")


def run(options: argparse.Namespace | None = None) -> Iterator[Figure]:
    """Measure all of it; without options, a quick look."""
    if options is None:
        parser = argparse.ArgumentParser()
        add_options(parser)
        options = parser.parse_args([])
    with_peer = has_multimon()
    if not with_peer:
        print(f"{PROGRAM}, the peer, is not installed; type: {INSTALL}", file=sys.stderr)
    n_swept = _FULL if options.full else options.transmissions
    results = measure(n_swept, max(1, round(_OTHER * n_swept)), jobs=options.jobs, with_peer=with_peer)
    console = Console(stderr=True)
    for each in results.tally.wrong:
        trial = f"'{each['condition']}' '{each['level']}' {each['case']}"
        console.print(f"WRONG: --trial {trial}: {each['wrong']}", highlight=False, markup=False, soft_wrap=True)
    console.print(not_all_decoded(results))
    console.print(calibration_table(results.tally))
    report = as_json(results)
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        from benchmarks.decoding.plot import draw

        draw(report, PLOT)
    yield from figures(results)
