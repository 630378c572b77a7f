"""Even loudness: it comes to its target, rests in silence, never passes the ceiling, and loses no sample."""

from __future__ import annotations

import itertools

import numpy as np
import pyebur128
import pytest
from numpy.typing import NDArray

from app_core.audio.loudness import (
    CEILING_DBFS,
    LOWER_DB_PER_S,
    MAX_GAIN_DB,
    RAISE_DB_PER_S,
    RELEASE_DB_PER_S,
    LoudnessLeveler,
)
from app_core.base.blocks import PcmBlock

RATE_HZ = 24_000
CEILING = 10.0 ** (CEILING_DBFS / 20.0)

Pcm = NDArray[np.float32]


def _speech(seconds: float, level_dbfs: float, seed: int = 1) -> Pcm:
    """Noise in syllables: four a second."""
    n = round(seconds * RATE_HZ)
    noise = np.random.default_rng(seed).normal(0.0, 1.0, n)
    syllables = 0.6 + 0.4 * np.sin(2.0 * np.pi * 4.0 * np.arange(n) / RATE_HZ)
    return np.asarray(noise * syllables * 10.0 ** (level_dbfs / 20.0), dtype=np.float32)


def _block(pcm: Pcm, first_sample: int = 0, *, rate_hz: float = RATE_HZ, epoch: int = 1) -> PcmBlock:
    return PcmBlock(pcm, rate_hz, first_sample, 1000.0 + first_sample / rate_hz, epoch)


def _joined(blocks: list[PcmBlock]) -> Pcm:
    return np.concatenate([block.pcm for block in blocks])


def _leveled(leveler: LoudnessLeveler, pcm: Pcm, cuts: list[int] | None = None) -> list[PcmBlock]:
    edges = [0, *(cuts or []), len(pcm)]
    blocks = []
    for start, stop in itertools.pairwise(edges):
        blocks += leveler.push(_block(pcm[start:stop], start))
    return [*blocks, *leveler.flush()]


def _loudness_of(pcm: Pcm) -> float:
    n_channels = 1 if pcm.ndim == 1 else pcm.shape[1]
    meter = pyebur128.R128State(n_channels, RATE_HZ, pyebur128.MeasurementMode.MODE_I)
    meter.add_frames(np.ascontiguousarray(pcm).reshape(-1), pcm.shape[0])
    loudness: float = pyebur128.get_loudness_global(meter)
    return loudness


@pytest.mark.parametrize("level_dbfs", [-40.0, -28.0, -14.0])
def test_it_comes_to_its_target_and_stays(level_dbfs: float) -> None:
    leveler = LoudnessLeveler(-20.0)
    leveled = _joined(_leveled(leveler, _speech(25.0, level_dbfs)))
    assert _loudness_of(leveled[-8 * RATE_HZ :]) == pytest.approx(-20.0, abs=1.0)
    assert leveler.loudness_lufs == pytest.approx(-20.0 - leveler.gain_db, abs=1.0)


def test_the_gain_has_a_limit_and_moves_slowly() -> None:
    leveler = LoudnessLeveler(-16.0)
    quiet = _speech(30.0, -47.0)
    blocks = leveler.push(_block(quiet[: 4 * RATE_HZ]))
    assert 0.0 < leveler.gain_db <= 8.0
    blocks += leveler.push(_block(quiet[4 * RATE_HZ :], 4 * RATE_HZ))
    assert leveler.gain_db == MAX_GAIN_DB
    assert _joined(blocks).shape[0] > 29.9 * RATE_HZ


def test_the_gain_rises_by_2_and_falls_by_6_db_a_second() -> None:
    leveler = LoudnessLeveler(-20.0)
    pcm = np.concatenate([_speech(8.0, -40.0), _speech(8.0, -6.0)])
    gains_db = []
    step = RATE_HZ // 10
    for start in range(0, len(pcm), step):
        leveler.push(_block(pcm[start : start + step], start))
        gains_db.append(leveler.gain_db)
    changes_db = 10.0 * np.diff(gains_db)
    assert changes_db.max() == pytest.approx(RAISE_DB_PER_S) == pytest.approx(2.0)
    assert changes_db.min() == pytest.approx(-LOWER_DB_PER_S) == pytest.approx(-6.0)


