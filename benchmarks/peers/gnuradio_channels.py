"""NFM receivers made of GNU Radio's blocks, as someone who knows them would build them, and what they cost.

Four ways from 2.4 MS/s to the channels:

``fir``
    for each channel ``freq_xlating_fir_filter_ccf``, which decimates by 25 and only keeps aliases out of the channel,
    then the channel's filter at 96 kS/s, which decimates by 4
``fft``
    the same with ``freq_xlating_fft_filter_ccc``, which decimates by 50, then by 2
``pfb``
    one ``pfb_channelizer_ccf`` of 96 channels of 25 kHz, of which only the wanted outputs are connected
``slice``
    for neighbours only: ``freq_xlating_fir_filter_ccf`` takes 400 kHz, and a ``pfb_channelizer_ccf`` of 16 channels
    splits it

and one way from there to audio: ``quadrature_demod_cf``, ``single_pole_iir_filter_ff`` for the de-emphasis, the audio's
low-pass by FFT, ``rational_resampler_fff`` to 48 kHz. All filters are those of the request, designed as ours are.

The cost is processor time over samples while the flowgraph runs, from the counter of the source: what starting takes
is outside. All threads of GNU Radio's scheduler count.

Convention: arrays come as ``.npy`` files; frequencies are relative to the centre of the capture.
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gnuradio import analog, blocks, filter, gr
from gnuradio.filter import freq_xlating_fft_filter_ccc

from app_core.dsp.fir import LowPass

SAMPLE_RATE_HZ = 2_400_000
AUDIO_RATE_HZ = 48_000
RASTER_HZ = 25_000
_SLICE_DECIMATION = 6
_WARM_UP_S = 0.4
_WINDOWS = 2


@dataclass(frozen=True)
class Filters:
    """What the filters shall do, and the FM.

    Attributes
    ----------
    passband_hz, stopband_hz
        Edges of the channel's filter, from its centre.
    audio_passband_hz, audio_stopband_hz
        Edges of the audio's low-pass.
    attenuation_db
        Stop band of all filters.
    deviation_hz
        Deviation that gives audio of ±1.
    deemphasis_hz
        Corner of the de-emphasis.
    """

    passband_hz: float
    stopband_hz: float
    audio_passband_hz: float
    audio_stopband_hz: float
    attenuation_db: float
    deviation_hz: float
    deemphasis_hz: float

    def taps(self, rate_hz: float, passband_hz: float, stopband_hz: float, gain: float = 1.0) -> list[float]:
        """Taps of a low-pass at `rate_hz`."""
        design = LowPass.design(passband_hz / rate_hz, stopband_hz / rate_hz, self.attenuation_db)
        taps: list[float] = (gain * design.taps()).tolist()
        return taps

    def channel(self, rate_hz: float) -> list[float]:
        """Taps of the channel's own filter."""
        return self.taps(rate_hz, self.passband_hz, self.stopband_hz)

    def before(self, rate_hz: float, reach_hz: float, decimated_hz: float) -> list[float]:
        """Taps of a filter whose aliases stay out of `reach_hz` and the transition behind it."""
        transition_hz = self.stopband_hz - self.passband_hz
        return self.taps(rate_hz, reach_hz, decimated_hz - reach_hz - transition_hz)


def connect_receivers(flow: Any, source: Any, approach: str, offsets_hz: list[float], filters: Filters) -> list[Any]:
    """Connect receivers behind `source`.

    Returns
    -------
    audio
        For each of `offsets_hz` the block that gives its audio: float at `AUDIO_RATE_HZ`, ±1 at the full deviation.

    Raises
    ------
    ValueError
        If `approach` is none of those above, or cannot serve `offsets_hz`.
    """
    if approach in ("fir", "fft"):
        return [_translate(flow, source, approach, offset_hz, filters) for offset_hz in offsets_hz]
    if approach == "pfb":
        places = [_raster(offset_hz) for offset_hz in offsets_hz]
        outputs = _channelize(flow, source, SAMPLE_RATE_HZ, places, filters)
    elif approach == "slice":
        center = round((max(offsets_hz) + min(offsets_hz)) / 2.0 / RASTER_HZ)
        places = [_raster(offset_hz) - center for offset_hz in offsets_hz]
        reach_hz = max(map(abs, places)) * RASTER_HZ + filters.passband_hz
        rate_hz = SAMPLE_RATE_HZ // _SLICE_DECIMATION
        taps = filters.before(SAMPLE_RATE_HZ, reach_hz, rate_hz)
        cut = filter.freq_xlating_fir_filter_ccf(_SLICE_DECIMATION, taps, center * RASTER_HZ, SAMPLE_RATE_HZ)
        flow.connect(source, cut)
        outputs = _channelize(flow, cut, rate_hz, places, filters)
    else:
        raise ValueError(f"there is no approach {approach!r}")
    return [_demodulate(flow, output, RASTER_HZ, filters) for output in outputs]


