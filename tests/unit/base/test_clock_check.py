from __future__ import annotations

import pytest

from app_core.base import clock_check
from app_core.base.clock_check import ClockState, check_clock, read_clock
from app_core.base.finding import Verdict


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (ClockState(True, 0.02), Verdict.OK),
        (ClockState(True, 3.0), Verdict.WARNING),
        (ClockState(False, 16.0), Verdict.WARNING),
        (None, Verdict.NOT_APPLICABLE),
    ],
)
def test_a_clock_is_judged_by_what_the_kernel_knows(state: ClockState | None, verdict: Verdict) -> None:
    assert check_clock(lambda: state).verdict is verdict


def test_a_time_before_this_program_is_a_failure() -> None:
    finding = check_clock(lambda: ClockState(True, 0.0), lambda: 0.0)
    assert finding.verdict is Verdict.FAILURE
    assert "1970-01-01" in finding.seen


@pytest.mark.parametrize(
    ("programs", "remedy"),
    [
        ({"timedatectl"}, "sudo timedatectl set-ntp true"),
        ({"timedatectl", "chronyd", "chronyc"}, "sudo systemctl enable --now chrony && sudo chronyc makestep"),
        (set(), "sudo apt-get install chrony"),
    ],
)
def test_the_remedy_is_for_what_sets_the_clock_here(
    programs: set[str], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_check, "find_program", lambda name: name if name in programs else None)
    assert check_clock(lambda: ClockState(False, 1.0)).remedy == remedy


def test_the_kernel_of_this_machine_answers() -> None:
    state = read_clock()
    # The kernel's own bound is 16 s (MAXPHASE), where nobody sets the clock.
    assert state is None or 0.0 <= state.greatest_error_s <= 16.1
