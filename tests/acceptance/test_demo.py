"""The demo, as a newcomer sees it: real Redis, real processes, one alert from the air to a file that plays."""

from __future__ import annotations

import re
import signal
import urllib.request
from pathlib import Path

import psutil
import pytest
import soundfile

from app_core.eas.decoder import SameDecoder
from app_core.eas.events import EndOfMessage, HeaderDecoded, SameEvent
from app_core.eas.header import parse_header
from tests.support.pcm_source import decode_stream
from tests.support.programs import require_program
from tests.support.station import herald

pytestmark = pytest.mark.timeout(150)

EVERY_PROCESS = {"antenna", "sdr", "audio", "decode", "stream", "icecast", "redis"}


def headers_of(recording: Path) -> tuple[set[str], bool]:
    """Decode a recording again; give its headers, and whether an end of message is in it."""
    pcm, rate_hz = soundfile.read(recording, dtype="float32")
    decoder = SameDecoder(float(rate_hz))
    events: list[SameEvent] = [*decoder.push(pcm), *decoder.finish()]
    headers = {event.header.text for event in events if isinstance(event, HeaderDecoded)}
    return headers, any(isinstance(event, EndOfMessage) for event in events)


def test_once_shows_the_tornado_warning_records_it_and_ends_with_0(tmp_path: Path) -> None:
    with herald("demo", "--once", "--json", "--folder", str(tmp_path / "demo"), folder=tmp_path) as demo:
        begun = demo.wait_for(lambda event: event["event"] == "alert" and event["state"] == "begun", 60)
        ended = demo.wait_for(lambda event: event["event"] == "alert" and event["state"] == "ended", 60)
        assert demo.process.wait(30) == 0
    header = parse_header(begun["alert"]["header"])
    assert (header.originator, header.event_code, header.callsign) == ("WXR", "TOR", "KEAX/NWS")
    assert header.locations[:3] == ("029095", "020091", "020209")
    assert re.match(r"DEMO: Tornado Warning for Jackson.* until ", begun["alert"]["text"])
    assert begun["alert"]["demo"] is True
    assert ended["alert"]["end_reason"] == "end_of_message"
    assert headers_of(Path(ended["recording"])) == ({header.text}, True)
    spooled = list((tmp_path / "demo" / "alerts" / "spool").glob("*.json"))
    assert [path.stem for path in spooled] == [begun["alert"]["alert_id"]]


def test_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    with herald("demo", "--json", "--folder", str(tmp_path / "demo"), folder=tmp_path) as demo:
        demo.wait_for(lambda event: event.get("what") == "decoding" and event["state"] is True, 60)
        family = demo.family()
        assert set(family) == EVERY_PROCESS
        assert demo.interrupt() == 0
        gone, alive = psutil.wait_procs(list(family.values()), timeout=10)
        assert (len(gone), alive) == (len(EVERY_PROCESS), [])


@pytest.mark.parametrize("name", sorted(EVERY_PROCESS))
def test_a_killed_process_is_back_and_the_next_alert_is_decoded(name: str, tmp_path: Path) -> None:
    arguments = ["demo", "--json", "--folder", str(tmp_path / "demo"), "--first-alert-s", "12", "--interval-s", "40"]
    with herald(*arguments, folder=tmp_path) as demo:
        demo.wait_for(lambda event: event.get("what") == "decoding" and event["state"] is True, 60)
        victim = demo.family()[name]
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)
        alert = demo.wait_for(lambda event: event["event"] == "alert", 75)["alert"]
        assert parse_header(alert["header"]).text == alert["header"]
        family = demo.family()
        assert set(family) == EVERY_PROCESS
        assert family[name].pid != victim.pid
        assert demo.interrupt() == 0


def _heard(url: str, n_bytes: int) -> bytes:
    """Give the first bytes of a stream."""
    with urllib.request.urlopen(url, timeout=30.0) as response:  # noqa: S310  (the demo's own address)
        assert response.status == 200
        return bytes(response.read(n_bytes))


@pytest.mark.parametrize("with_icecast", [True, False])
def test_every_channel_is_heard_at_the_addresses_that_it_shows(with_icecast: bool, tmp_path: Path) -> None:
    environment = {}
    if with_icecast:
        require_program("icecast2")
    else:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("ffmpeg", "redis-server", "espeak-ng"):
            (programs / name).symlink_to(require_program(name))
        environment["PATH"] = str(programs)
    folder = tmp_path / "demo"
    with herald("demo", "--json", "--folder", str(folder), folder=tmp_path, **environment) as demo:
        listen = demo.wait_for(lambda event: event["event"] == "listen", 60)
        assert listen["receiver"].startswith("Icecast" if with_icecast else "a tiny receiver of ours")
        demo.wait_for(lambda event: event.get("what") == "decoding" and event["state"] is True, 60)
        assert set(listen["mounts"]) == {"wx7", "wx1"}
        for url in (*listen["mounts"].values(), *(f"{listen['web']}/wx{number}.mp3" for number in (4, 7))):
            assert url.startswith("http://127.0.0.1:")
            # Some seconds at 64 kbit/s: silence before the first block, and pauses between words, are shorter.
            pcm = decode_stream(_heard(url, 48_000), 24_000)
            assert len(pcm) > 3 * 24_000
            assert abs(pcm).max() > 0.01, url
        assert (folder / "icecast-password").stat().st_mode & 0o777 == 0o600
        password = (folder / "icecast-password").read_text().strip()
        assert len(password) == 32
        for process in demo.family().values():
            assert password not in " ".join(process.cmdline())
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    assert connection.laddr.ip == "127.0.0.1", f"{process.name()} listens on {connection.laddr}"
        assert demo.interrupt() == 0
    assert not any(password in log.read_text(errors="replace") for log in (folder / "log").glob("*.log"))


def test_a_stations_own_settings_are_none_of_the_demos(tmp_path: Path) -> None:
    foreign = {"REDIS_DB": "3", "HERALD_NONSENSE": "1", "SDR_ARGS": "driver=none", "CONFIG_PATH": "/nowhere"}
    with herald("demo", "--json", "--folder", str(tmp_path / "demo"), folder=tmp_path, **foreign) as demo:
        demo.wait_for(lambda event: event.get("what") == "decoding" and event["state"] is True, 60)
        assert demo.interrupt() == 0


def test_two_demos_started_at_once_both_run(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with (
        herald("demo", "--json", "--folder", str(first / "demo"), folder=first) as one,
        herald("demo", "--json", "--folder", str(second / "demo"), folder=second) as other,
    ):
        for demo in (one, other):
            demo.wait_for(lambda event: event.get("what") == "decoding" and event["state"] is True, 60)
        assert len(one.family()) == len(other.family()) == len(EVERY_PROCESS)
        assert (one.interrupt(), other.interrupt()) == (0, 0)
