"""What the audio is worth, at 2.4 MS/s through the whole chain: SINAD, neighbours, threshold, response, stereo.

IQ at 2.4 MS/s goes through `ChannelBank` in blocks of 125,000 samples to audio at 48 kHz. GNU Radio's receivers of
``channels``, with the same filters, get the same IQ where a figure has a peer.

SINAD is the power of everything over the power of everything but the tone, which is fitted and taken out. It is taken
from 50 Hz to 15 kHz at high C/N, and from 300 to 3000 Hz where noise or a neighbour decide. C/N is the power of the
carrier over that of the noise in the channel's bandwidth (16 kHz in NFM). The wanted NFM signal has a tone of 1 kHz at
60 % of the full deviation.

Neighbours are measured in the manner of TIA-603: the wanted signal is 3 dB above the level at which noise alone gives
12 dB of SINAD, and the neighbour, 25 kHz off, is raised until SINAD is back at 12 dB. The rejection is the neighbour's
level over that of the wanted signal at 12 dB. The neighbour has a tone of 400 Hz at 60 % of the full deviation, or is a
plain carrier 24.7 kHz off. Rejections above 130 dB are given as 130.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.demod.channel import ChannelBank, ChannelConfig
from app_core.demod.demodulator import Mode
from app_core.dsp.channelizer import Channelizer, ChannelSpec
from app_core.synth.modulation import emphasis_gain
from benchmarks.channels import APPROACHES, FILTERS
from benchmarks.peers import ask, has_gnuradio
from benchmarks.report import Figure, ceiling, floor

CAVEATS = (
    "generated IQ: no receiver's phase noise, no ADC; noise and signals are the same in every run",
    "high C/N is 60 dB in the channel's bandwidth",
    "the threshold of GNU Radio is that of its freq_xlating_fir_filter with the same filters",
    "stereo is taken behind channel filter and demodulator, before the resampling of the audio",
    "no psophometric weighting: white from 300 to 3000 Hz, for ours and the peer",
)

RATE_HZ = 2_400_000
AUDIO_RATE_HZ = 48_000
OFFSET_HZ = 325_000.0
"""Where the wanted signal lies: on the raster that GNU Radio's channeliser needs, between the bins of our FFT."""

NEIGHBOUR_HZ = 25_000.0
PLAIN_NEIGHBOUR_HZ = 24_700.0
"""Where the plain carrier lies: at 25 kHz the alias of what is left of it would hide under the tone."""

TONE_HZ = 1_000.0
HIGH_CN_DB = 60.0
WFM_RATE_HZ = 256_000.0
RESPONSE_HZ = (300.0, 400.0, 500.0, 700.0, 1_000.0, 1_400.0, 2_000.0, 2_500.0, 3_000.0)
SEPARATION_HZ = (100.0, 400.0, 1_000.0, 3_000.0, 6_000.0, 10_000.0)

_CENTER_HZ = 162_000_000.0
_BLOCK_SAMPLES = 125_000
_SETTLE_S = 0.3
_MEASURED_S = 2.0
_NFM_BANDWIDTH_HZ = 16_000.0
_NFM_DEVIATION_HZ = 3_000.0
_THRESHOLD_CN_DB = (*map(float, range(15)), 20.0, 24.0)
_NEIGHBOUR_DB = tuple(map(float, range(60, 131, 5)))
_SPEECH_HZ = (300.0, 3_000.0)
_AUDIO_HZ = (50.0, 15_000.0)
_TARGET_DB = 12.0
_SEED = 5


def _time_s() -> NDArray[np.float64]:
    return np.arange(round((_SETTLE_S + _MEASURED_S + 0.1) * RATE_HZ)) / RATE_HZ


def _carrier(turns: NDArray[np.float64], envelope: NDArray[np.float64] | float = 1.0) -> NDArray[np.complex64]:
    """IQ of a phase [turns] and an amplitude, both of shape (n,)."""
    return np.asarray(envelope * np.exp(2j * np.pi * (turns % 1.0)), dtype=np.complex64)


