"""What GNU Radio's receivers of ``gnuradio_channels`` make of given IQ: their audio, for `quality` to measure.

The IQ of a run is a sum of files of interleaved float32, each times a gain, at 2.4 MS/s, so that one signal and one
noise serve all levels of both.
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import json
import sys
from typing import Any

from gnuradio import blocks, gr

from benchmarks.peers.gnuradio_channels import Filters, connect_receivers


def receive(parts: list[tuple[str, float]], approach: str, offset_hz: float, filters: Filters, path: str) -> None:
    """Receive one channel.

    Parameters
    ----------
    parts
        Files and their gains, one or more.
    approach, offset_hz, filters
        As for `connect_receivers`.
    path
        Where the audio goes: float32 at 48 kHz.
    """
    flow = gr.top_block()
    scaled: list[Any] = []
    for name, gain in parts:
        scale = blocks.multiply_const_cc(gain)
        flow.connect(blocks.file_source(gr.sizeof_gr_complex, name), scale)
        scaled.append(scale)
    iq = scaled[0]
    if len(scaled) > 1:
        iq = blocks.add_cc()
        for i, scale in enumerate(scaled):
            flow.connect(scale, (iq, i))
    (audio,) = connect_receivers(flow, iq, approach, [offset_hz], filters)
    flow.connect(audio, blocks.file_sink(gr.sizeof_float, path))
    flow.run()


def main() -> None:
    """Read ``filters offset_hz runs``, each with ``parts approach audio``; answer a line for each."""
    request = json.load(sys.stdin)
    filters = Filters(**request["filters"])
    for run in request["runs"]:
        receive(run["parts"], run["approach"], request["offset_hz"], filters, run["audio"])
        print(json.dumps({"audio": run["audio"]}), flush=True)


if __name__ == "__main__":
    main()
