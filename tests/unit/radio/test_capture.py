"""Captures: what memory holds, what stands in the file, and how much of the disk it may take."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest
import sigmf
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock
from app_core.base.errors import ConfigError, DeviceError, HeraldError
from app_core.base.machine_memory import memory_share_bytes
from app_core.bridge.commands import CommandMessage
from app_core.radio.capture import MAX_OPEN, CaptureResult, CaptureWriter
from app_core.radio.capture_folder import CaptureFolder, CaptureSettings
from app_core.radio.capture_memory import CaptureMemory, Tape
from app_core.radio.capture_samples import pack_samples
from app_core.radio.receiver import RtlTcpSettings
from tests.support.programs import eventually

_RATE_HZ = 1000.0
_FREQUENCY_HZ = 162_475_000.0
_NOW = 1_750_000_000.0


def _ramp(first: int, n_samples: int) -> NDArray[np.complex64]:
    """Samples that an 8-bit dongle could have given, each saying its index."""
    codes = np.arange(2 * first, 2 * (first + n_samples)) % 251
    return ((codes.astype(np.float32) - 127.5) / np.float32(127.5)).view(np.complex64)


def _block(
    first: int, n_samples: int = 100, *, epoch: int = 1, frequency_hz: float = _FREQUENCY_HZ, late_s: float = 0.0
) -> IqBlock:
    return IqBlock(_ramp(first, n_samples), _RATE_HZ, frequency_hz, first, _NOW + first / _RATE_HZ + late_s, epoch)


def _command(command_id: str = "c", **fields: float | str | bool) -> CommandMessage:
    return CommandMessage.model_validate(
        {"action": "capture", "receiver_id": "rx", "command_id": command_id, "seconds": 0.5, **fields}
    )


class _Captures:
    """A writer that runs, and what it told."""

    def __init__(self, folder: Path, memory_s: float = 30.0, **settings: object) -> None:
        self.now_s = 0.0
        self.memory = CaptureMemory("rx", memory_s, 10_000_000)
        defaults: dict[str, object] = {"keep_free_bytes": 0}
        self.folder = CaptureFolder(folder / "captures", CaptureSettings.model_validate(defaults | settings))
        self.writer = CaptureWriter("rx", self.memory, self.folder, "a test", monotonic=lambda: self.now_s)
        self.outcomes: list[CaptureResult | HeraldError] = []

    def begin(self, command: CommandMessage, *, is_live: bool = True) -> bool:
        return self.writer.begin(command, self.outcomes.append, is_live=is_live)

    def wait(self, count: int = 1) -> CaptureResult:
        eventually(lambda: len(self.outcomes) >= count, "the capture")
        outcome = self.outcomes[count - 1]
        assert isinstance(outcome, CaptureResult), outcome
        return outcome


@contextmanager
def _captures(folder: Path, memory_s: float = 30.0, **settings: object) -> Iterator[_Captures]:
    captures = _Captures(folder, memory_s, **settings)
    with captures.writer:
        yield captures


def test_memory_is_bounded_in_seconds_and_in_bytes(caplog: pytest.LogCaptureFixture) -> None:
    by_time = CaptureMemory("rx", 1.0, 1_000_000)
    for first in range(0, 5000, 100):
        by_time.append(_block(first), "cu8")
    assert 1.0 <= by_time.status()["memory_s"] <= 1.2
    assert caplog.text == ""
    by_bytes = CaptureMemory("rx", 30.0, 4000)
    for first in range(0, 5000, 100):
        by_bytes.append(_block(first), "cu8")
    assert by_bytes.status() == {
        "memory_s": 2.0,
        "memory_limit_s": 2.0,
        "memory_wanted_s": 30.0,
        "memory_bytes": 4000,
    }
    assert caplog.text.count("captures of rx reach back 2.0 s and not 30 s") == 1


def test_a_capture_of_the_past_is_cut_to_the_sample(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        for first in range(0, 2000, 100):
            captures.memory.append(_block(first), "cu8")
        assert captures.begin(_command(start_timestamp=_NOW + 0.25, label="SAME TOR", reason="ZCZC-WXR-TOR"))
        result = captures.wait()
    assert (result.samples, result.gaps, result.missing_s) == (500, 0, 0.0)
    assert (result.start, result.seconds) == (_NOW + 0.25, 0.5)
    assert result.path.name == "20250615T150640Z_rx_c.sigmf-meta"
    recorded = np.fromfile(result.path.with_suffix(".sigmf-data"), dtype=np.uint8)
    assert recorded.tobytes() == pack_samples(_ramp(250, 500), "cu8").tobytes()
    assert sorted(path.name for path in result.path.parent.iterdir()) == [
        "20250615T150640Z_rx_c.sigmf-data",
        "20250615T150640Z_rx_c.sigmf-meta",
    ]


def test_the_metadata_are_valid_sigmf_and_tell_all(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0, 1000), "cs16")
        captures.begin(_command(start_timestamp=_NOW, label="SAME TOR", reason="ZCZC-WXR-TOR"))
        result = captures.wait()
    recording = sigmf.fromfile(str(result.path))
    recording.validate()
    assert recording.get_global_field("core:datatype") == "ci16_le"
    assert recording.get_global_field("core:hw") == "a test"
    assert recording.get_captures() == [
        {
            "core:sample_start": 0,
            "core:frequency": _FREQUENCY_HZ,
            "core:datetime": "2025-06-15T15:06:40.000000Z",
            "core:global_index": 0,
        }
    ]
    (annotation,) = recording.get_annotations()
    assert (annotation["core:label"], annotation["core:comment"]) == ("SAME TOR", "ZCZC-WXR-TOR")
    assert (annotation["core:sample_start"], annotation["core:sample_count"]) == (0, 500)


def test_a_capture_goes_on_with_what_comes_live(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0), "cu8")
        captures.begin(_command(seconds=1.0, start_timestamp=_NOW + 0.05))
        for first in range(100, 2000, 100):
            captures.memory.append(_block(first), "cu8")
        result = captures.wait()
    recorded = np.fromfile(result.path.with_suffix(".sigmf-data"), dtype=np.uint8)
    assert recorded.tobytes() == pack_samples(_ramp(50, 1000), "cu8").tobytes()
    assert captures.writer.status()["open"] == 0


@pytest.mark.parametrize("drift", [0.03, -0.03])
@pytest.mark.parametrize("start", [None, _NOW + 0.05, _NOW + 0.2, _NOW + 0.73])
def test_a_live_capture_holds_exactly_the_samples_of_its_seconds_whatever_the_clock_does(
    tmp_path: Path, drift: float, start: float | None
) -> None:
    # The times of the blocks follow the host's clock, and so drift against the count of their samples.
    blocks = [_block(first, late_s=drift * first / _RATE_HZ) for first in range(0, 4000, 100)]
    command = _command(seconds=1.5) if start is None else _command(seconds=1.5, start_timestamp=start)
    with _captures(tmp_path) as captures:
        for block in blocks[:2]:
            captures.memory.append(block, "cu8")
        captures.begin(command)
        for block in blocks[2:]:
            captures.memory.append(block, "cu8")
        result = captures.wait()
    assert (result.samples, result.seconds, result.missing_s, result.gaps) == (1500, 1.5, 0.0, 0)
    if start is not None:
        assert result.start == pytest.approx(start, abs=2e-3)
    recorded = np.fromfile(result.path.with_suffix(".sigmf-data"), dtype=np.uint8)
    first = int(orjson.loads(result.path.read_bytes())["captures"][0]["core:global_index"])
    assert recorded.tobytes() == pack_samples(_ramp(first, 1500), "cu8").tobytes()


def test_what_a_capture_lacks_at_its_ends_is_counted_by_the_sample(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(100), "cu8")
        captures.begin(_command(seconds=0.5, start_timestamp=_NOW + 0.07))
        captures.memory.append(_block(200, late_s=0.004), "cu8")
        captures.now_s = 100.0
        result = captures.wait()
    # Asked for were samples 70 to 570; there were 100 to 300.
    assert result.samples == 200
    assert result.missing_s == pytest.approx(0.3, abs=1e-9)


def test_a_reader_that_counts_anew_goes_on_in_the_same_capture(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(5000), "cu8")
        captures.memory.append(_block(5100), "cu8")
        captures.begin(_command(seconds=0.5, start_timestamp=_NOW + 5.0))
        # It has begun at zero, 20 ms after the last sample of the one before.
        for first in range(0, 500, 100):
            captures.memory.append(_block(first, epoch=2, late_s=5.22), "cu8")
        result = captures.wait()
    assert (result.samples, result.gaps, result.lost_samples) == (480, 1, 20)
    assert result.missing_s == 0.0


def test_lost_samples_and_a_retune_begin_segments_of_their_own(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0), "cu8")
        captures.memory.append(_block(150), "cu8")
        captures.memory.append(_block(250, epoch=2, frequency_hz=1e8), "cu8")
        captures.memory.append(_block(350, epoch=2, frequency_hz=1e8), "cu8")
        captures.begin(_command(seconds=0.45, start_timestamp=_NOW))
        result = captures.wait()
    assert (result.samples, result.gaps, result.lost_samples) == (400, 1, 50)
    segments = orjson.loads(result.path.read_bytes())["captures"]
    assert [segment["core:sample_start"] for segment in segments] == [0, 100, 200]
    assert [segment["core:global_index"] for segment in segments] == [0, 150, 250]
    assert [segment["core:frequency"] for segment in segments] == [_FREQUENCY_HZ, _FREQUENCY_HZ, 1e8]
    assert segments[1]["core:datetime"] == "2025-06-15T15:06:40.150000Z"


def test_a_change_of_the_rate_ends_a_capture_and_says_what_is_missing(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0), "cu8")
        other = _block(100, epoch=2)
        captures.memory.append(
            IqBlock(other.iq, 2 * _RATE_HZ, _FREQUENCY_HZ, 100, other.timestamp, 2),
            "cu8",
        )
        captures.begin(_command(seconds=0.15, start_timestamp=_NOW))
        result = captures.wait()
    assert result.samples == 100
    assert result.missing_s == pytest.approx(0.05, abs=1e-5)


def test_a_capture_whose_samples_stop_coming_ends_with_what_there_is(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0), "cu8")
        captures.begin(_command(seconds=2.0, start_timestamp=_NOW))
        captures.now_s = 1.9 + 4.9
        eventually(lambda: captures.writer.status()["open"] == 1, "it waits")
        captures.now_s = 1.9 + 5.1
        result = captures.wait()
        assert result.samples == 100
        assert result.missing_s == pytest.approx(1.9, abs=1e-5)
        captures.begin(_command("d", seconds=2.0))
        captures.now_s = 100.0
        eventually(lambda: len(captures.outcomes) == 2, "the other")
    assert isinstance(captures.outcomes[1], DeviceError)
    assert len(list(captures.folder.path.iterdir())) == 2, "nothing is left of what failed"


def test_what_is_under_way_when_the_service_stops_is_kept(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0), "cu8")
        captures.begin(_command(seconds=60.0, start_timestamp=_NOW))
    assert captures.wait().samples == 100


def test_what_cannot_be_captured_is_refused_with_the_reason(tmp_path: Path) -> None:
    with _captures(tmp_path, memory_s=1.0, longest_s=10.0, max_bytes=10_000) as captures:
        with pytest.raises(DeviceError, match="no sample of rx has come yet"):
            captures.begin(_command())
        for first in range(0, 5000, 100):
            captures.memory.append(_block(first), "cu8")
        refusals: tuple[tuple[dict[str, float], str], ...] = (
            ({"seconds": 11.0}, "at most 10 s, not 11 s"),
            ({"seconds": 6.0}, "12000 bytes; the longest may take 10000"),
            ({"start_timestamp": _NOW}, "it reaches back 1.1 s"),
            ({"start_timestamp": _NOW + 60.0}, "begins at most 10 s from now"),
        )
        for fields, words in refusals:
            with pytest.raises(ConfigError, match=words):
                captures.begin(_command("c", **fields))
        with pytest.raises(DeviceError, match="gives no samples now"):
            captures.begin(_command(), is_live=False)
        for number in range(MAX_OPEN):
            assert captures.begin(_command(f"c{number}", seconds=0.01))
        assert not captures.begin(_command("one-more", seconds=0.01))
    with pytest.raises(DeviceError, match="not running"):
        captures.begin(_command())


def test_captures_that_somebody_asked_for_leave_a_place_for_that_of_an_alert(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0, 1000), "cu8")
        for number in range(MAX_OPEN):
            assert captures.begin(_command(f"c{number}", seconds=5.0, start_timestamp=_NOW + 590.0))
        assert not captures.begin(_command("one-more", seconds=5.0))
        for number in range(MAX_OPEN):
            assert captures.begin(_command(f"alert-{number}", seconds=2.0, start_timestamp=_NOW, automatic=True))
        assert not captures.begin(_command("alert-one-more", start_timestamp=_NOW, automatic=True))
        for first in range(1000, 2000, 100):
            captures.memory.append(_block(first), "cu8")
        eventually(lambda: len(captures.outcomes) == MAX_OPEN, "the alerts' captures")
        assert captures.begin(_command("alert-next", start_timestamp=_NOW, automatic=True))
        assert captures.wait(MAX_OPEN + 1).samples == 500


def test_memory_is_an_eighth_of_what_the_process_may_count_on_unless_it_is_set() -> None:
    assert RtlTcpSettings(id="rx", driver="rtl_tcp").capture_memory_max_bytes == memory_share_bytes(1 / 8)
    settings = RtlTcpSettings(id="rx", driver="rtl_tcp", capture_memory_max_bytes=1000)
    assert settings.capture_memory_max_bytes == 1000


def test_a_folder_that_cannot_be_written_fails_the_capture_and_not_the_writer(tmp_path: Path) -> None:
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0, 1000), "cu8")
        (tmp_path / "captures").write_text("a file where the folder should be")
        with pytest.raises(DeviceError, match="cannot be used for captures"):
            captures.begin(_command(start_timestamp=_NOW))
        (tmp_path / "captures").unlink()
        name = "20250615T150640Z_rx_c.sigmf-data.part"
        (tmp_path / "captures" / name).mkdir(parents=True)
        captures.begin(_command(start_timestamp=_NOW))
        eventually(lambda: len(captures.outcomes) == 1, "the failure")
        assert "cannot be written" in str(captures.outcomes[0])
        captures.begin(_command("d", start_timestamp=_NOW))
        assert captures.wait(2).samples == 500


def test_a_tape_that_nobody_empties_leaves_out_what_is_too_much() -> None:
    memory = CaptureMemory("rx", 1.0, 400)
    tape = memory.tape(_NOW, 10.0)
    for first in range(0, 1000, 100):
        memory.append(_block(first), "cu8")
    taken = []
    while (piece := tape.take()) is not None:
        taken.append(piece.first_sample)
    assert taken == [0, 100]
    assert tape.dropped_samples == 800
    memory.append(_block(1000), "cu8")
    assert tape.take() is not None
    memory.drop(tape)
    memory.append(_block(1100), "cu8")
    assert tape.take() is None


def test_a_tape_is_complete_when_its_end_has_come_and_not_before() -> None:
    tape = Tape(_NOW, 0.2, 10_000)
    memory = CaptureMemory("rx", 1.0, 10_000)
    memory.append(_block(0), "cu8")
    newest = memory.ends
    assert newest is not None
    tape.put(newest[1])
    assert not tape.is_complete
    memory.append(_block(100), "cu8")
    newest = memory.ends
    assert newest is not None
    tape.put(newest[1])
    assert tape.is_complete


def _put_capture(folder: Path, name: str, n_bytes: int, age_s: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, size in ((".sigmf-data", n_bytes - 10), (".sigmf-meta", 10)):
        path = folder / (name + suffix)
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - age_s,) * 2)


def test_the_oldest_automatic_captures_go_first_and_others_never(tmp_path: Path) -> None:
    folder = CaptureFolder(tmp_path, CaptureSettings(folder_max_bytes=1000, keep_free_bytes=0))
    _put_capture(tmp_path, "asked-for", 400, 9000.0)
    _put_capture(tmp_path / "automatic", "old", 200, 500.0)
    _put_capture(tmp_path / "automatic", "older", 200, 800.0)
    _put_capture(tmp_path / "automatic", "new", 200, 100.0)
    place = folder.reserve("x", 200, automatic=False)
    assert {path.stem for path in (tmp_path / "automatic").iterdir()} == {"old", "new"}
    folder.reserve("y", 200, automatic=True)
    assert {path.stem for path in (tmp_path / "automatic").iterdir()} == {"new"}
    with pytest.raises(ConfigError, match="the folder holds 600 bytes of at most 1000; remove captures from"):
        folder.reserve("z", 201, automatic=False)
    assert {path.stem for path in (tmp_path / "automatic").iterdir()} == {"new"}, "none goes for nothing"
    folder.release(place)
    folder.reserve("z", 200, automatic=False)
    assert (tmp_path / "asked-for.sigmf-data").exists()
    assert folder.removed_count == 2


def test_the_disk_keeps_its_free_room_and_abandoned_parts_go(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    available = free.f_bavail * free.f_frsize
    folder = CaptureFolder(tmp_path, CaptureSettings(keep_free_bytes=2 * available))
    with pytest.raises(ConfigError, match="bytes free, of which"):
        folder.reserve("x", 1, automatic=True)
    (tmp_path / "dead.sigmf-data.part").write_bytes(b"x")
    (tmp_path / "live.sigmf-data.part").write_bytes(b"x")
    os.utime(tmp_path / "dead.sigmf-data.part", (time.time() - 700.0,) * 2)
    roomy = CaptureFolder(tmp_path, CaptureSettings(keep_free_bytes=0))
    roomy.reserve("x", 1, automatic=False)
    assert [path.name for path in tmp_path.glob("*.part")] == ["live.sigmf-data.part"]


def test_two_captures_of_one_name_get_two_files(tmp_path: Path) -> None:
    folder = CaptureFolder(tmp_path, CaptureSettings(keep_free_bytes=0))
    first = folder.reserve("x", 1, automatic=False)
    second = folder.reserve("x", 1, automatic=False)
    assert (first.data_path.name, second.data_path.name) == ("x.sigmf-data", "x_2.sigmf-data")
    _put_capture(tmp_path, "y", 20, 0.0)
    assert folder.reserve("y", 1, automatic=False).meta_path.name == "y_2.sigmf-meta"


def test_memory_is_filled_while_captures_are_written(tmp_path: Path) -> None:
    """Two captures and the thread that fills the memory do not lose each other's samples."""
    with _captures(tmp_path) as captures:
        captures.memory.append(_block(0), "cu8")

        def fill() -> None:
            for first in range(100, 20_000, 100):
                captures.memory.append(_block(first), "cu8")

        captures.begin(_command("a", seconds=15.0, start_timestamp=_NOW))
        captures.begin(_command("b", seconds=10.0, start_timestamp=_NOW + 5.0))
        filler = threading.Thread(target=fill)
        filler.start()
        results = [captures.wait(1), captures.wait(2)]
        filler.join(20.0)
    assert sorted(result.samples for result in results) == [10_000, 15_000]
    assert all(result.gaps == 0 for result in results)