@cache
def noise() -> NDArray[np.complex64]:
    """White noise of power 1, as long as the signals."""
    n_samples = _time_s().shape[0]
    flat = np.random.default_rng(_SEED).standard_normal(2 * n_samples, dtype=np.float32)
    flat *= np.float32(np.sqrt(0.5))
    unit: NDArray[np.complex64] = flat.view(np.complex64)
    return unit


def noise_gain(cn_db: float, bandwidth_hz: float, carrier: float = 1.0) -> float:
    """Gain of `noise` that gives a C/N in `bandwidth_hz` to a carrier of this amplitude."""
    return float(carrier * np.sqrt(10.0 ** (-cn_db / 10.0) * RATE_HZ / bandwidth_hz))


def mix(
    signal: NDArray[np.complex64], other: NDArray[np.complex64], gain: float, level: float | None = None
) -> NDArray[np.complex64]:
    """``level * (signal + gain * other)``; without a level, one that keeps 10 dB below full scale."""
    scale = 0.3 / (1.0 + gain) if level is None else level
    return np.asarray(np.float32(scale) * (signal + np.float32(gain) * other), dtype=np.complex64)


def fm(deviations_hz: Sequence[tuple[float, float]], offset_hz: float = OFFSET_HZ) -> NDArray[np.complex64]:
    """An FM carrier of amplitude 1, modulated by tones, each given as frequency and peak deviation [Hz]."""
    time_s = _time_s()
    turns = offset_hz * time_s
    for tone_hz, deviation_hz in deviations_hz:
        turns -= deviation_hz / tone_hz / (2.0 * np.pi) * np.cos(2.0 * np.pi * tone_hz * time_s)
    return _carrier(turns)


def stereo(left_hz: float) -> NDArray[np.complex64]:
    """Broadcast FM with a tone on the left alone (ITU-R BS.450-4, pilot-tone system), at the full deviation.

    The multiplex is ``0.45 tone + 0.1 sin(pilot) + 0.45 tone sin(2 pilot)``, and each of its terms is a sum of tones,
    whose phase can be written down exactly.
    """
    time_s = _time_s()

    def swing(frequency_hz: float, share: float, shift: float = 0.0) -> NDArray[np.float64]:
        """Phase of ``share * cos(2 pi frequency t + shift)``. [turns]"""
        phase = 2.0 * np.pi * frequency_hz * time_s + shift
        return 75_000.0 * share / (2.0 * np.pi * frequency_hz) * np.sin(phase)

    turns = OFFSET_HZ * time_s
    turns += swing(left_hz, 0.45, -np.pi / 2.0) + swing(19_000.0, 0.1, -np.pi / 2.0)
    turns += swing(38_000.0 - left_hz, 0.225) - swing(38_000.0 + left_hz, 0.225)
    return _carrier(turns)


def amplitude_modulated(mode: Mode) -> NDArray[np.complex64]:
    """A carrier of amplitude 1 with a tone of 1 kHz at 80 %, or the tone alone on one side of it."""
    time_s = _time_s()
    if mode in ("am", "sam"):
        turns, envelope = OFFSET_HZ * time_s, 1.0 + 0.8 * np.sin(2.0 * np.pi * TONE_HZ * time_s)
    else:
        turns, envelope = (OFFSET_HZ + (TONE_HZ if mode == "usb" else -TONE_HZ)) * time_s, np.ones_like(time_s)
    return _carrier(turns, envelope)


def config_of(mode: Mode, **settings: object) -> ChannelConfig:
    """The channel at `OFFSET_HZ`, with the mode's defaults."""
    fixed = {"id": "wanted", "receiver_id": "bench", "frequency_hz": _CENTER_HZ + OFFSET_HZ, "mode": mode}
    return ChannelConfig.model_validate({**fixed, "audio_rate_hz": AUDIO_RATE_HZ, **settings})


