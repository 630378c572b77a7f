from __future__ import annotations

import sys

from app_core.audio.ingest_child import IngestChild
from tests.support.programs import eventually


def words_of(script: str) -> tuple[IngestChild, str]:
    """Run a script in FFmpeg's place to its end; give it, and why it ended."""
    child = IngestChild([sys.executable, "-c", script], with_input=False)
    eventually(lambda: child.read() == b"", "its end")
    return child, child.wait_reason()


def test_a_key_in_an_address_is_in_no_line_and_no_reason() -> None:
    script = (
        "import sys\n"
        "print(\"[hls @ 0x1] Opening 'HTTPS://radio.example/a.ts?key=SECRET&b=1' for reading\", file=sys.stderr)\n"
        "print('https://radio.example/live.m3u8?token=SECRET: Invalid data found', file=sys.stderr)\n"
        "sys.exit(1)\n"
    )
    child, reason = words_of(script)
    with child:
        assert child.last_lines == [
            "[hls @ 0x1] Opening 'HTTPS://radio.example/a.ts?...' for reading",
            # A colon is part of an address, as far as anybody can tell.
            "https://radio.example/live.m3u8?... Invalid data found",
        ]
    assert reason == "FFmpeg: https://radio.example/live.m3u8?... Invalid data found"


def test_an_address_without_a_key_is_told_whole() -> None:
    child, reason = words_of("import sys; sys.exit('http://radio.example/live.m3u8: Server returned 404 Not Found')")
    child.close()
    assert reason == "FFmpeg: http://radio.example/live.m3u8: Server returned 404 Not Found"
