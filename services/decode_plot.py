"""``herald decode --plot``: one message as a picture: its spectrogram with marks, its soft bits, its characters.

matplotlib draws it. It is an extra, since nothing else needs it. A long file is read once more from where its message
begins, so that no more than a minute and a half of it is ever in memory.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app_core.audio.decode_sound import channel_names
from app_core.audio.heard import Heard, confidence_of, event_text
from app_core.audio.sound_file import Sound, open_sound_file
from app_core.base.errors import ConfigError
from app_core.eas.events import AttentionHeard, BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_S = 90.0
_MARGIN_S = 1.0
_HIGHEST_HZ = 4000.0
_RESOLUTION_HZ = 40.0
_COLUMNS = 1600
_DYNAMIC_DB = 60.0
_LARGEST_SOFT_BIT = 12.0
_BEFORE_S = 15.0  # bursts this long before a header was decided may be its own
_MOST_ENTRIES = 24
_MARKS = {"header": "tab:cyan", "end": "tab:orange", "attention": "tab:green"}


def require_matplotlib() -> None:
    """Make sure that pictures can be drawn.

    Raises
    ------
    ConfigError
        If matplotlib is missing; the text names the line to type.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib; type: pip install 'herald-sdr[plot]'")


class FirstMessage:
    """Picks what belongs to the first message out of all that is heard, and keeps no more than that.

    Attributes
    ----------
    header
        The header, verified or not; None while there is none.
    entries
        Bursts, tones and ends of its channel, in order.
    """

    def __init__(self) -> None:
        self.header: Heard | None = None
        self.entries: list[Heard] = []
        self._is_over = False

    def take(self, heard: Iterable[Heard]) -> None:
        """Take what was heard next."""
        for one in heard:
            self._take(one)

    def _take(self, one: Heard) -> None:
        if self.header is None:
            if isinstance(one.event, HeaderDecoded | HeaderUnverified):
                self.header = one
                first_s = one.start_s - 0.1
                self.entries = [
                    entry
                    for entry in self.entries
                    if entry.start_s >= first_s and set(entry.channels) & set(one.channels)
                ]
            elif isinstance(one.event, BurstHeard) and one.event.kind == "header":
                self.entries = [*self.entries, one][-_MOST_ENTRIES:]
            return
        if self._is_over or not set(one.channels) & set(self.header.channels) or len(self.entries) >= _MOST_ENTRIES:
            return
        if isinstance(one.event, HeaderDecoded | HeaderUnverified):
            self._is_over = True
        elif isinstance(one.event, BurstHeard | AttentionHeard | EndOfMessage):
            self.entries.append(one)

    @property
    def bursts(self) -> list[Heard]:
        """Its header bursts."""
        return [one for one in self.entries if isinstance(one.event, BurstHeard) and one.event.kind == "header"]

    @property
    def extent_s(self) -> tuple[float, float]:
        """What is drawn of the recording; its beginning, where there is no message. [seconds]"""
        if self.header is None:
            return 0.0, _MOST_S
        starts = [one.start_s for one in (self.header, *self.entries)]
        ends = [one.end_s for one in (self.header, *self.entries)]
        begin = max(0.0, min(starts) - _MARGIN_S)
        return begin, min(max(ends) + _MARGIN_S, begin + _MOST_S)


def read_span(sound: Sound, channel: int, begin_s: float, end_s: float) -> NDArray[np.float32]:
    """Read one channel of a part of a recording, shape (n,); less where the recording ends."""
    first, last = round(begin_s * sound.sample_rate_hz), round(end_s * sound.sample_rate_hz)
    pieces = [np.zeros(0, np.float32)]
    position = 0
    while position < last and len(pcm := sound.read(min(1 << 16, last - position))):
        pieces.append(pcm[max(0, first - position) :, channel].copy())
        position += len(pcm)
    return np.concatenate(pieces)


