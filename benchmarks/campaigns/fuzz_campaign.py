"""Random and mutated text, bytes, files and sound for as long as you like: no crash, no wrong header, bounded costs.

``python -m benchmarks.campaigns.fuzz_campaign --minutes 60``. Every case has a number; a campaign of the same seed
makes the same cases in the same order, and ``--case NUMBER`` runs one of them alone. The report is JSON. libsndfile's
own complaints about spoilt files go to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.campaigns.fuzz_cases import CASES, Case, Done
from benchmarks.report import machine

_WARM_UP = 150  # cases until every kernel is compiled and every table is read
_MOST_GROWTH_BYTES = 250 << 20  # mostly the cases' own: 20 s of sound at 192 kHz, several times over
_MOST_CPU_S_PER_S = 0.2  # of a second of sound
_FREE_CPU_S = 1.5  # beside it: what making the case takes
_MOST_FAILURES = 20


@dataclass(slots=True)
class Totals:
    """What a campaign has done so far.

    Attributes
    ----------
    cases
        How many of each name.
    audio_s, audio_cpu_s
        Sound that was decoded, and CPU time that it took. [seconds]
    headers
        Headers that were decoded, all of them right.
    largest_state
        Most that a listener held on to at the end of a case. [bytes]
    failures
        Number of the case, its name, and what went wrong.
    slowest
        CPU seconds a second of sound of the slowest case, and its number.
    first_memory, most_memory
        Resident memory after the warm-up, and the most since. [bytes]
    """

    cases: Counter[str] = field(default_factory=Counter)
    audio_s: float = 0.0
    audio_cpu_s: float = 0.0
    headers: int = 0
    largest_state: int = 0
    failures: list[dict[str, object]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    first_memory: int = 0
    most_memory: int = 0

    def fail(self, number: int, name: str, reason: str) -> None:
        """Note a failure."""
        self.failures.append({"case": number, "name": name, "reason": reason})


def numbered_cases() -> Iterator[tuple[int, str, Case]]:
    """Give all cases, for ever; their numbers are the same in every campaign."""
    number = 0
    while True:
        for name, case, times in CASES:
            for _ in range(times):
                yield number, name, case
                number += 1


def run_case(totals: Totals, seed: int, number: int, name: str, case: Case) -> None:
    """Run one case, and note what it did and what it cost."""
    began = time.process_time()
    try:
        done = case(np.random.default_rng((seed, number)))
    except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
        done = Done()
        totals.fail(number, name, traceback.format_exc(limit=-6))
    cpu_s = time.process_time() - began
    totals.cases[name] += 1
    totals.audio_s += done.audio_s
    totals.headers += done.headers
    totals.largest_state = max(totals.largest_state, done.state_bytes)
    if done.audio_s:
        totals.audio_cpu_s += cpu_s
    if number < _WARM_UP:
        return
    if done.audio_s > 1.0:
        totals.slowest = max(totals.slowest, (cpu_s / done.audio_s, number))
    if cpu_s > _FREE_CPU_S + _MOST_CPU_S_PER_S * done.audio_s:
        totals.fail(number, name, f"took {cpu_s:.2f} s of CPU for {done.audio_s:.2f} s of sound")


def watch_memory(totals: Totals, number: int) -> None:
    """Note how much memory there is in use, and fail once it has grown beyond all bounds."""
    memory = psutil.Process().memory_info().rss
    if not totals.first_memory:
        totals.first_memory = memory
    grown = totals.most_memory - totals.first_memory
    totals.most_memory = max(totals.most_memory, memory)
    if grown <= _MOST_GROWTH_BYTES < totals.most_memory - totals.first_memory:
        totals.fail(number, "memory", f"grew by {(memory - totals.first_memory) >> 20} MiB")


def run(minutes: float, seed: int, console: Console) -> Totals:
    """Run cases until the time is over, or too many have failed."""
    totals = Totals()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("fuzzing", total=60.0 * minutes)
        began = time.monotonic()
        for number, name, case in numbered_cases():
            run_case(totals, seed, number, name, case)
            if number >= _WARM_UP and number % 50 == 0:
                watch_memory(totals, number)
                text = f"{number} cases, {totals.headers} headers, {len(totals.failures)} failures"
                progress.update(task, completed=time.monotonic() - began, description=text)
            if time.monotonic() - began > 60.0 * minutes or len(totals.failures) >= _MOST_FAILURES:
                return totals
    raise AssertionError("numbered_cases() ends never")


def report(totals: Totals, seed: int, took_s: float) -> dict[str, object]:
    """Give the campaign's results as JSON knows them."""
    return {
        "campaign": "fuzz",
        "machine": machine(),
        "seed": seed,
        "minutes": round(took_s / 60.0, 2),
        "cases": dict(totals.cases),
        "audio_s": round(totals.audio_s, 1),
        "audio_s_per_cpu_s": round(totals.audio_s / max(totals.audio_cpu_s, 1e-9), 1),
        "headers_right": totals.headers,
        "slowest_cpu_s_per_audio_s": round(totals.slowest[0], 4),
        "slowest_case": totals.slowest[1],
        "largest_state_mib": round(totals.largest_state / (1 << 20), 2),
        "memory_growth_mib": round((totals.most_memory - totals.first_memory) / (1 << 20), 1),
        "failures": totals.failures,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point: exit code 1 when a case has failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.campaigns.fuzz_campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="of all cases (default: 1)")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="run this case alone, and let it fail in the open")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    arguments = parser.parse_args(argv)
    if arguments.case is not None:
        case = next(case for number, _, case in numbered_cases() if number == arguments.case)
        print(case(np.random.default_rng((arguments.seed, arguments.case))))
        return 0
    began = time.monotonic()
    totals = run(arguments.minutes, arguments.seed, Console(stderr=True))
    text = json.dumps(report(totals, arguments.seed, time.monotonic() - began), indent=2)
    if arguments.json is not None:
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    print(text)
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main())
