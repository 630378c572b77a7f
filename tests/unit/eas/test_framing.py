"""A burst's evidence: right in sign, calibrated in size, zero where samples were lost."""

import numpy as np
import pytest

from app_core.eas.channel_fit import fit_channel
from app_core.eas.evidence import coherent_evidence, noncoherent_evidence
from app_core.eas.framing import MARGIN, Burst, Gaps
from app_core.eas.matched_filter import HOP, RATE, SampleHistory
from app_core.eas.noise import fit_side_noise
from app_core.eas.timing import KNOWN_BITS, N_PREAMBLE_BITS, fit_start
from tests.unit.eas.same_audio import HEADER, Pcm, burst, noisy, silence

RATE_HZ = float(RATE)
LEAD = 100
BITS = np.unpackbits(np.frombuffer(HEADER.encode(), np.uint8), bitorder="little").astype(np.int8)
ALL_BITS = np.concatenate([KNOWN_BITS[0][:N_PREAMBLE_BITS], BITS])
LONG = "ZCZC-WXR-TOR-" + "-".join(f"0{i:02d}{i:03d}" for i in range(31)) + "+0045-1232359-KEAX/NWS-"


def history_of(pcm: Pcm) -> SampleHistory:
    history = SampleHistory(60000)
    for start in range(0, len(pcm), HOP):
        history.append(pcm[start : start + HOP])
    return history


def received(pcm: Pcm, gaps: Gaps | None = None, clock: float = 0.0) -> Burst:
    padded = np.concatenate([np.zeros(LEAD, np.float32), pcm, silence(0.5, RATE_HZ)])
    result = Burst(start=float(LEAD), clock=clock, detuning=0.0, limit=1e9)
    result.receive(history_of(padded), gaps or [])
    return result


def ratio(bits: np.ndarray) -> np.ndarray:
    return np.asarray(bits[: len(BITS), 1] - bits[: len(BITS), 0])


def test_clean_evidence_speaks_for_the_bits_and_for_nothing_behind_them() -> None:
    one = received(noisy(burst(HEADER, RATE_HZ), 15.0, rate_hz=RATE_HZ))
    for evidence in (noncoherent_evidence(one), coherent_evidence(one, ALL_BITS)):
        assert np.array_equal(ratio(evidence.bits) > 0, BITS == 1)
        assert evidence.snr_db == pytest.approx(15.0, abs=1.5)
        assert np.all(evidence.bits[len(BITS) + 2 : len(BITS) + 100].max(axis=1) <= 1e-9)


@pytest.mark.parametrize("coherent", [False, True])
def test_ratios_tell_how_often_they_are_wrong(coherent: bool) -> None:
    expected, wrong, n = 0.0, 0, 0
    for seed in range(12):
        one = received(noisy(burst(HEADER, RATE_HZ), 6.0, seed, RATE_HZ))
        evidence = coherent_evidence(one, ALL_BITS) if coherent else noncoherent_evidence(one)
        values = ratio(evidence.bits)
        expected += float((1.0 / (1.0 + np.exp(np.abs(values)))).sum())
        wrong += int(np.sum((values > 0) != (BITS == 1)))
        n += len(values)
    assert wrong / expected == pytest.approx(1.0, abs=0.3)
    # Theory for 6 dB: 0.068 noncoherent, 0.023 coherent.
    assert wrong / n == pytest.approx(0.024 if coherent else 0.069, rel=0.25)


def test_an_impulse_is_not_believed() -> None:
    pcm = noisy(burst(HEADER, RATE_HZ), 20.0, rate_hz=RATE_HZ)
    hit = slice((N_PREAMBLE_BITS + 100) * 16, (N_PREAMBLE_BITS + 121) * 16)
    pcm[hit] = 4.0 * np.random.default_rng(4).standard_normal(hit.stop - hit.start).astype(np.float32)
    values = np.abs(ratio(noncoherent_evidence(received(pcm)).bits))
    assert np.median(values[101:120]) < 2.0
    assert np.median(values[:99]) > 12.0


def test_lost_samples_are_erasures() -> None:
    gap = (LEAD + (N_PREAMBLE_BITS + 100) * 16.0, LEAD + (N_PREAMBLE_BITS + 130) * 16.0)
    one = received(noisy(burst(HEADER, RATE_HZ), 15.0, rate_hz=RATE_HZ), [gap])
    for evidence in (noncoherent_evidence(one), coherent_evidence(one, ALL_BITS)):
        assert not evidence.bits[100:130].any()
        assert np.all(evidence.bits[:98].any(axis=1))


