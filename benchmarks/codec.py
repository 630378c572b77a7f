"""Samples to Redis messages and back, against the standard library's json, base64 and zlib.

The IQ is what an 8-bit receiver gives: ``(u8 - 127.5) / 127.5`` of Gaussian noise with a standard deviation of 20
steps, in messages of 32,768 samples. The peer is what the seed's document describes written down plainly: zlib at its
default level 6, base64 and json, read back with the same and ``numpy.frombuffer``. Both write and read the same fields.
"""

from __future__ import annotations

import base64
import json
import statistics
import time
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.bridge.messages import SamplesMessage
from app_core.bridge.sample_codec import decode_samples, encode_samples
from benchmarks.report import Figure, at_least

SAMPLES_PER_MESSAGE = 32_768
ROUNDS = 7

CAVEATS = (
    "one thread; whole JSON messages, ours with every check of a reader that trusts nothing",
    "ours is ISA-L at level 1, whose messages are longer than zlib's at level 6: the third figure",
    "median of 7 rounds, ours and the peer in turns",
)


def _receiver_iq(n_samples: int) -> NDArray[np.complex64]:
    rng = np.random.default_rng(1)
    codes = np.clip(np.rint(rng.normal(127.5, 20.0, 2 * n_samples)), 0, 255)
    return ((codes.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)).view(np.complex64)


def _block(iq: NDArray[np.complex64]) -> IqBlock:
    return IqBlock(iq, 2_500_000.0, 162_550_000.0, 4_000_000_000, 1_701_532_800.123, 1_701_532_800_000_000_000)


def _encode_ours(block: IqBlock) -> bytes:
    return encode_samples(block, "noaa-1", 7)


def _encode_stdlib(block: IqBlock) -> bytes:
    message = {
        "receiver_id": "noaa-1",
        "timestamp": block.timestamp,
        "sample_count": len(block.iq),
        "sample_rate": block.sample_rate_hz,
        "center_frequency": block.center_frequency_hz,
        "encoding": "zlib+base64",
        "first_sample": block.first_sample,
        "sequence": 7,
        "config_epoch": block.config_epoch,
        "samples": base64.b64encode(zlib.compress(block.iq.tobytes())).decode(),
    }
    return json.dumps(message).encode()


def _decode_ours(payload: bytes) -> NDArray[np.complex64]:
    return decode_samples(SamplesMessage.from_json(payload)).iq


def _decode_stdlib(payload: bytes) -> NDArray[np.complex64]:
    message = json.loads(payload)
    return np.frombuffer(zlib.decompress(base64.b64decode(message["samples"])), dtype=np.complex64)


def _seconds(action: Callable[[], object], calls: int) -> float:
    started_s = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - started_s) / calls


def run() -> Iterator[Figure]:
    """Measure both ways, and the length of the messages."""
    block = _block(_receiver_iq(SAMPLES_PER_MESSAGE))
    ours, stdlib = _encode_ours(block), _encode_stdlib(block)
    assert np.array_equal(_decode_ours(stdlib), block.iq)
    assert np.array_equal(_decode_stdlib(ours), block.iq)

    encode: tuple[list[float], list[float]] = ([], [])
    decode: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        encode[0].append(_seconds(lambda: _encode_ours(block), 40))
        encode[1].append(_seconds(lambda: _encode_stdlib(block), 3))
        decode[0].append(_seconds(lambda: _decode_ours(ours), 40))
        decode[1].append(_seconds(lambda: _decode_stdlib(ours), 40))

    def rate(times: list[float]) -> float:
        return SAMPLES_PER_MESSAGE / statistics.median(times) / 1e6

    yield at_least("encode 8-bit IQ to JSON [MS/s]", rate(encode[0]), rate(encode[1]), 15.0)
    yield at_least("decode JSON to IQ [MS/s]", rate(decode[0]), rate(decode[1]), 1.6)
    peer_bytes = len(stdlib) / SAMPLES_PER_MESSAGE
    our_bytes = len(ours) / SAMPLES_PER_MESSAGE
    yield Figure(
        "length of a message [bytes per sample]", our_bytes, peer_bytes, our_bytes / peer_bytes, "<= 8", our_bytes <= 8
    )
