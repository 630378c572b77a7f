"""Runs the numbered cases of a campaign: in one process or several, with progress, leaving out what was done before."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.campaigns.journal import Journal
from benchmarks.campaigns.judge import MakeListener, judge
from benchmarks.campaigns.transmissions import Trial

NICE = 10
"""Campaigns are polite: they run for long."""

_CHUNK = 8
_LINES = 20

Item = TypeVar("Item")


def tried(number: int, trial: Trial, make: MakeListener) -> dict[str, Any]:
    """Judge one case, and give its number and ``outcome``, or ``failure`` where the decoder raised an exception."""
    try:
        return {"case": number, "outcome": judge(trial, make).as_json()}
    except Exception:  # noqa: BLE001 - whatever it is, it is what was looked for
        return {"case": number, "failure": traceback.format_exc(limit=-6)}


def run_cases(
    work: Callable[[int], dict[str, Any]],
    n_cases: int,
    kept: Journal,
    count: Callable[[dict[str, Any]], str],
    console: Console,
    jobs: int = 1,
) -> None:
    """Run cases 0 to `n_cases` - 1, those in the journal excepted, which are counted first.

    Parameters
    ----------
    work
        Gives the result of a case of that number, with its number as ``case``. With several processes it is sent to
        them, and so has to be a function of a module.
    n_cases
        How many.
    kept
        What was done before, and where results go.
    count
        Counts a result, and says how it stands.
    console
        Where progress is shown.
    jobs
        Number of processes.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        done: set[int] = set()
        for result in kept.cases():
            if result["case"] < n_cases and result["case"] not in done:
                done.add(result["case"])
                count(result)
        task = progress.add_task("starting", total=n_cases, completed=len(done))
        for result in results_of(work, [number for number in range(n_cases) if number not in done], jobs):
            kept.keep(result)
            words = count(result)
            done.add(result["case"])
            progress.update(task, advance=1, description=words)
            # A log has no bar: it gets a line now and then.
            if not console.is_terminal and len(done) % max(1, n_cases // _LINES) == 0:
                console.print(f"{len(done)} of {n_cases}: {words}")


def results_of(work: Callable[[Item], dict[str, Any]], items: Sequence[Item], jobs: int) -> Iterator[dict[str, Any]]:
    """Give the result of `work` for each item, in one process in their order, in several in any order."""
    if jobs == 1:
        yield from map(work, items)
        return
    # A fresh interpreter for each: threads of libraries do not survive a fork.
    with get_context("spawn").Pool(jobs, initializer=os.nice, initargs=(NICE,)) as pool:
        yield from pool.imap_unordered(work, items, chunksize=_CHUNK)
