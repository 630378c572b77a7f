"""The decoder as a whole: what is on the air comes out, once, and nothing else does."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from app_core.eas.decoder import SameDecoder
from app_core.eas.events import BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified
from app_core.eas.waveform import END_OF_MESSAGE, PREAMBLE, afsk
from tests.unit.eas.same_audio import (
    HEADER,
    OTHER_HEADER,
    RATE_HZ,
    burst,
    decode,
    group,
    headers,
    message,
    noisy,
    silence,
    transport,
)

CORPUS = os.environ.get("HERALD_CORPUS")


def corpus() -> list[tuple[str, list[str]]]:
    if CORPUS is None:
        return []
    return [(e["file"], e["expected"]) for e in json.loads((Path(CORPUS) / "manifest.json").read_text())]


@pytest.mark.skipif(CORPUS is None, reason="HERALD_CORPUS does not name the folder with the recordings")
@pytest.mark.parametrize(("file", "expected"), corpus())
def test_recordings_decode_exactly(file: str, expected: list[str]) -> None:
    pcm, rate_hz = soundfile.read(Path(str(CORPUS)) / file, dtype="float32")
    events = decode(pcm, rate_hz)
    assert headers(events) == expected
    if file == "sameold_two_and_two.wav":
        assert transport(events) == ["NNNN", *expected]


@pytest.mark.parametrize("rate_hz", [8000.0, 16000.0, 22050.0, 24000.0, 44100.0, 48000.0])
def test_a_message_gives_one_header_and_one_end_at_any_rate(rate_hz: float) -> None:
    pcm = message(HEADER, rate_hz)
    events = decode(pcm, rate_hz)
    assert transport(events) == [HEADER, "NNNN"]
    assert [e.kind for e in events if isinstance(e, BurstHeard)] == ["header"] * 3 + ["end"] * 3
    assert not [e for e in events if isinstance(e, HeaderUnverified)]


def test_positions_are_those_of_the_input() -> None:
    events = decode(message(HEADER))
    length = len(burst(HEADER))
    starts = [round(0.5 * RATE_HZ) + i * (length + round(RATE_HZ)) for i in range(4)]
    heard = [e for e in events if isinstance(e, BurstHeard)]
    assert [e.start_sample for e in heard[:4]] == pytest.approx(starts, abs=3)
    assert heard[0].end_sample == pytest.approx(starts[0] + length, abs=6)
    decoded = next(e for e in events if isinstance(e, HeaderDecoded))
    assert decoded.start_sample == pytest.approx(starts[0], abs=3)
    end = next(e for e in events if isinstance(e, EndOfMessage))
    assert (end.start_sample, end.end_sample) == pytest.approx(
        (starts[3], starts[3] + len(burst(END_OF_MESSAGE))), abs=6
    )


def test_the_header_is_given_within_a_second_of_the_third_burst() -> None:
    pcm = noisy(np.concatenate([silence(0.5), group(HEADER), silence(5.0)]), 9.0)
    end_of_third = round(0.5 * RATE_HZ) + 3 * len(burst(HEADER)) + 2 * round(RATE_HZ)
    decoder = SameDecoder(RATE_HZ)
    assert headers(decoder.push(pcm[: end_of_third + round(RATE_HZ)])) == [HEADER]


def test_the_header_is_given_in_time_when_the_tones_do_not_cease() -> None:
    t = np.arange(round(4.0 * RATE_HZ)) / RATE_HZ
    tone = np.sin(2 * np.pi * 2083.0 * t).astype(np.float32)
    lead = np.concatenate([silence(0.5), group(HEADER, n=2), burst(HEADER)])
    decoder = SameDecoder(RATE_HZ)
    pcm = noisy(np.concatenate([lead, tone]), 9.0, 3)
    assert headers(decoder.push(pcm[: len(lead) - 1000])) == []
    assert headers(decoder.push(pcm[len(lead) - 1000 : len(lead) + round(RATE_HZ)])) == [HEADER]


def seconds_to_decision(text: str, seed: int) -> float | None:
    """Time from a lone burst's end to its header."""
    lead = np.concatenate([silence(0.3), burst(text)])
    pcm = noisy(np.concatenate([lead, silence(8.0)]), 16.0, seed)
    decoder, step = SameDecoder(RATE_HZ), round(0.25 * RATE_HZ)
    for end in range(step, len(pcm), step):
        if headers(decoder.push(pcm[end - step : end])):
            return (end - len(lead)) / RATE_HZ
    return None