def receive(iq: NDArray[np.complex64], config: ChannelConfig) -> NDArray[np.float64]:
    """Audio of the whole chain, shape (n,), without what comes before `_SETTLE_S`."""
    bank = ChannelBank([config])
    pieces = []
    for first_sample in range(0, iq.shape[0], _BLOCK_SAMPLES):
        part = iq[first_sample : first_sample + _BLOCK_SAMPLES]
        block = IqBlock(part, float(RATE_HZ), _CENTER_HZ, first_sample, first_sample / RATE_HZ, 1)
        pieces += [audio.pcm for _, audio in bank.push(block)]
    return _measured(np.concatenate(pieces), AUDIO_RATE_HZ)


def _measured(audio: NDArray[np.float32], rate_hz: float) -> NDArray[np.float64]:
    first = round(_SETTLE_S * rate_hz)
    return audio[first : first + round(_MEASURED_S * rate_hz)].astype(np.float64)


def tone_frequency_hz(audio: NDArray[np.float64], tone_hz: float = TONE_HZ) -> float:
    """Frequency of a tone near `tone_hz`, from how its phase goes on from the first half to the second."""
    half = audio.shape[0] // 2
    turn = np.exp(-2j * np.pi * tone_hz * np.arange(2 * half) / AUDIO_RATE_HZ) * np.tile(np.hanning(half), 2)
    mixed = audio[: 2 * half] * turn
    step = np.angle(mixed[half:].sum() * np.conj(mixed[:half].sum()))
    return float(tone_hz + step / (2.0 * np.pi) * AUDIO_RATE_HZ / half)


def sinad_db(audio: NDArray[np.float64], band_hz: tuple[float, float]) -> float:
    """SINAD of a tone of 1 kHz, within a band. [dB]"""
    phase = 2.0 * np.pi * tone_frequency_hz(audio) * np.arange(audio.shape[0]) / AUDIO_RATE_HZ
    basis = np.stack((np.sin(phase), np.cos(phase), np.ones_like(phase)), axis=1)
    rest = audio - basis @ np.linalg.lstsq(basis, audio)[0]
    frequency_hz = np.fft.rfftfreq(audio.shape[0], 1.0 / AUDIO_RATE_HZ)
    inside = (frequency_hz >= band_hz[0]) & (frequency_hz <= band_hz[1])
    total, left = (float(np.sum(np.abs(np.fft.rfft(each)[inside]) ** 2)) for each in (audio, rest))
    return float(10.0 * np.log10(total / left))


def tone_levels_db(audio: NDArray[np.float64], tones_hz: Sequence[float], rate_hz: float) -> NDArray[np.float64]:
    """Levels of tones of whole half-hertz, shape (n_tones,). [dB]"""
    spectrum = np.abs(np.fft.rfft(audio))
    bins = [round(tone_hz * audio.shape[0] / rate_hz) for tone_hz in tones_hz]
    return np.asarray(20.0 * np.log10(spectrum[bins]))


def falls_to(levels: Sequence[float], sinads_db: Sequence[float], target_db: float = _TARGET_DB) -> float:
    """Level at which SINAD passes `target_db`, between the last two points around it.

    Where it is above at every point, the last of `levels`; where it is below at every point, NaN.
    """
    above = np.asarray(sinads_db) >= target_db
    changes = np.flatnonzero(above[1:] != above[:-1])
    if changes.size == 0:
        return float(levels[-1]) if above.all() else float("nan")
    k = int(changes[-1])
    share = (target_db - sinads_db[k]) / (sinads_db[k + 1] - sinads_db[k])
    return float(levels[k] + share * (levels[k + 1] - levels[k]))


def departs_at(cns_db: Sequence[float], sinads_db: Sequence[float]) -> float:
    """C/N at which the tone over the noise is 1 dB below the straight line through the two points of highest C/N."""
    snr_db = 10.0 * np.log10(10.0 ** (np.asarray(sinads_db) / 10.0) - 1.0)
    line_db = np.asarray(cns_db) + np.mean(snr_db[-2:] - np.asarray(cns_db)[-2:])
    return falls_to(cns_db, list(snr_db - line_db), -1.0)


