"""Commands about channels: each is answered once, in order, with what truly became of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_core.audio import channel_control
from app_core.audio.channel_control import MAX_WAITING, ChannelDesk
from app_core.audio.channel_plan import ChannelOverlay, ChannelPlan, Table, digest_of
from app_core.base.errors import ConfigError, HeraldError, LifecycleError, LinkError
from app_core.demod.channel_config import ChannelConfig
from tests.support.programs import eventually

STATION: list[Table] = [{"id": "wx7", "receiver_id": "rx", "frequency_hz": 162_550_000}]
FM: Table = {"id": "fm", "receiver_id": "rx", "frequency_hz": 98_500_000, "mode": "wfm"}


class _Decoders:
    """What would receive the channels."""

    def __init__(self) -> None:
        self.applied: list[list[str]] = []
        self.failure: HeraldError | None = None
        self.unheard: dict[str, str] = {}
        self.hold = threading.Event()
        self.hold.set()

    def apply(self, channels: Sequence[ChannelConfig], *, wait: bool = True) -> None:
        self.applied.append([channel.id for channel in channels])
        if wait:
            self.hold.wait(20.0)
            if self.failure is not None:
                raise self.failure

    def misfits(self) -> dict[str, str]:
        return self.unheard


class _Control:
    def __init__(self, folder: Path) -> None:
        self.decoders = _Decoders()
        overlay = ChannelOverlay(folder / "channels.json", digest_of(STATION))
        self.plan = ChannelPlan(STATION, overlay, ChannelConfig.model_validate)
        self.answers: list[dict[str, Any]] = []
        self.utc = 1000.0
        self.desk = ChannelDesk(
            self.plan, self.decoders, lambda _, text: self.answers.append(orjson.loads(text)), utc=lambda: self.utc
        )

    def push(self, action: str, command_id: str, **fields: object) -> bytes:
        payload = orjson.dumps({"action": action, "command_id": command_id, **fields})
        self.desk.take(payload)
        return payload

    def do(self, action: str, command_id: str, **fields: object) -> dict[str, Any]:
        self.push(action, command_id, **fields)
        self.desk.work(0.0)
        assert self.answers[-1]["command_id"] == command_id
        return self.answers[-1]


@pytest.fixture(name="control")
def make_control(tmp_path: Path) -> _Control:
    return _Control(tmp_path)


def test_each_action_says_what_it_did(control: _Control) -> None:
    assert control.do("get_channels", "1")["message"] == "1 channel, as in station.toml"
    added = control.do("add_channel", "2", channel=FM)
    assert (added["success"], added["message"]) == (True, "channel fm (98.5 MHz, wfm) added")
    assert added["result"]["channel"]["deemphasis_us"] == 75.0
    assert control.decoders.applied == [["wx7", "fm"]]
    listed = control.do("get_channels", "3")
    assert listed["message"] == "2 channels, changed by command"
    assert [channel["id"] for channel in listed["result"]["channels"]] == ["wx7", "fm"]
    changed = control.do("set_channel", "4", channel_id="wx7", channel={"frequency_hz": 162_400_000})
    assert changed["message"] == "channel wx7 (162.4 MHz, nfm) changed"
    same = control.do("set_channel", "5", channel_id="wx7", channel={"mode": "nfm"})
    assert (same["success"], same["message"]) == (True, "channel wx7 (162.4 MHz, nfm) is so already")
    assert control.do("remove_channel", "6", channel_id="fm")["message"] == "channel fm (98.5 MHz, wfm) removed"
    assert control.do("reset_channels", "7")["message"] == "the channels are those of station.toml again: wx7"
    assert control.plan.find("wx7").frequency_hz == 162_550_000
    assert control.do("reset_channels", "8")["message"] == "the channels are those of station.toml already"
    assert control.decoders.applied == [["wx7", "fm"], ["wx7", "fm"], ["wx7"], ["wx7"]]
    assert control.desk.status()["succeeded"] == 8


def test_what_is_refused_changes_nothing(control: _Control) -> None:
    refused = control.do("remove_channel", "1", channel_id="wx9")
    assert (refused["success"], refused["message"]) == (False, "unknown channel 'wx9'; known are wx7")
    assert control.decoders.applied == []
    assert control.desk.status()["failed"] == 1


@pytest.mark.parametrize("failure", [ConfigError("no such rate"), LifecycleError("not in time")])
def test_a_change_that_the_decoders_do_not_take_up_is_taken_back(control: _Control, failure: HeraldError) -> None:
    control.decoders.failure = failure
    refused = control.do("add_channel", "1", channel=FM)
    assert (refused["success"], refused["message"]) == (False, str(failure))
    assert control.decoders.applied == [["wx7", "fm"], ["wx7"]]
    assert control.plan.now.ids == ["wx7"]
    assert not control.plan.is_changed


def test_a_channel_outside_the_band_is_added_and_named(control: _Control) -> None:
    control.decoders.unheard = {"fm": "98.5000 MHz lies outside"}
    added = control.do("add_channel", "1", channel=FM)
    assert added["success"]
    assert added["message"].endswith("added; it is not heard now: 98.5000 MHz lies outside")


def test_a_change_that_cannot_be_kept_says_so(control: _Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise LinkError("channels.json cannot be written: No space left on device")

    monkeypatch.setattr(ChannelOverlay, "save", full)
    added = control.do("add_channel", "1", channel=FM)
    assert added["success"]
    assert added["message"].endswith(
        "it will not outlive this service: channels.json cannot be written: No space left on device"
    )
    assert control.plan.now.ids == ["wx7", "fm"]


def test_the_same_id_is_carried_out_once_and_answered_each_time(control: _Control) -> None:
    first = control.do("add_channel", "1", channel=FM)
    control.push("add_channel", "1", channel=FM | {"id": "other"})
    control.desk.work(0.0)
    assert control.answers == [first, first]
    assert control.plan.now.ids == ["wx7", "fm"]
    assert control.desk.status()["repeated"] == 1


def test_an_expired_command_is_not_carried_out_and_may_come_again(control: _Control) -> None:
    control.push("add_channel", "1", channel=FM, expires_at=1001.0)
    control.utc = 1002.0
    control.desk.work(0.0)
    assert (control.answers[-1]["success"], control.answers[-1]["message"]) == (False, "expired")
    assert control.plan.now.ids == ["wx7"]
    assert control.do("add_channel", "1", channel=FM)["success"]


def test_nonsense_is_answered_wherever_an_id_can_be_read(control: _Control) -> None:
    control.desk.take(b'{"command_id":"c","action":"dance"}')
    assert control.answers[-1]["message"].startswith("unknown action 'dance'; known are add_channel")
    control.desk.take(b"garbage")
    control.desk.take(b'{"command_id":"d","action":')
    assert [answer["command_id"] for answer in control.answers] == ["c", "d"]
    assert control.desk.status()["malformed"] == 3
    assert len(control.desk.answered) == 3, "nothing stays under way"
    assert control.do("get_channels", "c")["success"], "what was malformed may be sent again"


def test_what_was_under_way_when_the_service_died_is_answered_and_not_tried_again(control: _Control) -> None:
    payload = orjson.dumps({"action": "add_channel", "command_id": "1", "channel": FM})
    control.desk.take_interrupted(payload)
    assert control.answers[-1]["success"] is False
    assert "ended while this was under way" in control.answers[-1]["message"]
    control.desk.take(payload)
    control.desk.work(0.0)
    assert control.plan.now.ids == ["wx7"]
    control.desk.take_interrupted(b"garbage")
    assert control.desk.status()["interrupted"] == 2


def test_more_commands_than_may_wait_are_answered_busy_and_a_stop_answers_the_rest(control: _Control) -> None:
    payloads = [control.push("get_channels", str(number)) for number in range(MAX_WAITING + 1)]
    assert [answer["message"] for answer in control.answers] == [f"busy: {MAX_WAITING} commands wait"]
    control.desk.refuse_waiting()
    assert {answer["message"] for answer in control.answers[1:]} == {"the service is stopping"}
    assert sorted(control.desk.answered) == sorted(payloads)
    assert control.do("get_channels", "1")["success"]


def test_the_worker_carries_out_in_order_and_a_command_waits_for_the_one_before(control: _Control) -> None:
    control.decoders.hold.clear()
    with control.desk.worker():
        control.push("add_channel", "1", channel=FM)
        control.push("remove_channel", "2", channel_id="fm")
        control.push("get_channels", "3")
        eventually(lambda: len(control.decoders.applied) == 1, "the first")
        assert control.answers == []
        assert control.desk.status()["waiting"] == 2
        control.decoders.hold.set()
        eventually(lambda: len(control.answers) == 3, "all of them")
    assert [answer["command_id"] for answer in control.answers] == ["1", "2", "3"]
    assert all(answer["success"] for answer in control.answers)


def test_a_command_that_fails_for_a_reason_of_ours_is_answered_too(
    control: _Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_control, "_words", lambda config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        control.do("add_channel", "1", channel=FM)
    assert control.answers[-1]["message"] == "the command failed; the service's log says why"