def test_a_lone_burst_is_decided_when_the_next_one_is_overdue() -> None:
    # An event that nobody knows is not believed before that.
    waited = [seconds_to_decision(HEADER.replace("TOR", "XYZ"), seed) for seed in range(4)]
    assert all(s is not None and 2.0 < s < 4.0 for s in waited)


def test_a_strong_burst_is_decided_at_once() -> None:
    waited = [seconds_to_decision(HEADER, seed) for seed in range(4)]
    assert all(s is not None and s <= 0.5 for s in waited)


def test_two_bursts_that_agree_need_not_wait_for_the_third() -> None:
    pcm = noisy(np.concatenate([silence(0.4), group(HEADER, n=2)]), 14.0)
    assert headers(SameDecoder(RATE_HZ).push(pcm)) == [HEADER]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_bit_that_flips_in_one_burst_makes_no_other_header(place: int) -> None:
    bursts = [HEADER] * 3
    bursts[place] = HEADER.replace("+0045", "+0445")
    pcm = np.concatenate([silence(0.4)] + [np.concatenate([burst(text), silence(1.0)]) for text in bursts])
    events = decode(noisy(pcm, 20.0))
    assert headers(events) == [HEADER]
    assert not [e for e in events if isinstance(e, HeaderUnverified)]


locations = st.lists(st.text("0123456789", min_size=6, max_size=6), min_size=1, max_size=31)
events_or_originators = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    originator=events_or_originators,
    event=events_or_originators,
    places=locations,
    purge=st.text("0123456789", min_size=4, max_size=4),
    issued=st.text("0123456789", min_size=6, max_size=7),
    callsign=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/ abcxyz.", min_size=7, max_size=8),
)
def test_any_legal_header_decodes(
    originator: str, event: str, places: list[str], purge: str, issued: str, callsign: str
) -> None:
    text = f"ZCZC-{originator}-{event}-{'-'.join(places)}+{purge}-{issued}-{callsign}-"
    assert headers(decode(np.concatenate([silence(0.2), group(text, 12000.0)]), 12000.0)) == [text]


PIECE = noisy(np.concatenate([message(OTHER_HEADER, 8000.0), silence(0.3, 8000.0)]), 14.0, rate_hz=8000.0)
WHOLE = decode(PIECE, 8000.0, [len(PIECE)])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(blocks=st.lists(st.integers(0, 20000), min_size=1, max_size=12).filter(any))
def test_block_boundaries_change_nothing(blocks: list[int]) -> None:
    assert transport(WHOLE) == [OTHER_HEADER, "NNNN"]
    assert decode(PIECE, 8000.0, blocks) == WHOLE


def test_single_samples_change_nothing() -> None:
    decoder = SameDecoder(8000.0)
    events = [e for i in range(30000) for e in decoder.push(PIECE[i : i + 1])]
    events += decoder.push(PIECE[30000:])
    assert events + decoder.finish() == WHOLE


@pytest.mark.parametrize("clock", [-0.03, -0.01, -0.005, 0.005, 0.02, 0.03])
def test_a_wrong_clock_is_followed(clock: float) -> None:
    events = decode(noisy(message(HEADER, clock=clock), 20.0))
    assert transport(events) == [HEADER, "NNNN"]
    heard = [e.clock_error for e in events if isinstance(e, BurstHeard)]
    assert heard == pytest.approx([clock] * 6, abs=1e-4)


