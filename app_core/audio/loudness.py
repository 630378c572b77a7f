"""Even loudness for listeners: a slow gain towards a target by EBU R 128, and a limiter. Never for the decoder.

Loudness is measured by libebur128 (ITU-R BS.1770) over the last three seconds ("short-term", EBU Tech 3341). The gain
moves slowly, and not at all while nobody speaks, so that pauses are not filled with noise. A limiter that looks 10 ms
ahead keeps the peaks below `CEILING_DBFS`.

All is done on a fixed grid of frames counted from the start of a piece of the stream, so cutting the stream at other
places gives the same samples. What comes out is what went in, sample for sample, with another gain: the index of a
sample stays, and only up to two frames of 10 ms are held back.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import PcmBlock
from app_core.base.errors import ConfigError

CEILING_DBFS = -1.0
"""Highest peak that comes out (EBU R 128 allows -1 dBTP). [dBFS]"""

GATE_LUFS = -50.0
"""Below this nobody speaks: the gain rests."""

MAX_GAIN_DB = 20.0
"""Furthest that the gain goes, up or down."""

RAISE_DB_PER_S = 2.0
LOWER_DB_PER_S = 6.0
"""How fast the gain moves: what is too loud annoys sooner than what is too soft."""

RELEASE_DB_PER_S = 60.0
"""How fast the limiter lets go."""

_FRAME_S = 0.01
_FRAMES_PER_STEP = 10
"""Loudness is read and the gain moved once in so many frames."""


class LoudnessLeveler:
    """Level one stream of audio.

    Parameters
    ----------
    target_lufs
        Loudness aimed at: -23 for broadcast, about -16 for streams.

    Attributes
    ----------
    target_lufs
        As given; it may be changed.
    gain_db, loudness_lufs
        Present gain, and short-term loudness of what came in; -inf before there is any.

    Raises
    ------
    ConfigError
        If the library that measures is not installed.
    """

    def __init__(self, target_lufs: float) -> None:
        try:
            import pyebur128
        except ImportError as error:
            raise ConfigError("loudness_lufs needs pyebur128; type: pip install pyebur128") from error
        self._ebur128: Any = pyebur128
        self.target_lufs = target_lufs
        self._meter: Any = None
        self._shape: tuple[float, int] = (0.0, 0)
        self._last: PcmBlock | None = None
        self._expected = 0
        self.gain_db = 0.0
        self.loudness_lufs = -math.inf
        self._held: NDArray[np.float32] = np.zeros((0, 1), dtype=np.float32)
        self._begin_piece(1)

    def push(self, block: PcmBlock) -> list[PcmBlock]:
        """Level the next block.

        Parameters
        ----------
        block
            Audio of shape (n,) or (n, 2). Where its first sample is not the one expected, or its rate or shape is
            another, what was held back comes out first and a new piece begins, at the present gain.

        Returns
        -------
        leveled
            No, one or two blocks; together they hold every sample once. [full scale = ±1]
        """
        n_channels = 1 if block.pcm.ndim == 1 else block.pcm.shape[1]
        shape = (block.sample_rate_hz, n_channels)
        leveled: list[PcmBlock] = []
        epoch = block.config_epoch if self._last is None else self._last.config_epoch
        if shape != self._shape or block.first_sample != self._expected or block.config_epoch != epoch:
            leveled = self.flush()
            if shape != self._shape:
                self._make_meter(*shape)
            self._begin_piece(n_channels)
        self._last = replace(block, pcm=block.pcm[:0])
        self._expected = block.first_sample + block.pcm.shape[0]
        samples = np.nan_to_num(block.pcm.reshape(-1, n_channels), nan=0.0, posinf=0.0, neginf=0.0)
        self._held = np.concatenate((self._held, samples.astype(np.float32, copy=False)))
        n_frames = max(self._held.shape[0] // self._frame - 1, 0)
        if n_frames:
            leveled.append(self._emit(self._level(n_frames)))
        return leveled

    def flush(self) -> list[PcmBlock]:
        """Give what is held back; the next block begins a new piece."""
        n_held = self._held.shape[0]
        if n_held == 0 or self._last is None:
            return []
        n_frames = -(-n_held // self._frame)
        padding = np.zeros(((n_frames + 1) * self._frame - n_held, self._held.shape[1]), dtype=np.float32)
        self._held = np.concatenate((self._held, padding))
        rest = self._level(n_frames)[:n_held]
        self._held = self._held[:0]
        block = self._emit(rest)
        self._expected = -1
        return [block]

    def _begin_piece(self, n_channels: int) -> None:
        self._held = np.zeros((0, n_channels), dtype=np.float32)
        self._n_frames_done = 0
        self._limit = 1.0
        self._last_gain = 1.0

    def _make_meter(self, sample_rate_hz: float, n_channels: int) -> None:
        self._shape = (sample_rate_hz, n_channels)
        self._frame = round(sample_rate_hz * _FRAME_S)
        self._release = 10.0 ** (RELEASE_DB_PER_S * _FRAME_S / 20.0)
        mode = self._ebur128.MeasurementMode.MODE_S
        self._meter = self._ebur128.R128State(n_channels, round(sample_rate_hz), mode)

    def _level(self, n_frames: int) -> NDArray[np.float32]:
        """Level the first `n_frames` of what is held; one more frame stands behind them."""
        frame, n_channels = self._frame, self._held.shape[1]
        frames = self._held[: (n_frames + 1) * frame].reshape(n_frames + 1, frame, n_channels)
        peaks = np.abs(frames).max(axis=(1, 2))
        # Gain at the beginning and at the end of each frame; within it the gain is a straight line.
        ends = np.empty(n_frames + 1)
        if self._n_frames_done == 0:
            self._last_gain = self._limited(10.0 ** (self.gain_db / 20.0), peaks[0], peaks[0])
        ends[0] = self._last_gain
        for k in range(n_frames):
            if self._n_frames_done % _FRAMES_PER_STEP == 0:
                self._move_gain()
            self._measure(frames[k])
            wanted = 10.0 ** (self.gain_db / 20.0)
            ends[k + 1] = self._limited(wanted, peaks[k], peaks[k + 1])
            self._n_frames_done += 1
        self._last_gain = float(ends[-1])
        slope = np.arange(frame) / frame
        gains = ends[:-1, None] + (ends[1:] - ends[:-1])[:, None] * slope
        leveled = (frames[:-1] * gains[:, :, None]).astype(np.float32).reshape(-1, n_channels)
        self._held = self._held[n_frames * frame :].copy()
        return leveled

    def _limited(self, gain: float, before: float, behind: float) -> float:
        """Lower a gain between two frames, whose peaks are given, so that neither passes the ceiling."""
        peak = max(float(before), float(behind), 1e-9)
        allowed = 10.0 ** (CEILING_DBFS / 20.0) / (peak * gain)
        self._limit = min(self._limit * self._release, allowed, 1.0)
        return gain * self._limit

    def _measure(self, frame: NDArray[np.float32]) -> None:
        self._meter.add_frames(np.ascontiguousarray(frame).reshape(-1), frame.shape[0])

    def _move_gain(self) -> None:
        loudness: float = self._ebur128.get_loudness_shortterm(self._meter)
        self.loudness_lufs = loudness
        if not loudness > GATE_LUFS:
            return
        wanted_db = min(max(self.target_lufs - loudness, -MAX_GAIN_DB), MAX_GAIN_DB)
        step_s = _FRAMES_PER_STEP * _FRAME_S
        change_db = min(max(wanted_db - self.gain_db, -LOWER_DB_PER_S * step_s), RAISE_DB_PER_S * step_s)
        self.gain_db += change_db

    def _emit(self, leveled: NDArray[np.float32]) -> PcmBlock:
        last = self._last
        assert last is not None  # noqa: S101  (only called behind the first block)
        # What is still held stands between what comes out and the end of the last block.
        n_behind = self._held.shape[0] + leveled.shape[0]
        first_sample = self._expected - n_behind
        timestamp = last.timestamp + (first_sample - last.first_sample) / last.sample_rate_hz
        pcm = leveled[:, 0] if leveled.shape[1] == 1 else leveled
        return replace(last, pcm=np.ascontiguousarray(pcm), first_sample=first_sample, timestamp=timestamp)
