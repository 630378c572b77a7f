from __future__ import annotations

import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from app_core.eas.encoder import encode_transmission
from benchmarks import decode_speed, same
from benchmarks.campaigns.conditions import CONDITIONS, Condition, make_trial
from benchmarks.campaigns.transmissions import RATE_HZ, Trial, message
from benchmarks.decoding.cost import measure as cost_of
from benchmarks.decoding.cost import peak_mib
from benchmarks.decoding.curves import crossing
from benchmarks.decoding.limits import LIMITS, coherent_bit_errors, exact_share, noncoherent_bit_errors
from benchmarks.decoding.multimon import as_raw, printed_headers
from benchmarks.report import Figure
from tests.support.programs import require_program
from tests.unit.benchmarks.liars import LIE, given, saying

HEADER = "ZCZC-WXR-TOR-029095-020091+0045-1231200-KEAX/NWS-"


def ratio(decibels: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([10.0 ** (decibels / 10.0)])


def test_one_burst_has_the_textbook_error_rates() -> None:
    g = ratio(9.0)
    assert noncoherent_bit_errors(g)[0] == pytest.approx(0.5 * math.exp(-g[0] / 2.0))
    assert coherent_bit_errors(g)[0] == pytest.approx(0.5 * math.erfc(math.sqrt(g[0] / 2.0)))


@pytest.mark.parametrize("bursts", [1, 2, 3])
def test_error_rates_are_those_of_a_simulation(bursts: int) -> None:
    rng = np.random.default_rng(3)
    n, g = 400_000, ratio(2.0)[0]

    def noise() -> np.ndarray[tuple[int, int], np.dtype[np.complex128]]:
        flat = rng.standard_normal((2, bursts, n)) * math.sqrt(0.5)
        return np.asarray(flat[0] + 1j * flat[1])

    sent, other = math.sqrt(g) + noise(), noise()
    noncoherent = np.mean((np.abs(sent) ** 2).sum(axis=0) < (np.abs(other) ** 2).sum(axis=0))
    coherent = np.mean(sent.real.sum(axis=0) < other.real.sum(axis=0))
    assert noncoherent_bit_errors(np.array([g]), bursts)[0] == pytest.approx(float(noncoherent), rel=0.1)
    assert coherent_bit_errors(np.array([g]), bursts)[0] == pytest.approx(float(coherent), rel=0.1)


def test_limits_are_in_order_and_depend_on_the_length() -> None:
    level = np.array([8.0])
    shares = [exact_share(name, level, [HEADER])[0] for name in LIMITS]
    assert shares[0] < shares[1] < shares[2] < shares[4], "one burst, a vote, soft, coherent"
    assert exact_share("three bursts, coherent", level, ["Z" * 252])[0] < shares[4]
    mixed = exact_share("one burst, coherent", level, ["Z" * 42, "Z" * 252])[0]
    assert mixed == pytest.approx(np.mean([exact_share("one burst, coherent", level, ["Z" * n])[0] for n in (42, 252)]))


def test_a_crossing_is_interpolated() -> None:
    assert crossing([6.0, 7.0, 8.0], [0.0, 0.8, 1.0], 0.9) == pytest.approx(7.5)
    assert crossing([6.0, 7.0, 8.0], [0.0, 0.8, 1.0], 0.4) == pytest.approx(6.5)


def test_chance_at_one_level_does_not_decide_a_crossing() -> None:
    assert crossing([6.0, 7.0, 8.0, 9.0], [0.0, 1.0, 0.6, 1.0], 0.9) == pytest.approx(8.5)


def test_what_is_never_reached_has_no_level() -> None:
    assert math.isnan(crossing([6.0, 7.0], [0.0, 0.5], 0.9))
    assert crossing([6.0, 7.0], [0.95, 1.0], 0.9) == 6.0


@pytest.mark.parametrize("rate_hz", [8000, RATE_HZ, 48_000])
def test_multimon_prints_a_clear_header(rate_hz: int) -> None:
    require_program("multimon-ng")
    aired = message(HEADER, rate_hz=rate_hz)
    assert printed_headers(Trial(0.5 * aired.pcm, rate_hz, (HEADER,))) == [HEADER]


def test_multimon_that_is_missing_is_an_error_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(RuntimeError, match="apt-get install multimon-ng"):
        printed_headers(Trial(np.zeros(10, np.float32), RATE_HZ, ()))


@pytest.fixture
def few_conditions(monkeypatch: pytest.MonkeyPatch) -> dict[str, Condition]:
    """The sweeps with three levels each, and one condition more."""
    few = {}
    for name, levels in {"awgn": (4.0, 9.0, 24.0), "fm": (0.0, 10.0), "fading": (2.0, 30.0), "twist": (6.0,)}.items():
        c = CONDITIONS[name]
        few[name] = Condition(name, levels, c.make, c.kind, c.unit)
    for module in ("benchmarks.same", "benchmarks.campaigns.conditions"):
        monkeypatch.setattr(f"{module}.CONDITIONS", few)
    return few


def by_name(results: same.Results) -> dict[str, Figure]:
    return {figure.name: figure for figure in same.figures(results)}


def test_the_benchmark_finds_thresholds_and_compares_with_the_peer(few_conditions: dict[str, Condition]) -> None:
    require_program("multimon-ng")
    results = same.measure(2, 1)
    table = by_name(results)
    verified, guess = table["awgn, 90 % verified [dB Eb/N0]"], table["awgn, 90 % guess [dB Eb/N0]"]
    assert 4.0 <= guess.ours <= verified.ours <= 9.0
    assert verified.peer is not None and verified.peer > 9.0
    assert table["twist, verified [%]"].ours == 100.0
    assert table["wrong headers printed [of 15]"].met
    assert 5.0 < table["limit, awgn, 90 %, three bursts, coherent [dB]"].ours < 8.0
    third = table["given after the third burst, longest [s]"]
    assert -2.0 < third.ours < 2.0
    report = same.as_json(results)
    assert report["sweeps"]["awgn"]["verified"][-1] == 1.0
    assert len(report["limits"]["levels"]) == len(report["limits"]["one burst, coherent"])


def test_the_benchmark_sees_a_liar(few_conditions: dict[str, Condition]) -> None:
    results = same.measure(1, 1, make=saying(given(LIE, 1e-4)), with_peer=False)
    table = by_name(results)
    assert table["wrong headers printed [of 8]"].ours == 8.0
    assert not table["wrong headers printed [of 8]"].met
    assert not table["twist, verified [%]"].met
    assert not table["awgn, 90 % verified [dB Eb/N0]"].met
    assert not table["predicted errors of headers given, their sum"].met
    assert not table["errors of all, observed over predicted"].met
    assert not table["given after the third burst, longest [s]"].met
    report = same.as_json(results)
    assert {wrong["wrong"] for wrong in report["ours"]["wrong"]} == {LIE}
    assert report["figures"][0]["ours"] is None


def test_a_report_becomes_a_picture(few_conditions: dict[str, Condition], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.decoding.plot import draw

    results = same.measure(1, 1, make=saying(), with_peer=False)
    draw(same.as_json(results), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


def test_the_cost_of_decoding_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "sound.raw"
    pcm = encode_transmission(HEADER, RATE_HZ).pcm
    path.write_bytes(as_raw(0.5 * pcm, RATE_HZ))
    cost = cost_of(path, RATE_HZ)
    assert cost.headers == 1
    assert cost.audio_s == pytest.approx(len(pcm) / RATE_HZ, abs=1e-3)
    assert 0.0 < cost.libraries_mib <= cost.loaded_mib <= cost.peak_mib
    assert cost.cpu_s > 0.0 and cost.speed == cost.audio_s / cost.cpu_s


def test_half_of_the_bursts_file_is_bursts(tmp_path: Path) -> None:
    path = tmp_path / "sound.raw"
    seconds = decode_speed.write_raw(path, decode_speed.half_bursts(60, 24.0, 24.0))
    assert seconds == pytest.approx(60.0, abs=30.0)
    pcm = np.frombuffer(path.read_bytes(), "<i2")[: int(seconds * 100) * 220].reshape(-1, 220) / 32768.0
    loud = np.sqrt(np.mean(pcm**2, axis=1)) > 0.1
    assert loud.mean() == pytest.approx(0.5, abs=0.02)


def test_the_quiet_and_the_garbage_file_are_not_silent() -> None:
    for minutes in (decode_speed.quiet_minutes(180), decode_speed.garbage_minutes(120)):
        assert all(0.01 < np.sqrt(np.mean(pcm**2)) < 1.0 for pcm in minutes)


def test_a_file_that_is_missing_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No such file"):
        cost_of(tmp_path / "nothing.raw", RATE_HZ)


def test_the_peak_of_memory_rises_with_what_is_held() -> None:
    before = peak_mib()
    held = np.ones(int(before + 100.0) << 17)
    assert peak_mib() > before + 50.0 and held[-1] == 1.0


def test_both_are_given_the_very_same_transmission() -> None:
    trial = make_trial("awgn", 16.0, 1)
    raw = np.frombuffer(as_raw(trial.pcm, RATE_HZ), "<i2")
    assert np.array_equal(raw.astype(np.float32) / np.float32(32768.0), trial.pcm)