def test_bits_of_whole_samples_are_followed() -> None:
    # 22050 Hz / 42 samples = 525 Bd, with the tones where they belong, as some encoders send.
    bits = np.unpackbits(np.frombuffer(PREAMBLE + HEADER.encode(), np.uint8), bitorder="little")
    frequency = np.repeat(np.where(bits == 1, 6250 / 3, 1562.5), 42)
    sound = np.sin(2 * np.pi * np.cumsum(frequency) / 22050.0).astype(np.float32)
    pcm = np.concatenate([silence(0.3, 22050.0), sound, silence(1.0, 22050.0), sound, silence(1.0, 22050.0)])
    assert headers(decode(noisy(pcm, 14.0, rate_hz=22050.0), 22050.0)) == [HEADER]


@pytest.mark.parametrize("present", [(0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1)])
def test_missing_bursts_are_made_up_for(present: tuple[int, ...]) -> None:
    one = burst(HEADER)
    pcm = np.concatenate([silence(0.4)] + [np.concatenate([one * on, silence(1.0)]) for on in present])
    assert headers(decode(noisy(pcm, 18.0))) == [HEADER]


@pytest.mark.parametrize("pause_s", [0.3, 0.87, 2.0])
def test_pauses_between_bursts_may_vary(pause_s: float) -> None:
    pcm = np.concatenate([silence(0.3), group(HEADER, pause_s=pause_s), group(END_OF_MESSAGE, pause_s=pause_s)])
    assert transport(decode(noisy(pcm, 18.0))) == [HEADER, "NNNN"]


def test_two_messages_may_follow_each_other_at_once() -> None:
    first, second = message(HEADER), message(OTHER_HEADER)[round(0.5 * RATE_HZ) :]
    pcm = noisy(np.concatenate([first, silence(0.3), second]), 20.0)
    assert transport(decode(pcm)) == [HEADER, "NNNN", OTHER_HEADER, "NNNN"]


def test_another_header_without_an_end_of_message_is_another_message() -> None:
    pcm = np.concatenate([silence(0.4), group(HEADER, n=2), group(OTHER_HEADER, n=2)])
    assert headers(decode(noisy(pcm, 20.0))) == [HEADER, OTHER_HEADER]


def test_a_doubtful_burst_does_not_spoil_the_next_message() -> None:
    pcm = np.concatenate([silence(0.4), group(OTHER_HEADER, n=1), group(HEADER, n=2)])
    for seed in range(4):
        assert HEADER in headers(decode(noisy(pcm, 11.0, seed)))


def test_a_lone_burst_is_given_when_another_message_follows() -> None:
    pcm = np.concatenate([silence(0.4), group(OTHER_HEADER, n=1), group(HEADER)])
    assert headers(decode(noisy(pcm, 18.0))) == [OTHER_HEADER, HEADER]


def test_a_lone_burst_soon_after_an_end_of_message_has_its_own_end() -> None:
    second = np.concatenate([burst(OTHER_HEADER), silence(0.5), burst(END_OF_MESSAGE)])
    pcm = np.concatenate([message(HEADER), silence(0.3), second, silence(1.0)])
    assert transport(decode(noisy(pcm, 20.0))) == [HEADER, "NNNN", OTHER_HEADER, "NNNN"]


def test_text_that_looks_like_a_preamble_is_not_another_burst() -> None:
    # A plus sign is 0x2B, which is 0xAB but for its eighth bit.
    pcm = np.concatenate([silence(0.2), group("ZCZC-WXR-" + "+" * 24 + "5" * 40)])
    assert len([e for e in decode(noisy(pcm, 20.0)) if isinstance(e, BurstHeard)]) == 3


@pytest.mark.parametrize("eb_n0_db", [9.5, 20.0])
def test_a_message_that_differs_in_one_character_is_not_lost(eb_n0_db: float) -> None:
    other = HEADER.replace("TOR", "TOA")
    pcm = np.concatenate([silence(0.4), group(HEADER), silence(1.0), group(other)])
    assert headers(decode(noisy(pcm, eb_n0_db))) == [HEADER, other]


def test_a_message_of_two_bursts_after_one_of_two_that_differs_in_one_character_is_not_lost() -> None:
    other = HEADER.replace("TOR", "TOA")
    pcm = np.concatenate([silence(0.4), group(HEADER, n=2), group(other, n=2)])
    assert headers(decode(noisy(pcm, 18.0))) == [HEADER, other]