@dataclass(frozen=True, slots=True)
class Peer:
    """GNU Radio, which reads its IQ from files in a folder.

    Attributes
    ----------
    folder
        Where they are.
    """

    folder: Path

    def sinads_db(
        self, approach: str, signal: NDArray[np.complex64], other: NDArray[np.complex64], gains: Sequence[float]
    ) -> list[float]:
        """SINAD of ``signal + gain * other`` for each gain, from 300 to 3000 Hz. [dB]"""
        paths = [self.folder / name for name in ("signal.cf32", "other.cf32")]
        for path, iq in zip(paths, (signal, other), strict=True):
            iq.tofile(path)
        audio = [str(self.folder / f"{number}.f32") for number in range(len(gains))]
        runs = [
            {"parts": [[str(paths[0]), 1.0], [str(paths[1]), gain]], "approach": approach, "audio": name}
            for gain, name in zip(gains, audio, strict=True)
        ]
        ask("gnuradio_quality", {"filters": FILTERS, "offset_hz": OFFSET_HZ, "runs": runs})
        return [sinad_db(_measured(np.fromfile(name, np.float32), AUDIO_RATE_HZ), _SPEECH_HZ) for name in audio]


def our_sinads_db(signal: NDArray[np.complex64], other: NDArray[np.complex64], gains: Sequence[float]) -> list[float]:
    """As `Peer.sinads_db`, ours."""
    config = config_of(Mode.NFM)
    return [sinad_db(receive(mix(signal, other, gain), config), _SPEECH_HZ) for gain in gains]


def _beside(name: str, ours: float, peer: float | None, target: str, met: bool) -> Figure:
    return Figure(name, ours, peer, None, target, met)


def _high_cn() -> Iterator[Figure]:
    """SINAD of each mode, and the frequency of its tone."""
    targets = {"nfm": 45.0, "wfm": 55.0, "am": 45.0, "sam": 45.0, "usb": 45.0, "lsb": 45.0}
    known = {mode.value for mode in Mode}
    for name, least_db in targets.items():
        if name not in known:
            print(f"{name}: not measured: there is no such mode", file=sys.stderr)
            continue
        mode = Mode(name)
        config = config_of(mode)
        is_fm = name in ("nfm", "wfm")
        signal = fm([(TONE_HZ, 0.6 * config.deviation_hz)]) if is_fm else amplitude_modulated(mode)
        audio = receive(mix(signal, noise(), noise_gain(HIGH_CN_DB, config.bandwidth_hz)), config)
        yield floor(f"SINAD, {name} [dB]", sinad_db(audio, _AUDIO_HZ), least_db)
        off_hz = abs(tone_frequency_hz(audio) - TONE_HZ)
        yield ceiling(f"error of the tone of 1000 Hz, {name} [Hz]", off_hz, 0.1)


def _separation() -> Iterator[Figure]:
    """Level of a tone of the left on the left over that on the right, behind the channel's filter."""
    if "wfm" not in {mode.value for mode in Mode}:
        print("stereo: not measured: there is no mode wfm", file=sys.stderr)
        return
    from app_core.demod.wfm import WfmDemodulator

    spec = ChannelSpec(OFFSET_HZ, config_of(Mode("wfm")).bandwidth_hz, WFM_RATE_HZ)
    separations_db: list[float] = []
    for left_hz in SEPARATION_HZ:
        channelizer = Channelizer(float(RATE_HZ), [spec])
        demodulator = WfmDemodulator(WFM_RATE_HZ)
        iq = mix(stereo(left_hz), noise(), noise_gain(HIGH_CN_DB, spec.bandwidth_hz))
        pieces = [
            demodulator.push(channelizer.push(iq[first : first + _BLOCK_SAMPLES])[0])
            for first in range(0, iq.shape[0], _BLOCK_SAMPLES)
        ]
        sides = _measured(np.concatenate(pieces), demodulator.audio_rate_hz)
        left_db, right_db = (tone_levels_db(side, (left_hz,), demodulator.audio_rate_hz)[0] for side in sides.T)
        separations_db.append(float(left_db - right_db))
    yield floor("stereo separation at 1 kHz [dB]", separations_db[SEPARATION_HZ.index(TONE_HZ)], 40.0)
    yield floor("stereo separation, least of 100 Hz to 10 kHz [dB]", min(separations_db), 40.0)


