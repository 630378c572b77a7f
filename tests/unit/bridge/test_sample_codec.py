"""IQ on the wire: bit-exact both ways, plain zlib and base64, and nothing that a hostile message can break."""

from __future__ import annotations

import base64
import contextlib
import json
import resource
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.errors import WireError
from app_core.bridge.messages import MAX_SAMPLES_PER_MESSAGE, SamplesMessage
from app_core.bridge.sample_codec import decode_samples, encode_samples


def _block(iq: NDArray[np.complex64], **changes: Any) -> IqBlock:
    facts: dict[str, Any] = {
        "sample_rate_hz": 2_500_000.0,
        "center_frequency_hz": 162_550_000.0,
        "first_sample": 12_345_678_901,
        "timestamp": 1_701_532_800.123,
        "config_epoch": 1_701_532_800_000_000_001,
        **changes,
    }
    return IqBlock(iq, **facts)


def _read(payload: bytes | str) -> IqBlock:
    return decode_samples(SamplesMessage.from_json(payload))


def _document(samples: object = None, **changes: Any) -> dict[str, Any]:
    """A message of four samples, as JSON's values."""
    return {
        "receiver_id": "noaa-1",
        "timestamp": 1701532800.123,
        "sample_count": 4,
        "sample_rate": 2500000,
        "center_frequency": 162550000,
        "encoding": "zlib+base64",
        "samples": base64.b64encode(zlib.compress(bytes(32))).decode() if samples is None else samples,
        **changes,
    }