def test_a_fourth_burst_of_the_same_header_is_the_same_message() -> None:
    pcm = np.concatenate([silence(0.4), group(HEADER, n=5)])
    events = decode(noisy(pcm, 14.0))
    assert headers(events) == [HEADER]
    assert not [e for e in events if isinstance(e, HeaderUnverified)]


def test_a_repeated_burst_in_a_deep_fade_does_not_give_the_header_twice() -> None:
    faded = burst(HEADER)
    faded[round(0.35 * RATE_HZ) :] *= 0.02
    pcm = np.concatenate([silence(0.4), group(HEADER, n=1), faded, silence(1.0), group(HEADER, n=1)])
    assert headers(decode(noisy(pcm, 16.0))) == [HEADER]


@pytest.mark.parametrize("between", [group(END_OF_MESSAGE), silence(14.0)])
def test_the_same_header_is_given_again_after_an_end_or_silence(between: np.ndarray) -> None:
    pcm = np.concatenate([silence(0.4), group(HEADER), between, group(HEADER)])
    assert headers(decode(noisy(pcm, 20.0))) == [HEADER, HEADER]


def test_three_noisy_bursts_are_combined() -> None:
    # One burst has 28 wrong bits in a thousand at this level, so none of the three is likely to be clean.
    decoded = [headers(decode(noisy(message(HEADER), 8.5, seed))) for seed in range(6)]
    assert decoded.count([HEADER]) >= 5
    assert all(texts in ([], [HEADER]) for texts in decoded)


@pytest.mark.parametrize("eb_n0_db", [3.0, 4.5, 6.0])
def test_no_wrong_header_comes_out_of_noise(eb_n0_db: float) -> None:
    for seed in range(5):
        assert set(headers(decode(noisy(message(HEADER), eb_n0_db, seed)))) <= {HEADER}


def test_garbage_behind_zczc_is_refused() -> None:
    rng = np.random.default_rng(5)
    pieces = []
    for _ in range(12):
        garbage = b"ZCZC-" + bytes(rng.integers(32, 127, 50).astype(np.uint8)) + b"-"
        pieces += [burst(garbage), silence(1.0)]
    assert headers(decode(np.concatenate(pieces))) == []


@pytest.mark.parametrize(
    "wrong",
    [
        HEADER.replace("029095", "02909x"),
        HEADER.replace("WXR", "W*R"),
        HEADER.replace("+", "-"),
        HEADER.replace("KEAX/NWS-", "KEAX/NWS+"),
        HEADER[:-12],
    ],
)
def test_a_malformed_header_is_not_mended(wrong: str) -> None:
    events = decode(np.concatenate([silence(0.2), group(wrong)]))
    assert headers(events) == []
    assert [e for e in events if isinstance(e, HeaderUnverified)]


@pytest.mark.parametrize("extra", [b"\x00\x00", b"\xff\xff\xff", b"\x00\xff", b"--"])
def test_bytes_behind_the_last_dash_do_no_harm(extra: bytes) -> None:
    pcm = np.concatenate([silence(0.2), group(b"".join([HEADER.encode(), extra]))])
    assert headers(decode(noisy(pcm, 18.0))) == [HEADER]


def test_zero_bytes_before_the_preamble_do_no_harm() -> None:
    one = afsk(b"\x00\x00" + PREAMBLE + HEADER.encode(), RATE_HZ)
    pcm = np.concatenate([silence(0.2)] + [one, silence(1.0)] * 3)
    assert headers(decode(noisy(pcm, 18.0))) == [HEADER]


def test_the_eighth_bit_may_be_set() -> None:
    eighth = bytes(c | 0x80 for c in HEADER.encode())
    ends = bytes(c | 0x80 for c in END_OF_MESSAGE)
    pcm = np.concatenate([silence(0.2), group(eighth), group(ends)])
    assert transport(decode(noisy(pcm, 14.0))) == [HEADER, "NNNN"]


def test_an_end_of_message_alone_is_given_once() -> None:
    assert transport(decode(np.concatenate([silence(0.2), group(b"NNNN")]))) == ["NNNN"]