def _response() -> Iterator[Figure]:
    """Level of tones that were sent with the pre-emphasis of 6 dB an octave from 300 Hz, against 1 kHz."""
    sent = [(tone_hz, 300.0 * emphasis_gain(tone_hz)) for tone_hz in RESPONSE_HZ]
    iq = mix(fm(sent), noise(), noise_gain(HIGH_CN_DB, _NFM_BANDWIDTH_HZ))
    levels_db = tone_levels_db(receive(iq, config_of(Mode.NFM)), RESPONSE_HZ, AUDIO_RATE_HZ)
    off_db = levels_db - levels_db[RESPONSE_HZ.index(TONE_HZ)]
    yield ceiling("audio response 300-3000 Hz, farthest from 1 kHz [dB]", float(np.abs(off_db).max()), 1.0)


def _threshold(peer: Peer | None) -> Iterator[Figure]:
    """C/N of 12 dB SINAD, and of 1 dB below the straight line."""
    signal = fm([(TONE_HZ, _NFM_DEVIATION_HZ)])
    gains = [noise_gain(cn_db, _NFM_BANDWIDTH_HZ) for cn_db in _THRESHOLD_CN_DB]
    ours_db = our_sinads_db(signal, noise(), gains)
    peers_db = None if peer is None else peer.sinads_db("fir", signal, noise(), gains)
    for find, name in ((falls_to, "C/N of 12 dB SINAD, nfm [dB]"), (departs_at, "C/N 1 dB off the line, nfm [dB]")):
        ours = find(_THRESHOLD_CN_DB, ours_db)
        theirs = None if peers_db is None else find(_THRESHOLD_CN_DB, peers_db)
        yield _beside(name, ours, theirs, "<= peer + 1", theirs is not None and ours <= theirs + 1.0)


def _neighbours(peer: Peer | None) -> Iterator[Figure]:
    """Adjacent channel rejection, the worse of both sides for ours; GNU Radio's on the upper side."""
    signal = fm([(TONE_HZ, _NFM_DEVIATION_HZ)])
    gains = [noise_gain(cn_db, _NFM_BANDWIDTH_HZ) for cn_db in _THRESHOLD_CN_DB]
    sensitivity_db = falls_to(_THRESHOLD_CN_DB, our_sinads_db(signal, noise(), gains))
    wanted = mix(signal, noise(), noise_gain(sensitivity_db + 3.0, _NFM_BANDWIDTH_HZ), 1.0)
    # The wanted signal has amplitude 1 and is 3 dB above the sensitivity, which the neighbour's level is counted from.
    gains = [10.0 ** ((level_db - 3.0) / 20.0) for level_db in _NEIGHBOUR_DB]
    kinds: tuple[tuple[str, float, list[tuple[float, float]]], ...] = (
        ("plain carrier", PLAIN_NEIGHBOUR_HZ, []),
        ("modulated", NEIGHBOUR_HZ, [(400.0, _NFM_DEVIATION_HZ)]),
    )
    for words, distance_hz, tones in kinds:
        ours = min(
            falls_to(_NEIGHBOUR_DB, our_sinads_db(wanted, fm(tones, OFFSET_HZ + side_hz), gains))
            for side_hz in (distance_hz, -distance_hz)
        )
        yield floor(f"adjacent channel rejection, {words} [dB]", ours, 70.0)
        if peer is None or not tones:
            continue
        for approach in APPROACHES:
            sinads_db = peer.sinads_db(approach, wanted, fm(tones, OFFSET_HZ + NEIGHBOUR_HZ), gains)
            theirs = falls_to(_NEIGHBOUR_DB, sinads_db)
            yield _beside(f"the same, peer {approach} [dB]", ours, theirs, "-", True)


def run() -> Iterator[Figure]:
    """Measure all of it."""
    yield from _high_cn()
    yield from _separation()
    yield from _response()
    with tempfile.TemporaryDirectory(prefix="herald-bench-") as folder:
        peer = Peer(Path(folder)) if has_gnuradio() else None
        yield from _threshold(peer)
        yield from _neighbours(peer)
