"""Headers whose bursts contradict each other: strong, with errors beyond repair, so that no vote may settle them.

Each burst is spoilt by itself. What was sent is known, so a header that is given anyway is right when it is exactly
that, and wrong when it is a mixture, a shortened one, or one that no burst said. A burst whose changed bits or
characters still make a header is one that was sent: nobody who hears it, strong and clear, can know better.
"""

from __future__ import annotations

import numpy as np

from app_core.eas.waveform import END_OF_MESSAGE
from benchmarks.campaigns.transmissions import Pcm, Rng, burst, random_header, silence


def flipped(content: bytes, share: float, rng: Rng) -> bytes:
    """Flip each bit with a probability."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    return np.packbits(bits ^ (rng.random(bits.size) < share)).tobytes()


def _retyped(content: bytes, rng: Rng) -> bytes:
    """Put other characters of the same kind in some places: still legal, but another header."""
    result = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(5, len(result) - 1))
        if chr(result[at]).isdigit():
            result[at] = int(rng.integers(0x30, 0x3A))
        elif chr(result[at]).isalpha():
            result[at] = int(rng.integers(0x41, 0x5B))
    return bytes(result)


def spoilt_message(rng: Rng) -> tuple[Pcm, tuple[str, ...]]:
    """Make two or three bursts of one message, or of several, each spoilt in its own way, and at times an end.

    Returns
    -------
    pcm
        Shape (n,), bursts of amplitude 1 and the silence around them.
    headers
        Every text that may be given: what was to be sent, and what a burst with other bits, other characters or
        another header's end says by itself. A text that is short of a byte was never sent, well-formed or not.
    """
    header = random_header(rng)
    content = header.encode("ascii")
    n_bursts = int(rng.choice((2, 3, 3, 3)))
    share = 10.0 ** rng.uniform(-3.0, -0.9)
    headers = [header]
    contents: list[bytes] = []
    way = int(rng.integers(5))
    for _ in range(n_bursts):
        match way:
            case 0:
                contents.append(flipped(content, share, rng))
                headers.append(bytes(byte & 0x7F for byte in contents[-1]).decode("ascii"))
            case 1:
                contents.append(content[: int(rng.integers(20, len(content)))])
            case 2:
                at = int(rng.integers(4, len(content)))
                contents.append(content[:at] + content[at + int(rng.integers(1, 4)) :])
            case 3:
                other = _retyped(content, rng)
                contents.append(other)
                headers.append(other.decode("ascii"))
            case _:
                other = random_header(rng).encode("ascii")
                at = int(rng.integers(5, min(len(other), len(content))))
                contents.append(content[:at] + other[at:])
                headers.append((content[:at] + other[at:]).decode("ascii"))
    pieces = [silence(rng.uniform(0.2, 3.0))]
    for each in contents:
        pieces += [burst(each), silence(rng.uniform(0.7, 1.3))]
    if rng.random() < 0.5:
        pieces += [burst(END_OF_MESSAGE), silence(1.0)]
    pieces.append(silence(rng.uniform(0.2, 5.0)))
    return np.concatenate(pieces), tuple(headers)