@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0.6), (1e-3, 0.0), (30000.0, 0.0)])
def test_level_and_offset_do_not_matter(gain: float, offset: float) -> None:
    pcm = np.asarray(gain * noisy(message(HEADER), 18.0) + offset, np.float32)
    assert transport(decode(pcm)) == [HEADER, "NNNN"]


def test_a_first_burst_that_is_cut_does_no_harm() -> None:
    cut = burst(HEADER)[round(0.1 * RATE_HZ) :]
    pcm = np.concatenate([cut, silence(1.0), group(HEADER, n=2)])
    assert headers(decode(noisy(pcm, 14.0))) == [HEADER]


def test_samples_that_are_not_finite_do_no_lasting_harm() -> None:
    pcm = message(HEADER)
    pcm[:400] = np.nan
    pcm[10000:10100] = np.inf
    pcm[14000:14010] = -3e38
    assert transport(decode(pcm)) == [HEADER, "NNNN"]


def test_lost_samples_are_erasures_and_time_goes_on() -> None:
    pcm = noisy(message(HEADER), 16.0)
    decoder = SameDecoder(RATE_HZ)
    lost = round(0.1 * RATE_HZ)
    at = round(1.0 * RATE_HZ)
    events = decoder.push(pcm[:at]) + decoder.skip(lost) + decoder.push(pcm[at + lost :]) + decoder.finish()
    assert transport(events) == [HEADER, "NNNN"]
    end = next(e for e in events if isinstance(e, EndOfMessage))
    assert end.start_sample == next(e for e in decode(pcm) if isinstance(e, EndOfMessage)).start_sample


@pytest.mark.parametrize("pieces", [1, 7, 2400])
def test_a_loss_may_be_told_in_pieces(pieces: int) -> None:
    pcm = noisy(message(HEADER), 16.0)
    lost, at = 2400, round(1.0 * RATE_HZ)
    sizes = [len(part) for part in np.array_split(np.zeros(lost), pieces)]
    decoder = SameDecoder(RATE_HZ)
    events = decoder.push(pcm[:at])
    for size in sizes:
        events += decoder.skip(size)
    events += decoder.push(pcm[at + lost :]) + decoder.finish()
    whole = SameDecoder(RATE_HZ)
    wanted = whole.push(pcm[:at]) + whole.skip(lost) + whole.push(pcm[at + lost :]) + whole.finish()
    assert events == wanted
    assert transport(events) == [HEADER, "NNNN"]
    assert decoder.skip(0) == []


def test_a_loss_of_hours_is_quick_and_counted() -> None:
    pcm = message(HEADER)
    hours = int(5 * 3600 * RATE_HZ)
    decoder = SameDecoder(RATE_HZ)
    first = decoder.push(pcm)
    assert not headers(decoder.skip(hours // 2) + decoder.skip(hours - hours // 2))
    second = decoder.push(pcm) + decoder.finish()
    assert headers(first) == headers(second) == [HEADER]
    starts = [next(e.start_sample for e in events if isinstance(e, HeaderDecoded)) for events in (first, second)]
    assert starts[1] - starts[0] == hours + len(pcm)


def test_a_stream_that_ends_in_a_burst_is_decided_by_finish() -> None:
    pcm = noisy(np.concatenate([silence(0.4), burst(HEADER), silence(1.0), burst(HEADER)]), 12.0)
    assert headers(decode(pcm)) == [HEADER]


def test_a_decoder_goes_on_behind_finish() -> None:
    decoder = SameDecoder(RATE_HZ)
    pcm = message(HEADER)
    first, second = (decoder.push(pcm) + decoder.finish() for _ in range(2))
    assert headers(first) == headers(second) == [HEADER]
    starts = [next(e.start_sample for e in events if isinstance(e, HeaderDecoded)) for events in (first, second)]
    assert starts[1] - starts[0] == len(pcm)


@pytest.mark.parametrize("rate_hz", [0.0, 7000.0, 400_000.0, float("nan")])
def test_a_rate_that_cannot_carry_same_is_refused(rate_hz: float) -> None:
    with pytest.raises(ValueError, match="sample_rate_hz"):
        SameDecoder(rate_hz)
