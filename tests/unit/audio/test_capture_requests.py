"""What is asked of the SDR service when an alert or a near miss is heard."""

from __future__ import annotations

import orjson

from app_core.audio.capture_requests import CaptureRequests
from app_core.bridge.commands import CommandMessage, read_command
from app_core.eas.events import BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.header import parse_header

_HEARD_AT = 1_750_000_000.0
_RATE_HZ = 24_000.0


def _decoded(header: str = "ZCZC-WXR-TOR-029095+0030-1661500-KEAX/NWS-") -> HeaderDecoded:
    return HeaderDecoded(parse_header(header), 24_000, 300_000, 3, 1e-9, 20.0)


def _unverified() -> HeaderUnverified:
    return HeaderUnverified("ZCZC-WXR-T", 24_000, 300_000, 1, 0.5, 5.0)


class _Requests:
    def __init__(self) -> None:
        self.now_s = 50.0
        self.pushed: list[tuple[str, bytes]] = []
        self.requests = CaptureRequests(
            lambda name, payload: self.pushed.append((name, payload)),
            utc=lambda: _HEARD_AT + 15.0,
            monotonic=lambda: self.now_s,
        )

    def hear(self, *events: SameEvent, receiver_id: str = "rx", channel_id: str = "wx1") -> None:
        self.requests.on_events(channel_id, receiver_id, events, lambda sample: _HEARD_AT + sample / _RATE_HZ)

    def commands(self) -> list[CommandMessage]:
        read = [read_command(payload) for _, payload in self.pushed]
        return [command for command in read if isinstance(command, CommandMessage)]


def test_an_alert_is_captured_from_ten_seconds_before_its_header() -> None:
    heard = _Requests()
    heard.hear(BurstHeard("header", 0, 1, 20.0, 0.0), _decoded(), EndOfMessage(0, 1))
    (command,) = heard.commands()
    assert heard.pushed[0][0] == "sdr:commands"
    assert (command.action, command.receiver_id, command.automatic) == ("capture", "rx", True)
    assert command.start_timestamp == _HEARD_AT + 1.0 - 10.0
    assert command.seconds == 30.0
    assert command.expires_at == _HEARD_AT + 75.0
    assert command.command_id.startswith("alert-")
    assert "-TOR-" in command.command_id
    assert (command.label, command.reason) == (
        "SAME TOR",
        "ZCZC-WXR-TOR-029095+0030-1661500-KEAX/NWS- on channel wx1",
    )


def test_an_alert_that_several_channels_hear_is_captured_once_of_each_receiver() -> None:
    heard = _Requests()
    heard.hear(_decoded())
    heard.hear(_decoded(), channel_id="wx2")
    heard.hear(_decoded("ZCZC-WXR-TOR-029095+0030-1661500-KOAX/NWS-"), receiver_id="other")
    heard.hear(_decoded(), receiver_id="other")
    first, second = heard.commands()
    assert (first.receiver_id, second.receiver_id) == ("rx", "other")
    # The SDR service carries a command_id out once.
    assert first.command_id != second.command_id
    heard.hear(_decoded("ZCZC-WXR-SVR-029095+0030-1661500-KEAX/NWS-"))
    assert len(heard.pushed) == heard.requests.requested_count == 3


def test_the_id_is_the_alert_s_own_so_that_other_processes_ask_for_the_same() -> None:
    first, second = _Requests(), _Requests()
    first.hear(_decoded(), channel_id="wx1")
    second.hear(_decoded(), channel_id="wx7")
    assert first.commands()[0].command_id == second.commands()[0].command_id


def test_a_near_miss_is_captured_at_most_once_a_minute_and_receiver() -> None:
    heard = _Requests()
    heard.hear(_unverified(), _unverified())
    heard.now_s += 59.0
    heard.hear(_unverified())
    assert len(heard.pushed) == 1
    heard.hear(_unverified(), receiver_id="other")
    heard.now_s += 2.0
    heard.hear(_unverified())
    assert [command.receiver_id for command in heard.commands()] == ["rx", "other", "rx"]
    assert heard.commands()[0].label == "SAME near miss"
    assert "ZCZC-WXR-T" in (heard.commands()[0].reason or "")


def test_near_misses_do_not_keep_an_alert_from_being_captured() -> None:
    heard = _Requests()
    heard.hear(_unverified(), _decoded())
    assert [orjson.loads(payload)["label"] for _, payload in heard.pushed] == ["SAME near miss", "SAME TOR"]