def _refused(document: object, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        _read(json.dumps(document))


_WORDS = st.lists(
    st.one_of(
        st.integers(0, 2**32 - 1),  # every float32 there is: NaN payloads, subnormals, infinities
        st.sampled_from([0x80000000, 0x00000001, 0x7F800001, 0xFFC12345, 0x7F800000]),
    ),
    min_size=2,
    max_size=400,
).map(lambda words: np.array(words[: len(words) // 2 * 2], dtype=np.uint32).view(np.complex64))


@given(iq=_WORDS, level=st.integers(0, 3))
def test_every_bit_comes_back(iq: NDArray[np.complex64], level: int) -> None:
    block = _read(encode_samples(_block(iq), "noaa-1", 7, level=level))
    assert block.iq.tobytes() == iq.tobytes()
    assert block.iq.dtype == np.complex64


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_samples_that_do_not_compress_come_back(level: int) -> None:
    iq = np.frombuffer(np.random.default_rng(1).bytes(8 * 65_537), dtype=np.complex64)
    assert _read(encode_samples(_block(iq), "noaa-1", 7, level=level)).iq.tobytes() == iq.tobytes()


def test_the_largest_message_comes_back() -> None:
    iq = np.frombuffer(np.random.default_rng(1).bytes(8 * MAX_SAMPLES_PER_MESSAGE), dtype=np.complex64)
    assert _read(encode_samples(_block(iq), "noaa-1", 7)).iq.tobytes() == iq.tobytes()


def test_samples_that_are_not_contiguous_come_back() -> None:
    iq = np.arange(100, dtype=np.complex64)
    assert _read(encode_samples(_block(iq[::3]), "noaa-1", 7)).iq.tolist() == iq[::3].tolist()


def test_the_facts_of_a_block_come_back() -> None:
    sent = replace(_block(np.ones(4, dtype=np.complex64), sample_rate_hz=2_400_000.5), frequency_correction_ppm=-2.5)
    message = SamplesMessage.from_json(encode_samples(sent, "noaa-1", 7))
    assert (message.receiver_id, message.sequence) == ("noaa-1", 7)
    got = decode_samples(message)
    for name in ("sample_rate_hz", "center_frequency_hz", "first_sample", "timestamp", "config_epoch"):
        assert getattr(got, name) == getattr(sent, name)
    assert got.frequency_correction_ppm == -2.5
    unknown = encode_samples(replace(sent, frequency_correction_ppm=None), "noaa-1", 7)
    assert b"frequency_correction_ppm" not in unknown
    assert _read(unknown).frequency_correction_ppm is None


def test_the_standard_library_reads_what_we_write() -> None:
    iq = (np.arange(8).view(np.float64) + 0.25).astype(np.complex64)
    message = json.loads(encode_samples(_block(iq), "noaa-1", 7))
    interleaved = np.frombuffer(zlib.decompress(base64.b64decode(message.pop("samples"), validate=True)), dtype="<f4")
    assert interleaved[0::2].tolist() == iq.real.tolist()
    assert interleaved[1::2].tolist() == iq.imag.tolist()
    assert message == {
        "receiver_id": "noaa-1",
        "timestamp": 1701532800.123,
        "sample_count": 8,
        "sample_rate": 2500000,
        "center_frequency": 162550000,
        "encoding": "zlib+base64",
        "first_sample": 12345678901,
        "sequence": 7,
        "config_epoch": 1701532800000000001,
    }


def test_whole_numbers_are_written_without_a_point() -> None:
    payload = encode_samples(_block(np.ones(1, dtype=np.complex64)), "noaa-1", 0)
    assert b'"sample_rate":2500000,' in payload
    assert b'"center_frequency":162550000,' in payload


@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("random", [False, True])
def test_we_read_what_the_standard_library_writes(level: int, random: bool) -> None:
    raw = np.random.default_rng(2).bytes(80_000) if random else bytes(80_000)
    text = base64.b64encode(zlib.compress(raw, level)).decode()
    assert _read(json.dumps(_document(text, sample_count=10_000))).iq.tobytes() == raw


def test_the_seeds_message_is_read_without_our_additions() -> None:
    block = _read(json.dumps(_document()))
    assert (block.first_sample, block.config_epoch, len(block.iq)) == (0, 0, 4)


_GOOD = zlib.compress(bytes(range(32)))


@pytest.mark.parametrize(
    ("compressed", "reason"),
    [
        (_GOOD[:-1], "exactly"),
        (_GOOD[:-4], "exactly"),
        (_GOOD[:10], "exactly"),
        (_GOOD + b"garbage", "exactly"),
        (_GOOD + _GOOD, "exactly"),
        (_GOOD[:-1] + bytes([_GOOD[-1] ^ 1]), "not zlib"),
        (b"\x00" * 20, "not zlib"),
        (zlib.compress(bytes(31)), "exactly"),
        (zlib.compress(bytes(33)), "exactly"),
        (zlib.compress(bytes(40)), "exactly"),
        (zlib.compress(b""), "exactly"),
    ],
)
def test_a_broken_stream_is_refused(compressed: bytes, reason: str) -> None:
    _refused(_document(base64.b64encode(compressed).decode()), reason)


_GOOD_TEXT = base64.b64encode(_GOOD).decode()


@pytest.mark.parametrize(
    "text",
    [
        "=" * 40,
        "!" * 40,
        "é" * 40,
        "\x00" * 40,
        _GOOD_TEXT[:-1],
        _GOOD_TEXT + "A",
        _GOOD_TEXT + "====",
        _GOOD_TEXT[:8] + " " + _GOOD_TEXT[8:],
        _GOOD_TEXT + "\n",
        _GOOD_TEXT.replace("+", "-").replace("/", "_").replace("A", "*", 1),
    ],
)
def test_broken_base64_is_refused(text: str) -> None:
    _refused(_document(text), "not base64")


def test_a_stream_with_a_preset_dictionary_is_refused() -> None:
    compressor = zlib.compressobj(zdict=b"herald" * 10)
    compressed = compressor.compress(b"herald" * 5 + b"ab") + compressor.flush()
    _refused(_document(base64.b64encode(compressed).decode()), "not zlib")


_BOMB = """
import base64, json, resource, sys, zlib
from app_core.base.errors import WireError
from app_core.bridge.messages import SamplesMessage
from app_core.bridge.sample_codec import decode_samples
compressor = zlib.compressobj(9)
bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(240)) + compressor.flush()  # 240 MiB in 240 KiB
document = json.loads(sys.stdin.read())
document["samples"] = base64.b64encode(bomb).decode()
document["sample_count"] = int(sys.argv[1])
payload = json.dumps(document)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_samples(SamplesMessage.from_json(payload))
except WireError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("sample_count", [32_768, MAX_SAMPLES_PER_MESSAGE])
def test_a_decompression_bomb_is_refused_in_little_memory(sample_count: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BOMB, str(sample_count)],
        input=json.dumps(_document()),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout, "the bomb was taken"
    # The text, its decoded bytes and at most the 8 MiB that a message may claim; never the 240 MiB.
    assert int(done.stdout) < 40 * 1024  # KiB


def test_a_message_is_refused_when_its_text_is_too_short_or_too_long_for_its_claim() -> None:
    _refused(_document(sample_count=MAX_SAMPLES_PER_MESSAGE), "cannot hold")
    _refused(_document("A" * 4096), "cannot hold")
    _refused(_document(""), "exactly")


@pytest.mark.parametrize(
    "sample_count",
    [0, -1, MAX_SAMPLES_PER_MESSAGE + 1, 2**31, 2**63, 2**64, 10**30, True, 4.0, "4", None, [4]],
)
def test_a_senseless_sample_count_is_refused(sample_count: object) -> None:
    _refused(_document(sample_count=sample_count), "sample_count")


@pytest.mark.parametrize("encoding", ["base64", "zlib", "ZLIB+BASE64", "", None, 1, "pickle+base64"])
def test_another_encoding_is_refused(encoding: object) -> None:
    _refused(_document(encoding=encoding), "encoding")


@pytest.mark.parametrize(
    "receiver_id",
    ["", "-a", ".a", "a b", "a:b", "a/b", "a\n", "a\x00", "é", "*", "a" * 65, None, 5, ["a"], {"a": 1}],
)
def test_a_senseless_receiver_id_is_refused(receiver_id: object) -> None:
    _refused(_document(receiver_id=receiver_id), "receiver_id")


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": 0},
        {"sample_rate": -1},
        {"sample_rate": 1e10},
        {"sample_rate": "2500000"},
        {"sample_rate": True},
        {"center_frequency": -1},
        {"center_frequency": None},
        {"timestamp": -1.0},
        {"timestamp": "now"},
        {"timestamp": 1e300},
        {"first_sample": -1},
        {"first_sample": 2**63},
        {"sequence": 1.5},
        {"config_epoch": "x"},
        {"samples": 5},
        {"samples": ["AAAA"]},
    ],
)
def test_a_senseless_field_is_refused_by_its_name(changes: dict[str, object]) -> None:
    _refused(_document(**changes), next(iter(changes)))


def test_a_missing_field_is_refused_by_its_name() -> None:
    for name in ("receiver_id", "timestamp", "sample_count", "sample_rate", "center_frequency", "encoding", "samples"):
        document = _document()
        del document[name]
        _refused(document, name)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x10", "1_000"])
def test_numbers_that_json_does_not_know_are_refused(number: str) -> None:
    with pytest.raises(WireError):
        _read(json.dumps(_document()).replace("2500000", number))


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"5", b'"text"', b"{", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, "\ud800"],
)
def test_what_is_not_a_json_object_of_ours_is_refused(payload: bytes | str) -> None:
    with pytest.raises(WireError):
        _read(payload)


def test_a_message_of_100_mb_is_refused_by_its_size_before_it_is_parsed() -> None:
    payload = b'{"receiver_id": "' + b"a" * 100_000_000 + b'"}'
    used_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WireError, match="longer than"):
        SamplesMessage.from_json(payload)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used_before < 10_000  # KiB


@given(payload=st.one_of(st.binary(max_size=300), st.text(max_size=300)))
def test_no_bytes_raise_anything_but_a_wire_error(payload: bytes | str) -> None:
    with pytest.raises(WireError):
        _read(payload)


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(name=st.sampled_from(sorted(_document())), value=_JSON)
def test_no_value_of_a_field_raises_anything_but_a_wire_error(name: str, value: object) -> None:
    with contextlib.suppress(WireError):
        _read(json.dumps(_document(**{name: value})))


@settings(max_examples=300)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), cut=st.integers(0, 50))
def test_a_damaged_stream_gives_an_error_or_the_samples_and_nothing_else(position: int, bit: int, cut: int) -> None:
    raw = np.sin(np.arange(2000)).astype(np.float32).round(1).tobytes()
    compressed = bytearray(zlib.compress(raw))
    compressed[position % len(compressed)] ^= 1 << bit
    text = base64.b64encode(bytes(compressed[: len(compressed) - cut])).decode()
    try:
        block = _read(json.dumps(_document(text, sample_count=1000)))
    except WireError:
        return
    assert block.iq.tobytes() == raw  # the bit was one that means nothing
