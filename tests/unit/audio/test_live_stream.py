"""A listener's queue: bounded in seconds and in bytes, taken whole, and ended from any thread."""

from __future__ import annotations

import asyncio
import struct
import threading

import pytest

from app_core.audio import live_stream
from app_core.audio.live_stream import Listener, wav_header


def test_what_waits_too_long_is_dropped_and_counted() -> None:
    async def listen() -> tuple[list[bytes], int]:
        listener = Listener(longest_s=0.2)
        listener.put(b"old")
        await asyncio.sleep(0.4)
        listener.put(b"new")
        listener.end()
        return [piece async for piece in listener.pieces()], listener.dropped_count

    assert asyncio.run(listen()) == ([b"new"], 1)


def test_what_is_too_much_is_dropped_and_the_newest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_stream, "MAX_QUEUED_BYTES", 10)

    async def listen() -> tuple[list[bytes], int]:
        listener = Listener(longest_s=60.0)
        for letter in (b"a", b"b", b"c"):
            listener.put(6 * letter)
            assert listener.depth_bytes == 6
        listener.put(20 * b"d")
        assert listener.depth_bytes == 20
        listener.end()
        return [piece async for piece in listener.pieces()], listener.dropped_count

    assert asyncio.run(listen()) == ([20 * b"d"], 3)


def test_pieces_of_another_thread_come_in_order_and_whole() -> None:
    pieces = [struct.pack(">I", number) for number in range(20_000)]

    async def listen() -> bytes:
        listener = Listener(longest_s=60.0)

        def put() -> None:
            for piece in pieces:
                listener.put(piece)
            listener.end()

        thread = threading.Thread(target=put)
        thread.start()
        heard = b"".join([piece async for piece in listener.pieces()])
        thread.join()
        assert listener.sent_bytes == len(heard)
        return heard

    assert asyncio.run(listen()) == b"".join(pieces)


def test_a_listener_whose_loop_has_ended_takes_no_more_and_hurts_nobody() -> None:
    async def make() -> Listener:
        return Listener(longest_s=60.0)

    listener = asyncio.run(make())
    listener.put(b"a")
    listener.end()
    listener.put(b"b")
    assert listener.depth_bytes == 1


def test_a_wav_header_says_what_follows_and_no_length() -> None:
    header = wav_header(24_000, 2)
    assert len(header) == 44
    assert struct.unpack("<4sI4s4sIHHIIHH4sI", header) == (
        b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 2, 24_000, 96_000, 4, 16, b"data", 0xFFFFFFFF,
    )  # fmt: skip