def test_a_burst_ends_at_its_limit() -> None:
    padded = np.concatenate([burst(HEADER, RATE_HZ), silence(0.5, RATE_HZ)])
    one = Burst(start=0.0, clock=0.0, detuning=0.0, limit=200 * 16.0)
    one.receive(history_of(padded), [])
    assert one.correlation.shape == (200, 4)
    assert one.position_of_bit(3) == 48.0
    assert one.origin == -MARGIN


def test_the_clock_is_refined_over_the_whole_burst() -> None:
    one = received(noisy(burst(HEADER, RATE_HZ, 4e-5), 10.0, rate_hz=RATE_HZ))
    one.refine_clock(ALL_BITS)
    assert one.clock == pytest.approx(4e-5, abs=8e-6)


def test_the_start_is_refined_over_the_whole_burst() -> None:
    one = received(noisy(burst(HEADER, RATE_HZ), 12.0, rate_hz=RATE_HZ))
    one.start += 0.6
    one.refine_clock(ALL_BITS)
    assert one.start == pytest.approx(LEAD, abs=0.25)


def test_no_bit_of_one_burst_is_certain() -> None:
    one = received(noisy(burst(HEADER, RATE_HZ), 40.0, rate_hz=RATE_HZ))
    for evidence in (noncoherent_evidence(one), coherent_evidence(one, ALL_BITS)):
        assert np.abs(ratio(evidence.bits)).min() > 12.0
        assert np.abs(ratio(evidence.bits)).max() < 18.1


def test_a_bit_has_no_part_in_its_own_gain() -> None:
    one = received(noisy(burst(HEADER, RATE_HZ), 10.0, rate_hz=RATE_HZ))
    place = N_PREAMBLE_BITS + int(np.flatnonzero(BITS == 1)[40])
    known = np.full(len(one.correlation), -1, np.int8)
    known[: len(ALL_BITS)] = ALL_BITS
    power = (np.abs(one.correlation[:, 2:]) ** 2).sum(axis=1)
    noise = fit_side_noise(power, one.valid, len(ALL_BITS))
    correlation = one.correlation[:, :2].copy()
    before = fit_channel(correlation, known, noise).expected[:, place]
    correlation[place] *= 4.0
    np.testing.assert_allclose(fit_channel(correlation, known, noise).expected[:, place], before, rtol=1e-9)


def test_gains_are_followed_through_a_fade_and_a_turning_phase() -> None:
    pcm = burst(LONG, RATE_HZ)
    pcm *= (1.0 - 0.7 * np.sin(2 * np.pi * 1.5 * np.arange(len(pcm)) / RATE_HZ) ** 2).astype(np.float32)
    bits = np.unpackbits(np.frombuffer(LONG.encode(), np.uint8), bitorder="little").astype(np.int8)
    slow = received(noisy(pcm, 20.0, rate_hz=RATE_HZ), clock=8e-5)
    values = coherent_evidence(slow, np.concatenate([KNOWN_BITS[0][:N_PREAMBLE_BITS], bits])).bits[: len(bits)]
    assert np.mean((values[:, 1] > values[:, 0]) == (bits == 1)) > 0.995


def test_a_detuned_sender_is_followed_to_the_end_of_a_long_burst() -> None:
    everything = np.unpackbits(np.frombuffer(b"\xab" * 16 + LONG.encode(), np.uint8), bitorder="little")
    length = 16.0 / 1.008
    n = int(len(everything) * length)
    cycles = np.where(everything == 1, 4.0, 3.0)[np.minimum((np.arange(n) / length).astype(int), len(everything) - 1)]
    pcm = np.sin(2 * np.pi * np.cumsum(cycles / 16.0)).astype(np.float32)
    pcm = noisy(np.concatenate([np.zeros(LEAD, np.float32), pcm, silence(0.3, RATE_HZ)]), 14.0, rate_hz=RATE_HZ)
    fit = fit_start(pcm[:3000], float(LEAD), 0.0055)
    one = Burst(start=fit.start, clock=fit.clock, detuning=fit.detuning, limit=1e9)
    one.receive(history_of(pcm), [])
    # 0.1 bit over the burst's 2144.
    assert one.clock == pytest.approx(0.008, abs=5e-5)
    bits = everything.astype(np.int8)
    for evidence in (noncoherent_evidence(one), coherent_evidence(one, bits)):
        values = evidence.bits[: len(bits) - N_PREAMBLE_BITS]
        assert np.mean((values[:, 1] > values[:, 0]) == (bits[N_PREAMBLE_BITS:] == 1)) > 0.998


def test_silence_gives_no_evidence() -> None:
    one = received(np.zeros(8000, np.float32))
    assert not noncoherent_evidence(one).bits.any()
    assert not coherent_evidence(one, ALL_BITS).bits.any()
