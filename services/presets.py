"""Presets of ``station.toml``: a word in place of the settings that everybody would write.

They are expanded in the tables as they were read, before either program checks its own: so the SDR program knows the
frequencies of a preset's channels as the audio program does, and ``herald config check`` prints what came of it. What
a table says itself wins over its preset, setting by setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app_core.base.errors import ConfigError

NWR_CENTER_HZ = 162_487_500
"""Between the fourth and the fifth channel of weather radio: the spike that a dongle has there is on none of them."""

NWR_PUBLISH_RATE_HZ = 250_000
"""Holds the seven channels of weather radio, with room for the edges of the filter."""

NWR_FREQUENCIES_HZ = tuple(162_400_000 + 25_000 * number for number in range(7))
"""NOAA Weather Radio, Weatheradio Canada and SASMEX, lowest first."""


@dataclass(frozen=True, slots=True)
class _Preset:
    """What one preset stands for: settings, and for each option of its own the settings of each choice.

    The first choice of an option is the default.
    """

    settings: Mapping[str, Any]
    options: Mapping[str, Mapping[Any, Mapping[str, Any]]] = field(default_factory=dict)


RECEIVER_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "nwr": {
        "center_frequency_hz": NWR_CENTER_HZ,
        "publish_sample_rate_hz": NWR_PUBLISH_RATE_HZ,
        "publish_center_frequency_hz": NWR_CENTER_HZ,
    }
}

# Voice takes 5 to 6 kHz; the rest is for transmitters that are off their frequency, which 8.33 kHz leave less room for.
_AIRBAND_SPACINGS: Mapping[Any, Mapping[str, Any]] = {
    25_000: {"bandwidth_hz": 10_000},
    8_333: {"bandwidth_hz": 6_000},
    8_330: {"bandwidth_hz": 6_000},
}

# A tail is noise as loud as the voice was. A carrier does not come and go with the words, and needs none for them.
_AIRBAND_SQUELCH: Mapping[str, Any] = {"mode": "snr", "tail_s": 0.05}

# ITU region 2, the Americas, broadcasts AM 10 kHz apart and FM with 75 µs; the others 9 kHz apart and with 50 µs.
_REGIONS = ("americas", "elsewhere")

CHANNEL_PRESETS: Mapping[str, _Preset] = {
    "nwr": _Preset({"mode": "nfm"}),
    "fm_broadcast": _Preset(
        {"mode": "wfm", "stereo": True, "bandwidth_hz": 200_000, "audio_rate_hz": 48_000},
        {"region": {region: {"deemphasis_us": us} for region, us in zip(_REGIONS, (75, 50), strict=True)}},
    ),
    "airband": _Preset({"mode": "am", "squelch": _AIRBAND_SQUELCH}, {"spacing_hz": _AIRBAND_SPACINGS}),
    "am_broadcast": _Preset(
        {"mode": "am"},
        {"region": {region: {"bandwidth_hz": hz} for region, hz in zip(_REGIONS, (10_000, 9_000), strict=True)}},
    ),
}


def expand_presets(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Put settings and channels in the place of the presets of a ``station.toml``.

    Parameters
    ----------
    tables
        As TOML gives them; what is no table where one belongs is left as it is, for others to refuse.

    Returns
    -------
    tables
        The same without any ``preset``. A receiver with the preset ``nwr`` has got its seven channels, unless the file
        lists channels of that receiver; their ids begin with the receiver's where there are several receivers.

    Raises
    ------
    ConfigError
        If a preset, or a choice of one of its options, is unknown.
    """
    expanded = dict(tables)
    receivers, channels = tables.get("receivers", []), tables.get("channels", [])
    if not isinstance(receivers, list) or not isinstance(channels, list):
        return expanded
    added: list[Any] = []
    for table in receivers:
        if isinstance(table, dict) and "preset" in table and not _has_channels(table.get("id"), channels):
            added += _channels_of(table, with_prefix=len(receivers) > 1)
    for name, given, expand in (
        ("receivers", receivers, expand_receiver),
        ("channels", [*channels, *added], expand_channel),
    ):
        if given:
            expanded[name] = [_expand_in_file(table, f"{name}.{number}", expand) for number, table in enumerate(given)]
    return expanded


def expand_receiver(table: Mapping[str, Any]) -> dict[str, Any]:
    """Give the table of a receiver with the settings of its preset in it.

    Raises
    ------
    ConfigError
        If there is no such preset.
    """
    own = {name: value for name, value in table.items() if name != "preset"}
    preset = table.get("preset")
    if preset is None:
        return own
    if not isinstance(preset, str) or preset not in RECEIVER_PRESETS:
        raise ConfigError(f"no preset {preset!r} for a receiver; there are: {', '.join(RECEIVER_PRESETS)}")
    settings = dict(RECEIVER_PRESETS[preset])
    if table.get("driver") == "replay":
        # A recording knows where its own middle is.
        del settings["center_frequency_hz"]
    return settings | own


def expand_channel(table: Mapping[str, Any]) -> dict[str, Any]:
    """Give the table of a channel with the settings of its preset in it.

    Raises
    ------
    ConfigError
        If there is no such preset, or an option of it has no such choice.
    """
    own = {name: value for name, value in table.items() if name != "preset"}
    name = table.get("preset")
    if name is None:
        return own
    if not isinstance(name, str) or name not in CHANNEL_PRESETS:
        raise ConfigError(f"no preset {name!r} for a channel; there are: {', '.join(CHANNEL_PRESETS)}")
    preset = CHANNEL_PRESETS[name]
    settings = dict(preset.settings)
    for option, choices in preset.options.items():
        choice = own.pop(option, next(iter(choices)))
        if isinstance(choice, list | dict) or choice not in choices:
            raise ConfigError(f"{option} of preset {name!r} must be {_joined(choices)}, not {choice!r}")
        settings |= choices[choice]
    # A table within the table, such as squelch, is added to and not replaced.
    for key, value in own.items():
        inner = settings.get(key)
        settings[key] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return settings


def _expand_in_file(table: Any, where: str, expand: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    if not isinstance(table, dict):
        return table
    try:
        return expand(table)
    except ConfigError as error:
        raise ConfigError(f"station.toml: {where}: {error}") from error


def _has_channels(receiver_id: object, channels: list[Any]) -> bool:
    return any(isinstance(channel, dict) and channel.get("receiver_id") == receiver_id for channel in channels)


def _channels_of(receiver: Mapping[str, Any], *, with_prefix: bool) -> list[dict[str, Any]]:
    """Give the seven channels of a receiver with the preset ``nwr``, none where it has no id to be named by."""
    receiver_id = receiver.get("id")
    if receiver.get("preset") != "nwr" or not isinstance(receiver_id, str):
        return []
    prefix = f"{receiver_id}-" if with_prefix else ""
    return [
        {
            "id": f"{prefix}wx{number}",
            "receiver_id": receiver_id,
            "preset": "nwr",
            "frequency_hz": frequency_hz,
            "name": f"{frequency_hz / 1e6:.3f} MHz",
        }
        for number, frequency_hz in enumerate(NWR_FREQUENCIES_HZ, start=1)
    ]


def _joined(choices: Mapping[Any, Any]) -> str:
    return " or ".join(repr(choice) for choice in choices)