def _raster(offset_hz: float) -> int:
    if offset_hz % RASTER_HZ:
        raise ValueError(f"{offset_hz} Hz is not on the raster of {RASTER_HZ} Hz, which this approach needs")
    return int(offset_hz // RASTER_HZ)


def _translate(flow: Any, source: Any, approach: str, offset_hz: float, filters: Filters) -> Any:
    first, second = (25, 4) if approach == "fir" else (50, 2)
    rate_hz = SAMPLE_RATE_HZ / first
    taps = filters.before(SAMPLE_RATE_HZ, filters.passband_hz, rate_hz)
    if approach == "fir":
        coarse = filter.freq_xlating_fir_filter_ccf(first, taps, offset_hz, SAMPLE_RATE_HZ)
    else:
        coarse = freq_xlating_fft_filter_ccc(first, [complex(tap) for tap in taps], offset_hz, SAMPLE_RATE_HZ)
    fine = filter.fir_filter_ccf(second, filters.channel(rate_hz))
    flow.connect(source, coarse, fine)
    return _demodulate(flow, fine, int(rate_hz / second), filters)


def _channelize(flow: Any, source: Any, rate_hz: int, places: list[int], filters: Filters) -> list[Any]:
    """Split `source` into channels of `RASTER_HZ`, and give the outputs at `places` of them from the centre."""
    n_channels = rate_hz // RASTER_HZ
    split = blocks.stream_to_streams(gr.sizeof_gr_complex, n_channels)
    channelizer = filter.pfb_channelizer_ccf(n_channels, filters.channel(rate_hz), 1.0)
    channelizer.set_channel_map([place % n_channels for place in places])
    # Tags from input i to output i cannot be: there are more inputs than outputs.
    channelizer.set_tag_propagation_policy(gr.TPP_DONT)
    flow.connect(source, split)
    for i in range(n_channels):
        flow.connect((split, i), (channelizer, i))
    return [(channelizer, i) for i in range(len(places))]


def _demodulate(flow: Any, iq: Any, rate_hz: int, filters: Filters) -> Any:
    """NFM at `rate_hz` to audio. The low-pass apart from the resampler is the cheaper way where 25 kS/s go to 48."""
    up, down = (side // math.gcd(AUDIO_RATE_HZ, rate_hz) for side in (AUDIO_RATE_HZ, rate_hz))
    pass_hz, stop_hz = filters.audio_passband_hz, filters.audio_stopband_hz
    pole = math.exp(-2.0 * math.pi * filters.deemphasis_hz / rate_hz)
    gain = abs(1.0 - pole * np.exp(-2j * math.pi * 1_000.0 / rate_hz)) / (1.0 - pole)
    demodulator = analog.quadrature_demod_cf(gain * rate_hz / (2.0 * math.pi * filters.deviation_hz))
    deemphasis = filter.single_pole_iir_filter_ff(1.0 - pole)
    low_pass = filter.fft_filter_fff(1, filters.taps(rate_hz, pass_hz, stop_hz))
    images = filters.taps(rate_hz * up, stop_hz, rate_hz - stop_hz, up)
    resampler = filter.rational_resampler_fff(up, down, images)
    flow.connect(iq, demodulator, deemphasis, low_pass, resampler)
    return resampler


def cost_ns(iq: Any, approach: str, offsets_hz: list[float], filters: Filters, buffer: int, window_s: float) -> float:
    """Processor time of receivers. [ns per input sample]

    Parameters
    ----------
    iq
        Shape (n,), complex64: read over and over.
    approach
        As for `connect_receivers`, or ``source``: the source alone, into a null sink.
    buffer
        Least room between the source and the rest; 0 leaves it to GNU Radio. [samples]
    window_s
        Length of each of the measured stretches, of which the best counts. [seconds of the clock on the wall]
    """
    flow = gr.top_block()
    source = blocks.vector_source_c(iq, repeat=True)
    if buffer:
        source.set_min_output_buffer(buffer)
    if approach == "source":
        flow.connect(source, blocks.null_sink(gr.sizeof_gr_complex))
    else:
        for audio in connect_receivers(flow, source, approach, offsets_hz, filters):
            flow.connect(audio, blocks.float_to_short(1, 32767.0), blocks.null_sink(gr.sizeof_short))
    flow.start()
    time.sleep(_WARM_UP_S)
    costs: list[float] = []
    for _ in range(_WINDOWS):
        cpu_s, n_samples = time.process_time(), source.nitems_written(0)
        time.sleep(window_s)
        cpu_s, n_samples = time.process_time() - cpu_s, source.nitems_written(0) - n_samples
        costs.append(1e9 * cpu_s / n_samples)
    flow.stop()
    flow.wait()
    return min(costs)


def _is_volk_profiled() -> bool:
    """Whether ``volk_profile`` has been run, which chooses the fastest of VOLK's kernels by measuring."""
    folder = os.environ.get("VOLK_CONFIGPATH")
    folders = [Path(folder)] if folder else [Path.home() / ".volk", Path("/etc/volk")]
    return any((each / "volk_config").is_file() for each in folders)


def main() -> None:
    """Read ``iq filters window_s runs``; answer the version, then each run with its ``cost_ns``."""
    request = json.load(sys.stdin)
    filters = Filters(**request["filters"])
    iq = np.load(request["iq"])
    print(json.dumps({"version": gr.version(), "is_volk_profiled": _is_volk_profiled()}), flush=True)
    for run in request["runs"]:
        cost = cost_ns(iq, run["approach"], run["offsets_hz"], filters, run["buffer"], request["window_s"])
        print(json.dumps({**run, "cost_ns": cost}), flush=True)


if __name__ == "__main__":
    main()
