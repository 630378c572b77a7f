"""What people hear of a channel beside what its decoder hears: squelch, tone squelch, stereo; cut anywhere."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock, PcmBlock
from app_core.demod.chain import Chain
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig
from app_core.demod.channel_squelch import ChannelSquelch
from app_core.demod.demodulator import make_demodulator
from app_core.demod.gate import Gate
from tests.support.signals import audio_tone, complex_noise, fm_modulate

CENTER_HZ = 162_487_500.0
RATE_HZ = 250_000
OFFSET_HZ = 12_500.0


def _config(channel_id: str = "c", **settings: Any) -> ChannelConfig:
    table = {"id": channel_id, "receiver_id": "rx", "frequency_hz": CENTER_HZ + OFFSET_HZ, "audio_rate_hz": 24_000}
    return ChannelConfig.model_validate(table | settings)


def _on_and_off(seconds: float = 1.5, tone_hz: float | None = None) -> NDArray[np.complex64]:
    """Noise, a carrier with a tone of 1 kHz (and one below the voice), and noise again."""
    n = round(seconds * RATE_HZ)
    audio = 0.5 * audio_tone(1000.0, RATE_HZ, n, 1.0)
    if tone_hz is not None:
        audio = audio + audio_tone(tone_hz, RATE_HZ, n, 0.15)
    carrier = fm_modulate(audio, RATE_HZ, 5_000.0) * np.exp(2j * np.pi * OFFSET_HZ / RATE_HZ * np.arange(n))
    iq = complex_noise(3 * n, 1e-6, 5)
    iq[n : 2 * n] += (0.1 * carrier).astype(np.complex64)
    return np.asarray(iq, dtype=np.complex64)


def _hear(
    bank: ChannelBank, iq: NDArray[np.complex64], cuts: list[int] | None = None, rate_hz: float = RATE_HZ
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """Give what the decoder and what people hear of each channel; both stand at the same samples."""
    edges = [0, *sorted(cuts or []), len(iq)]
    decoded: list[tuple[str, PcmBlock]] = []
    listening: list[tuple[str, PcmBlock]] = []
    for start, stop in pairwise(edges):
        block = IqBlock(iq[start:stop], rate_hz, CENTER_HZ, start, 1e9 + start / rate_hz, 1)
        decoded += bank.push(block)
        listening += bank.take_listening()
    decoded += bank.flush()
    listening += bank.take_listening()
    places = {(channel_id, block.first_sample): len(block.pcm) for channel_id, block in decoded}
    assert all(places[channel_id, block.first_sample] == len(block.pcm) for channel_id, block in listening)
    return _joined(decoded), _joined(listening)


def _joined(blocks: list[tuple[str, PcmBlock]]) -> dict[str, NDArray[np.float32]]:
    ids = dict.fromkeys(channel_id for channel_id, _ in blocks)
    return {name: np.concatenate([block.pcm for channel_id, block in blocks if channel_id == name]) for name in ids}


def _rms(pcm: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(pcm.astype(np.float64)).mean()))


@pytest.mark.parametrize("mode", ["snr", "noise"])
def test_people_hear_the_carrier_and_the_decoder_hears_all(mode: str) -> None:
    bank = ChannelBank([_config(squelch={"mode": mode})], listen=True)
    decoded, listening = _hear(bank, _on_and_off())
    pcm, heard = decoded["c"], listening["c"]
    assert pcm.shape == heard.shape == (108_000,)
    assert _rms(pcm[:30_000]) > 0.1, "the decoder hears the noise"
    assert not heard[:35_900].any()
    assert np.array_equal(heard[45_000:70_000], pcm[45_000:70_000])
    # The tail, and then nothing.
    assert not heard[-20_000:].any()
    assert bank.levels()["c"]["squelch_open"] is False


def test_cuts_change_nothing_of_what_people_hear() -> None:
    iq = _on_and_off(0.6)
    settings: dict[str, Any] = {"squelch": {"mode": "snr"}, "ctcss_hz": 100.0}
    _, whole = _hear(ChannelBank([_config(**settings)], listen=True), iq)
    cuts = np.random.default_rng(3).integers(0, len(iq), 40).tolist()
    _, parts = _hear(ChannelBank([_config(**settings)], listen=True), iq, cuts)
    assert np.allclose(parts["c"], whole["c"], atol=1e-6)
    assert whole["c"].shape == parts["c"].shape


def test_a_tone_squelch_waits_for_its_tone_and_takes_it_out() -> None:
    for tone_hz, is_heard in ((100.0, True), (None, False), (107.2, False)):
        bank = ChannelBank([_config(ctcss_hz=100.0)], listen=True)
        decoded, listening = _hear(bank, _on_and_off(1.5, tone_hz))
        heard = listening["c"][50_000:70_000]
        assert (_rms(heard) > 0.05) is is_heard
        if is_heard:
            spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
            loud = np.abs(np.fft.rfft(decoded["c"][50_000:70_000] * np.hanning(len(heard))))
            at = round(100.0 * len(heard) / 24_000)
            assert spectrum[at - 3 : at + 4].max() < 0.02 * loud[at - 3 : at + 4].max()


def test_a_channel_without_a_gate_is_heard_as_the_decoder_hears_it_and_nobody_listening_costs_nothing() -> None:
    _, listening = _hear(ChannelBank([_config()], listen=True), _on_and_off(0.2))
    assert listening == {}
    _, listening = _hear(ChannelBank([_config(squelch={"mode": "snr"})]), _on_and_off(0.2))
    assert listening == {}


def test_a_squelch_that_is_changed_while_it_runs_leaves_the_decoder_alone() -> None:
    iq = _on_and_off(0.8)
    alone, _ = _hear(ChannelBank([_config()], listen=True), iq, [100_000])
    bank = ChannelBank([_config()], listen=True)
    decoded, listening = [], []
    for number, start in enumerate(range(0, len(iq), 50_000)):
        if number == 2:
            assert bank.configure([_config(squelch={"mode": "snr"})]) == []
        if number == 9:
            bank.configure([_config(squelch={"mode": "off"}, name="open")])
        block = IqBlock(iq[start : start + 50_000], RATE_HZ, CENTER_HZ, start, 1e9, 1)
        decoded += bank.push(block)
        listening += bank.take_listening()
    decoded += bank.flush()
    assert np.array_equal(_joined(decoded)["c"], alone["c"])
    firsts = [block.first_sample for _, block in listening]
    assert 9_000 < firsts[0] < 9_700, "from the change on"
    assert firsts[-1] < 43_200, "until the next one"
    heard = _joined(listening)["c"]
    assert heard[:480].any(), "it goes on as it was until it has been judged"
    assert not heard[2_400:9_000].any()
    assert _rms(heard[14_000:28_000]) > 0.1


def _keyed(seconds: float, rate_hz: int) -> NDArray[np.complex64]:
    """A carrier that comes and goes every third of a second, in noise, in the middle of the channel."""
    n = round(seconds * rate_hz)
    is_on = np.arange(n) // (rate_hz // 3) % 2 == 1
    return np.asarray(complex_noise(n, 1e-6, 8) + 0.1 * is_on, dtype=np.complex64)


@pytest.mark.parametrize("n_before", [0, 5, 7_777])
@pytest.mark.parametrize(("audio_rate_hz", "decimation"), [(8_000, 1), (22_050, 1), (48_000, 1), (8_000, 2)])
def test_a_sample_of_audio_takes_the_gain_that_stands_at_it(audio_rate_hz: int, decimation: int, n_before: int) -> None:
    iq_rate_hz, n = 24_000, 60_000
    config = _config(audio_rate_hz=audio_rate_hz, squelch={"mode": "snr", "tail_s": 0.05})
    iq = _keyed(n / iq_rate_hz, iq_rate_hz)
    squelch = ChannelSquelch(config, iq_rate_hz, decimation, is_open=n_before > 0)
    gains = squelch.push(iq[n_before:])
    gate = Gate(config, iq_rate_hz, decimation, n_before)
    heard, first = [], n_before * audio_rate_hz // iq_rate_hz
    for start, stop in pairwise([n_before, *range(n_before + 1_111, n, 3_333), n]):
        gate.judge(iq[start:stop])
        # The audio comes out of its filters later.
        last = max((stop - 500) * audio_rate_hz // iq_rate_hz, first)
        heard.append(gate.apply(np.ones((1, last - first), dtype=np.float32), first)[0])
        first = last
    places = np.arange(first - sum(map(len, heard)), first) * iq_rate_hz // (audio_rate_hz * decimation)
    wanted = gains[np.maximum(places - -(-n_before // decimation), 0)]
    assert 0.2 < wanted.mean() < 0.8
    np.testing.assert_array_equal(np.concatenate(heard), wanted)
    assert gate.readings() == {"squelch_open": squelch.is_open, "squelch_db": squelch.judged_db}


@pytest.mark.parametrize("mode", ["nfm", "am", "usb"])
@pytest.mark.parametrize("n_before", [0, 12_345])
def test_the_gain_falls_on_the_audio_of_the_iq_that_was_judged(mode: str, n_before: int) -> None:
    rate_hz = 24_000
    silent, squelched = (_config(mode=mode, squelch={"mode": state}) for state in ("off", "snr"))
    chain = Chain([silent if n_before else squelched], [0], listen=True)
    iq = (_keyed(2.5, rate_hz) * np.exp(2j * np.pi * 1_000.0 / rate_hz * np.arange(60_000))).astype(np.complex64)
    chain.push(iq[None, :n_before])
    _, before, _ = chain.collect()
    chain.rename([squelched])
    chain.push(iq[None, n_before:])
    first, pcm, (heard,) = chain.collect()
    assert first == before.shape[1]
    assert heard is not None
    gains = ChannelSquelch(squelched, rate_hz, 1, is_open=n_before > 0).push(iq[n_before:])
    late = round(make_demodulator(squelched, rate_hz).delay_s * rate_hz)
    assert (late > 100) is (mode != "nfm")
    places = np.arange(first, first + len(heard)) + late - n_before
    np.testing.assert_array_equal(heard, pcm[0] * gains[np.maximum(places, 0)])


@pytest.mark.parametrize(
    "squelch", [{"mode": "noise", "open_db": 9.0}, {"mode": "snr"}, {"mode": "noise", "tail_s": 1}]
)
def test_another_squelch_does_not_click_on_an_open_carrier(squelch: dict[str, Any]) -> None:
    iq = _on_and_off(1.0, 100.0)[RATE_HZ // 2 : RATE_HZ * 2]
    iq[: RATE_HZ // 2] += (0.1 * np.exp(2j * np.pi * OFFSET_HZ / RATE_HZ * np.arange(RATE_HZ // 2))).astype(
        np.complex64
    )
    bank = ChannelBank([_config(squelch={"mode": "noise"}, ctcss_hz=100.0)], listen=True)
    decoded, listening = [], []
    for start in range(0, len(iq), 12_500):
        if start == RATE_HZ * 5 // 4:
            bank.configure([_config(squelch=squelch, ctcss_hz=100.0)])
        decoded += bank.push(IqBlock(iq[start : start + 12_500], RATE_HZ, CENTER_HZ, start, 1e9, 1))
        listening += bank.take_listening()
    heard = _joined(listening)["c"]
    # The tone is found within half a second of its beginning; a gate that began anew would wait for it again.
    before, after = heard[27_600:29_400], heard[29_400:35_000]
    assert _rms(before) == pytest.approx(_rms(after), rel=0.05)
    assert np.abs(np.diff(after)).max() < 1.05 * np.abs(np.diff(before)).max()


@pytest.mark.parametrize("mode", ["usb", "lsb"])
def test_the_other_sideband_does_not_open_the_squelch(mode: str) -> None:
    n = 4 * RATE_HZ
    time_s = np.arange(n) / RATE_HZ
    voice = np.where((time_s > 2.0) & (time_s < 3.5), 1e-2, 0.0) * np.exp(2j * np.pi * (OFFSET_HZ + 1_000.0) * time_s)
    voice += np.where((time_s > 2.0) & (time_s < 3.5), 1e-2, 0.0) * np.exp(2j * np.pi * (OFFSET_HZ + 1_700.0) * time_s)
    iq = (voice + complex_noise(n, 1e-6, seed=9)).astype(np.complex64)
    bank = ChannelBank([_config(mode=mode, squelch={"mode": "snr"})], listen=True)
    _, listening = _hear(bank, iq)
    heard = listening["c"]
    if mode == "lsb":
        assert not heard.any()
        return
    assert not heard[:47_000].any()
    assert _rms(heard[54_000:83_000]) > 0.1
    assert not heard[-1_200:].any()


def test_broadcast_stereo_is_heard_in_stereo_and_decoded_in_mono() -> None:
    rate_hz = 1_000_000
    n = rate_hz // 2
    left, right = audio_tone(1000.0, rate_hz, n, 0.4), audio_tone(3000.0, rate_hz, n, 0.4)
    phase = 2.0 * np.pi * 19_000.0 / rate_hz * np.arange(n)
    multiplex = 0.45 * (left + right) + 0.1 * np.sin(phase) + 0.45 * (left - right) * np.sin(2.0 * phase)
    iq = fm_modulate(multiplex, rate_hz, 75_000.0)
    config = ChannelConfig.model_validate(
        {"id": "c", "receiver_id": "rx", "frequency_hz": CENTER_HZ, "mode": "wfm", "stereo": True, "deemphasis_us": 0}
        | {"audio_rate_hz": 48_000, "squelch": {"mode": "noise"}}
    )
    bank = ChannelBank([config], listen=True)
    decoded, listening = _hear(bank, np.asarray(iq, dtype=np.complex64), [77_777, 300_001], rate_hz)
    pcm, heard = decoded["c"], listening["c"]
    assert (pcm.ndim, heard.ndim, heard.shape[1], len(heard)) == (1, 2, 2, len(pcm))
    sides = heard[12_000:]
    assert np.allclose(sides.mean(axis=1), pcm[12_000:], atol=1e-6)
    window = np.hanning(len(sides))
    spectra = np.abs(np.fft.rfft(sides * window[:, None], axis=0))
    one, three = (round(hz * len(sides) / 48_000) for hz in (1000, 3000))
    assert spectra[one, 0] > 100.0 * spectra[one, 1]
    assert spectra[three, 1] > 100.0 * spectra[three, 0]
