"""The arithmetic of health: rate, lock, strength, clipping, and faults by name in the order of the stages."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from app_core.radio.health import (
    Fault,
    FaultChanges,
    LockJudge,
    RateMeter,
    ReceiverState,
    find_faults,
    gain_advice,
    is_locked,
    signal_strength,
)

WELL = ReceiverState(
    age_s=0.05,
    error="",
    effective_rate_hz=2_500_010.0,
    rate_error=4e-6,
    fill_percent=8.0,
    overflow_s=0.0,
    published_age_s=None,
    reader_hung=False,
    publisher_hung=False,
    has_signal=True,
    snr_db=25.0,
    clipping=0.0,
    level_dbfs=-20.0,
)


def _names(**changes: object) -> list[str]:
    return [fault.name for fault in find_faults(replace(WELL, **changes))]  # type: ignore[arg-type]


def _measure(rate_hz: float, length_s: int, late_s: float = 0.0) -> RateMeter:
    meter, chance = RateMeter(), random.Random(1)
    for second in range(length_s):
        at_s = 100.0 + second + chance.uniform(0.0, 0.05)
        late = late_s if second == length_s - 1 else 0.0
        meter.note(7, int(rate_hz * (at_s - 100.0 - late)), at_s)
    return meter


def test_the_rate_is_measured_over_thirty_seconds() -> None:
    assert _measure(2.5e6, 30).rate_hz is None
    assert _measure(2.5e6, 40).rate_hz == pytest.approx(2.5e6, rel=1e-5)
    assert _measure(2.48e6, 40).rate_hz == pytest.approx(2.48e6, rel=1e-5)


def test_one_late_read_is_not_taken_for_a_wrong_rate() -> None:
    assert _measure(250e3, 40, late_s=0.2).rate_hz == pytest.approx(250e3, rel=0.002)


def test_the_rate_follows_within_the_window() -> None:
    meter = _measure(2.5e6, 40)
    counted, at_s = 2.5e6 * 39, 139.0
    for _ in range(33):
        at_s += 1.0
        counted += 2.4e6
        meter.note(7, int(counted), at_s)
    assert meter.rate_hz == pytest.approx(2.4e6, rel=1e-3)


@pytest.mark.parametrize(("rate_hz", "error"), [(2.5e6, 0.0), (2.52e6, 0.008), (2.4e6, -0.04)])
def test_a_rate_that_is_off_all_the_time_is_an_error(rate_hz: float, error: float) -> None:
    assert _measure(rate_hz, 40).error(2.5e6) == pytest.approx(error, abs=1e-4)


@pytest.mark.parametrize("paused_at_s", range(31, 60, 3))
def test_one_pause_of_some_seconds_is_no_wrong_rate(paused_at_s: int) -> None:
    meter = RateMeter()
    for second in range(62):
        counted = second if second < paused_at_s else max(paused_at_s, second - 3)
        meter.note(1, 250_000 * counted, float(second))
    assert meter.rate_hz != pytest.approx(250_000, rel=0.01)
    assert meter.error(250_000) == 0.0


def test_an_overflow_that_lasts_breaks_the_flow_and_a_hitch_does_not() -> None:
    severities = [find_faults(replace(WELL, overflow_s=seconds))[0].severity for seconds in (1.0, 2.0, 3.0)]
    assert severities == ["warning", "warning", "error"]


def test_a_retune_begins_the_measurement_anew() -> None:
    meter = _measure(2.5e6, 40)
    meter.note(8, 0, 140.0)
    assert meter.rate_hz is None


def test_looks_that_come_often_do_not_fill_the_memory() -> None:
    meter = RateMeter()
    for tick in range(10_000):
        meter.note(1, tick * 1000, tick * 0.01)
    assert meter.rate_hz == pytest.approx(100_000.0)
    assert len(meter._points) < 40


def test_a_signal_locks_after_two_seconds_and_a_short_fade_does_not_end_it() -> None:
    judge = LockJudge(6.0)

    def since_s(snr_db: float, now_s: float) -> float | None:
        judge.note(snr_db, now_s)
        return judge.since_s

    assert since_s(5.9, 9.0) is None
    assert {since_s(12.0, 10.0 + tenth / 10) for tenth in range(10)} == {10.0}
    assert not is_locked(10.0, 0.1, 11.9)
    assert is_locked(10.0, 0.1, 12.0)
    assert since_s(5.0, 11.5) == 10.0
    assert since_s(5.0, 12.0) is None
    assert since_s(6.0, 12.1) == 12.1


@pytest.mark.parametrize("age_s", [None, 1.01, 60.0])
def test_nothing_is_locked_without_fresh_samples(age_s: float | None) -> None:
    assert not is_locked(0.0, age_s, 100.0)


@pytest.mark.parametrize(("snr_db", "strength"), [(-3.0, 0.0), (0.0, 0.0), (16.8, 0.42), (40.0, 1.0), (80.0, 1.0)])
def test_signal_strength_is_0_to_1(snr_db: float, strength: float) -> None:
    assert signal_strength(snr_db) == strength


def test_advice_on_the_gain_says_which_way_and_how_far() -> None:
    assert gain_advice(0.0, -20.0) == gain_advice(0.001, -20.0) == ""
    assert "about 3 dB lower" in gain_advice(0.002, -6.0)
    assert "about 6 dB lower" in gain_advice(0.05, -3.0)
    assert "50 % of the samples clip: set gain_db about 12 dB lower" in gain_advice(0.5, -1.0)
    assert "higher" in gain_advice(0.0, -80.0)


def test_a_receiver_that_is_well_has_no_faults() -> None:
    assert find_faults(WELL) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"age_s": None}, ["no_samples"]),
        ({"age_s": 1.2, "error": "USB device gone"}, ["no_samples"]),
        ({"rate_error": 0.0052}, ["sample_rate_off"]),
        ({"rate_error": -0.0052}, ["sample_rate_off"]),
        ({"rate_error": 0.0049}, []),
        ({"effective_rate_hz": None, "rate_error": 0.1}, []),
        ({"overflow_s": 1.0, "fill_percent": 100.0}, ["ring_overflow"]),
        ({"fill_percent": 80.1}, ["ring_nearly_full"]),
        ({"fill_percent": 80.0}, []),
        ({"published_age_s": 5.1}, ["publisher_late"]),
        ({"publisher_hung": True, "published_age_s": 12.0}, ["publisher_hung"]),
        ({"has_signal": False, "snr_db": 1.0}, ["not_locked"]),
        ({"clipping": 0.01}, ["clipping"]),
        ({"level_dbfs": -90.0}, ["level_low"]),
        ({"age_s": None, "is_idle": True, "has_signal": False}, []),
        ({"age_s": 11.0, "reader_hung": True, "has_signal": False, "clipping": 0.5}, ["reader_hung", "no_samples"]),
    ],
)
def test_each_fault_has_a_name(changes: dict[str, object], names: list[str]) -> None:
    assert _names(**changes) == names


def test_a_fault_says_its_cause_to_a_person() -> None:
    [fault] = find_faults(replace(WELL, effective_rate_hz=2_400_000.0, rate_error=-0.04))
    assert fault.to_dict() == {
        "name": "sample_rate_off",
        "stage": "receiver",
        "severity": "error",
        "text": "2400000 samples a second come instead of 2500000 (-4.00 %): the link or the host loses samples",
    }
    [fault] = find_faults(replace(WELL, age_s=3.0, error="rtl_tcp server is silent"))
    assert fault.text == "no samples for 3.0 s: rtl_tcp server is silent"


def test_a_fault_is_told_once_when_it_is_seen_twice_and_once_when_it_is_over() -> None:
    changes, fault = FaultChanges(), Fault("no_samples", "receiver", "error", "none")
    told = []
    for faults in ([fault], [], [fault], [fault], [fault], [], []):
        begun = changes.note(faults)
        told.append(("+" if begun else "") + ("-" if changes.ended else ""))
    assert told == ["", "", "", "+", "", "-", ""]
