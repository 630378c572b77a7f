"""The list of commands: taken in order, under way until answered, and what a dead process left."""

from __future__ import annotations

from collections import deque

from app_core.bridge import keys
from app_core.bridge.command_list import CommandReader, forget_answered
from app_core.bridge.commands import CommandMessage, new_command_id, read_command, send_command
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer


def test_commands_are_taken_in_the_order_in_which_they_were_pushed(redis_server: RedisServer) -> None:
    taken: list[bytes] = []
    link = redis_server.link()
    sent = [
        CommandMessage(action="stop", receiver_id="x", command_id=new_command_id(), frequency_hz=n) for n in range(50)
    ]
    for command in sent[:25]:
        send_command(link, command)
    with CommandReader(redis_server.settings, taken.append, deque()):
        for command in sent[25:]:
            send_command(link, command)
        eventually(lambda: len(taken) == 50, "all commands")
    link.close()
    assert [read_command(payload) for payload in taken] == sent


def test_the_reader_of_commands_survives_redis_and_a_key_of_the_wrong_kind(redis_server: RedisServer) -> None:
    taken: list[bytes] = []
    redis_server.cli("SET", "sdr:commands", "not a list")
    with CommandReader(redis_server.settings, taken.append, deque()):
        eventually(lambda: int(redis_server.cli("INFO", "errorstats").count("WRONGTYPE")) > 0, "the refusal")
        redis_server.cli("DEL", "sdr:commands")
        redis_server.cli("LPUSH", "sdr:commands", "one")
        eventually(lambda: taken == [b"one"], "the first")
        redis_server.kill()
        redis_server.start()
        redis_server.cli("LPUSH", "sdr:commands", "two")
        eventually(lambda: taken == [b"one", b"two"], "the second")


def test_a_command_stays_under_way_until_it_is_answered(redis_server: RedisServer) -> None:
    taken: list[bytes] = []
    answered: deque[bytes] = deque()
    redis_server.cli("LPUSH", "sdr:commands", "one", "two")
    with CommandReader(redis_server.settings, taken.append, answered):
        eventually(lambda: taken == [b"one", b"two"], "both")
        assert redis_server.cli("LRANGE", keys.COMMANDS_UNDER_WAY, "0", "-1").split() == ["two", "one"]
        answered.append(b"one")
        eventually(lambda: redis_server.cli("LRANGE", keys.COMMANDS_UNDER_WAY, "0", "-1") == "two", "the end of one")
        redis_server.pause()
        answered.append(b"two")
        redis_server.resume()
        eventually(lambda: redis_server.cli("EXISTS", keys.COMMANDS_UNDER_WAY) == "0", "the end of two")
    answered.append(b"three")
    redis_server.cli("LPUSH", keys.COMMANDS_UNDER_WAY, "three")
    forget_answered(redis_server.settings, answered)
    assert not answered
    assert redis_server.cli("EXISTS", keys.COMMANDS_UNDER_WAY) == "0"


def test_what_an_earlier_process_left_under_way_is_told_once_and_not_taken(redis_server: RedisServer) -> None:
    taken: list[bytes] = []
    interrupted: list[bytes] = []
    redis_server.cli("LPUSH", keys.COMMANDS_UNDER_WAY, '{"command_id":"done"}', "garbage", '{"command_id":"left"}')
    redis_server.cli("SET", keys.command_result("done"), "{}")
    with CommandReader(redis_server.settings, taken.append, deque(), interrupted.append):
        eventually(lambda: len(interrupted) == 2, "what was left")
        redis_server.cli("LPUSH", "sdr:commands", "new")
        eventually(lambda: taken == [b"new"], "the new one")
    assert interrupted == [b"garbage", b'{"command_id":"left"}']
    redis_server.cli("SET", keys.COMMANDS_UNDER_WAY, "not a list")
    with CommandReader(redis_server.settings, taken.append, deque(), interrupted.append):
        redis_server.cli("LPUSH", "sdr:commands", "newer")
        eventually(lambda: taken == [b"new", b"newer"], "the newer one")
    assert len(interrupted) == 2
