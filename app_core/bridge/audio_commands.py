"""Commands to the audio service: the list ``audio:commands`` and the results ``audio:command_result:{command_id}``.

They are pushed, taken, ordered, remembered and answered exactly as those of the SDR service are
(`app_core.bridge.commands`); only what they ask for is another thing: channels.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import orjson
from pydantic import Field, model_validator

from app_core.bridge.commands import (
    MAX_COMMAND_BYTES,
    CommandId,
    Refusal,
    new_command_id,
    read_command_as,
    validate_command,
)
from app_core.bridge.messages import Identifier, Message, Seconds

ChannelAction = Literal["add_channel", "set_channel", "remove_channel", "get_channels", "reset_channels"]
CHANNEL_ACTIONS: tuple[ChannelAction, ...] = (
    "add_channel",
    "set_channel",
    "remove_channel",
    "get_channels",
    "reset_channels",
)


class ChannelCommandMessage(Message):
    """One command about the channels.

    Attributes
    ----------
    expires_at
        Not carried out after this. [UTC seconds]
    channel_id
        Of ``set_channel`` and ``remove_channel``: which one.
    channel
        Of ``add_channel``: a table as in ``[[channels]]``. Of ``set_channel``: the settings that change; null takes
        one back to its default.
    """

    max_bytes: ClassVar[int] = MAX_COMMAND_BYTES

    action: ChannelAction
    command_id: CommandId = Field(default_factory=lambda: new_command_id("unnamed"))
    expires_at: Seconds | None = None
    channel_id: Identifier | None = None
    channel: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_argument(self) -> Self:
        if self.action in ("add_channel", "set_channel") and not self.channel:
            raise ValueError(f"{self.action} needs channel, a table of settings")
        if self.action in ("set_channel", "remove_channel") and self.channel_id is None:
            raise ValueError(f"{self.action} needs channel_id")
        return self

    def to_json(self) -> bytes:
        """Write the message as UTF-8 JSON, without what is not said."""
        # A null within the table says something; one beside it does not.
        said = {name: value for name, value in self.model_dump().items() if value is not None}
        return orjson.dumps(said)


def make_channel_command(fields: dict[str, Any]) -> ChannelCommandMessage:
    """Make a command of its fields.

    Raises
    ------
    WireError
        If one is missing or wrong; the text says which, in words for the one who sent it.
    """
    return validate_command(ChannelCommandMessage, fields, CHANNEL_ACTIONS)


def read_channel_command(payload: bytes) -> ChannelCommandMessage | Refusal:
    """Read what stood on the list of the audio service; it may be anything."""
    return read_command_as(payload, make_channel_command)
