"""The demo, as a newcomer sees it: real Redis, real processes, one alert from the air to a file that plays."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import psutil
import pytest
import soundfile

from app_core.eas.decoder import SameDecoder
from app_core.eas.events import EndOfMessage, HeaderDecoded, SameEvent
from app_core.eas.header import parse_header
from tests.support.station import herald

pytestmark = pytest.mark.timeout(150)


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
        assert set(family) == {"antenna", "sdr", "audio", "decode", "redis"}
        assert demo.interrupt() == 0
        gone, alive = psutil.wait_procs(list(family.values()), timeout=10)
        assert (len(gone), alive) == (5, [])


@pytest.mark.parametrize("name", ["antenna", "sdr", "audio", "decode", "redis"])
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
        assert set(family) == {"antenna", "sdr", "audio", "decode", "redis"}
        assert family[name].pid != victim.pid
        assert demo.interrupt() == 0


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
        assert len(one.family()) == len(other.family()) == 5
        assert (one.interrupt(), other.interrupt()) == (0, 0)