def spectrogram_dbfs(pcm: NDArray[np.float32], sample_rate_hz: float) -> NDArray[np.float32]:
    """Give spectra of Hann windows that are spread evenly over the samples.

    Parameters
    ----------
    pcm
        Shape (n,). [full scale = ±1]
    sample_rate_hz
        Its rate.

    Returns
    -------
    spectra
        Shape (n_bins, n_columns), from 0 Hz to 4 kHz at 40 Hz a bin, about; a full-scale sine has 0. [dBFS]
    """
    n_window = round(sample_rate_hz / _RESOLUTION_HZ)
    padded = np.concatenate([pcm, np.zeros(max(0, n_window - len(pcm)), np.float32)])
    starts = np.linspace(0, len(padded) - n_window, min(_COLUMNS, max(1, len(padded) // 64))).astype(np.int64)
    window = np.hanning(n_window)
    n_bins = min(n_window // 2, round(_HIGHEST_HZ / sample_rate_hz * n_window)) + 1
    power = np.empty((n_bins, len(starts)))
    for column, start in enumerate(starts):
        line = np.fft.rfft(np.nan_to_num(padded[start : start + n_window]) * window)[:n_bins]
        power[:, column] = np.abs(line * (2.0 / window.sum())) ** 2
    return (10.0 * np.log10(np.maximum(power, 1e-20))).astype(np.float32)


def draw_message(path: Path, message: FirstMessage, picture: Path) -> None:
    """Draw a message of a file of audio.

    Parameters
    ----------
    path
        The file.
    message
        What was heard in it.
    picture
        Where the picture goes; its suffix tells its format.

    Raises
    ------
    OSError, WireError
        If the file cannot be read any more.
    ConfigError
        If the picture cannot be written.
    """
    begin_s, end_s = message.extent_s
    sound = open_sound_file(path)
    try:
        names = channel_names(sound.n_channels)
        channel = 0 if message.header is None else names.index(message.header.channels[0])
        pcm = read_span(sound, channel, begin_s, end_s)
        figure = _figure(message, pcm, sound.sample_rate_hz, begin_s)
    finally:
        sound.close()
    where = "" if sound.n_channels == 1 else f", {names[channel]}"
    figure.suptitle(f"{path.name}{where}", x=0.01, ha="left", fontsize=10, parse_math=False)
    try:
        figure.savefig(picture, dpi=110)
    except (OSError, ValueError) as error:
        # matplotlib says by a ValueError that it knows no such format.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"the picture {picture} cannot be written: {reason}") from error


def _figure(message: FirstMessage, pcm: NDArray[np.float32], sample_rate_hz: float, begin_s: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = _soft_rows(message)
    figure = Figure(figsize=(15.0, 4.6 if not rows else 8.4), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [3.0] if not rows else [3.0, 0.5 + 0.35 * len(rows), 1.2]
    axes = figure.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)[:, 0]
    _draw_spectrogram(axes[0], message, pcm, sample_rate_hz, begin_s)
    if rows:
        _draw_soft_bits(axes[1], rows)
        _draw_confidence(axes[2], message)
    return figure


def _soft_rows(message: FirstMessage) -> list[tuple[str, NDArray[np.float32]]]:
    """Give the names and the soft bits of the bursts and of all together, where they are known."""
    rows = [
        (f"burst {number}", one.event.soft_bits)
        for number, one in enumerate(message.bursts, start=1)
        if isinstance(one.event, BurstHeard)
    ]
    header = message.header
    if header is not None and isinstance(header.event, HeaderDecoded | HeaderUnverified):
        rows.append(("together", header.event.soft_bits))
    return [(name, bits) for name, bits in rows if len(bits)]


def _draw_spectrogram(
    axes: Axes, message: FirstMessage, pcm: NDArray[np.float32], sample_rate_hz: float, begin_s: float
) -> None:
    spectra = spectrogram_dbfs(pcm, sample_rate_hz)
    top = float(spectra.max())
    end_s = begin_s + len(pcm) / sample_rate_hz
    highest_hz = min(_HIGHEST_HZ, sample_rate_hz / 2.0)
    axes.imshow(
        spectra,
        origin="lower",
        aspect="auto",
        extent=(begin_s, max(end_s, begin_s + 1e-3), 0.0, highest_hz),
        vmin=top - _DYNAMIC_DB,
        vmax=top,
        cmap="magma",
    )
    for one in message.entries:
        event = one.event
        if isinstance(event, EndOfMessage):
            continue
        kind = event.kind if isinstance(event, BurstHeard) else "attention"
        length_s = one.end_s - one.start_s
        words = f"{event.snr_db:.1f} dB" if isinstance(event, BurstHeard) else f"tone, {length_s:.1f} s"
        axes.axvspan(one.start_s, one.end_s, ymin=0.96, color=_MARKS[kind])
        axes.text(one.start_s, 0.95 * highest_hz, words, color="white", fontsize=7, va="top")
    if message.header is None:
        axes.set_title("no SAME header", fontsize=9)
    axes.set_ylabel("Hz")
    axes.set_xlabel("seconds from the start of the file")


def _draw_soft_bits(axes: Axes, rows: list[tuple[str, NDArray[np.float32]]]) -> None:
    n_bits = max(len(bits) for _, bits in rows)
    grid = np.zeros((len(rows), n_bits), np.float32)
    for row, (_, bits) in enumerate(rows):
        grid[row, : len(bits)] = bits
    limit = _LARGEST_SOFT_BIT
    axes.imshow(grid, aspect="auto", interpolation="nearest", cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_xlabel("bit of the header; blue is 1, red is 0, white is doubt (logarithm of the odds)")


def _draw_confidence(axes: Axes, message: FirstMessage) -> None:
    assert message.header is not None  # noqa: S101 - there are soft bits
    event = message.header.event
    text, confidence = event_text(event), np.array(confidence_of(event))
    nines = -np.log10(np.maximum(1.0 - confidence, 1e-9))
    colors = np.where(nines < 1.0, "tab:red", np.where(nines < 3.0, "tab:orange", "tab:green"))
    axes.bar(np.arange(len(nines)), nines, color=colors.tolist(), width=0.9)
    axes.set_xlim(-0.5, max(len(text), 1) - 0.5)
    axes.set_ylim(0.0, 9.0)
    axes.set_yticks((0, 3, 6, 9))
    size = float(np.clip(900.0 / max(len(text), 1), 4.0, 10.0))
    axes.set_xticks(range(len(text)), list(text), family="monospace", fontsize=size, parse_math=False)
    axes.set_ylabel("nines")
    verdict = "verified" if isinstance(event, HeaderDecoded) else "heard, unverified"
    axes.set_title(f"{verdict}: how sure each character is (3 nines are 99.9 %)", fontsize=9)