def test_the_limiter_lets_go_of_a_peak_by_60_db_a_second() -> None:
    leveler = LoudnessLeveler(-20.0)
    begin = 20 * RATE_HZ
    pcm = _speech(22.0, -40.0)
    # So short that it does not count as loud.
    pcm[begin] = 0.9
    leveled = _joined(_leveled(leveler, pcm))
    is_heard = np.abs(pcm) > 1e-3
    places = np.flatnonzero(is_heard)
    gains_db = 20.0 * np.log10(leveled[is_heard] / pcm[is_heard])

    def gain_db(after_s: float) -> float:
        return float(np.interp(begin + after_s * RATE_HZ, places, gains_db))

    lowered_db = gain_db(-0.1) - gain_db(0.0)
    assert lowered_db == pytest.approx(20.0 * np.log10(0.9) + gain_db(-0.1) - CEILING_DBFS, abs=0.3)
    assert gain_db(0.25) - gain_db(0.15) == pytest.approx(0.1 * RELEASE_DB_PER_S, abs=0.3)
    assert RELEASE_DB_PER_S == 60.0
    assert gain_db(0.6) == pytest.approx(gain_db(-0.1), abs=1.0)


def test_nobody_speaking_leaves_the_gain_where_it_is() -> None:
    leveler = LoudnessLeveler(-20.0)
    _leveled(leveler, _speech(15.0, -30.0))
    gain_db = leveler.gain_db
    assert gain_db > 3.0
    hiss = _speech(20.0, -75.0)
    leveler.push(_block(hiss, 0, epoch=2))
    # Three seconds pass until speech has left the window of the measurement.
    assert leveler.gain_db == pytest.approx(gain_db, abs=6.0)
    before = leveler.gain_db
    leveler.push(_block(hiss, len(hiss), epoch=2))
    assert leveler.gain_db == before


def test_no_peak_passes_the_ceiling_however_suddenly_it_comes() -> None:
    leveler = LoudnessLeveler(-16.0)
    pcm = np.concatenate([_speech(20.0, -40.0), 0.98 * np.ones(4800, np.float32), _speech(2.0, -10.0)])
    pcm[30_000] = -1.0
    leveled = _joined(_leveled(leveler, np.clip(pcm, -1.0, 1.0)))
    assert np.abs(leveled).max() <= CEILING + 1e-6
    assert np.abs(leveled).max() > 0.95 * CEILING


def test_cutting_the_stream_elsewhere_gives_the_same_samples() -> None:
    pcm = _speech(6.0, -20.0)
    whole = _joined(_leveled(LoudnessLeveler(-20.0), pcm))
    cuts = sorted(np.random.default_rng(2).integers(0, len(pcm), 60).tolist())
    parts = _leveled(LoudnessLeveler(-20.0), pcm, cuts)
    assert np.array_equal(_joined(parts), whole)
    assert whole.shape == pcm.shape
    # Every block says where it stands.
    expected = 0
    for block in parts:
        assert block.first_sample == expected
        assert block.timestamp == pytest.approx(1000.0 + expected / RATE_HZ)
        expected += len(block.pcm)


def test_a_gap_ends_a_piece_and_loses_nothing_of_it() -> None:
    leveler = LoudnessLeveler(-20.0)
    first = leveler.push(_block(_speech(1.0, -20.0)))
    second = leveler.push(_block(_speech(1.0, -20.0), 2 * RATE_HZ))
    rest = leveler.flush()
    ends = [block.first_sample + len(block.pcm) for block in (*first, *second, *rest)]
    assert ends[-1] == 3 * RATE_HZ
    assert sum(len(block.pcm) for block in (*first, *second, *rest)) == 2 * RATE_HZ
    assert second[0].first_sample + len(second[0].pcm) == RATE_HZ
    assert second[1].first_sample == 2 * RATE_HZ


def test_both_sides_of_stereo_get_the_same_gain() -> None:
    left = _speech(10.0, -30.0)
    stereo = np.stack([left, 0.25 * left], axis=1)
    leveled = _joined(_leveled(LoudnessLeveler(-20.0), stereo))
    assert leveled.shape == stereo.shape
    assert np.allclose(leveled[:, 1], 0.25 * leveled[:, 0], atol=1e-6)
    assert np.abs(leveled[-RATE_HZ:]).max() > 1.5 * np.abs(stereo[-RATE_HZ:]).max()


def test_broken_samples_are_silence() -> None:
    pcm = _speech(1.0, -20.0)
    pcm[100:200] = np.nan
    pcm[300] = np.inf
    leveled = _joined(_leveled(LoudnessLeveler(-20.0), pcm))
    assert np.isfinite(leveled).all()
    assert not leveled[100:200].any()
