"""The demo's station: the seven channels of NOAA Weather Radio near Kansas City, and alerts that never end.

Everything that is spoken says that it is a demonstration. Every header names, beside the counties that its text
speaks of, two more that depend on the second of its minute: two starts of the program within one minute, which share
an issue time, thus do not repeat a header, and no tracker takes the second for the first.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from app_core.base.errors import ConfigError
from app_core.eas.header import SameHeader
from app_core.synth.plan import NWR_FREQUENCIES_HZ, ChannelPlan, Impairments, ScheduledAlert, Speech, StationPlan

CALLSIGN = "KEAX/NWS"

_CN_DB = (36.0, 12.0, 22.0, 31.0, 17.0, 27.0, 40.0)
_VOICES = ("en-us", "en-us+f3", "en-gb", "en-us+m3", "en-gb+f2", "en-us+m7", "en-us+f4")
_TEXTS = (
    "This is a demonstration of Herald, on channel one. Nothing that you hear is real. Tonight: partly cloudy, with "
    "a low of fifty two. South wind at five to ten miles an hour. Tomorrow: mostly sunny, with a high near seventy.",
    "Channel two of the demonstration. This signal is weak on purpose: twelve decibels above the noise. A receiver "
    "should still decode an alert from it, though the voice is rough. None of this is a real broadcast.",
    "Channel three. This is a demonstration, made by a computer. River stages, invented: the Missouri at Kansas City, "
    "nineteen point four feet, falling. The Blue River near Bannister Road, four point one feet, steady.",
    "You are listening to channel four of the Herald demonstration. The hourly observations, none of them real: sky "
    "clear, temperature sixty one, dew point forty eight, humidity sixty two percent, pressure thirty point one.",
    "Channel five, a generated station. This is a demonstration. The extended outlook, invented: Wednesday, a chance "
    "of showers. Thursday, showers likely, with thunder after midnight. Friday, clearing, windy and cooler.",
    "This is channel six, and this is a demonstration. A routine weekly test is sent here from time to time. It asks "
    "nothing of you. The program shows it in the list of alerts like any other, because it is one.",
    "Channel seven, the strongest of the seven. This is a demonstration of Herald, and not NOAA Weather Radio. Within "
    "a minute an invented tornado warning begins here. Do not act on it. It exists only inside this computer.",
)

_COUNTIES = (
    "029037", "029047", "029049", "029101", "029107", "029165",
    "029177", "020103", "020045", "020059", "020107", "020121",
)  # fmt: skip
_EXTRA = tuple(itertools.combinations(_COUNTIES, 2))


@dataclass(frozen=True, slots=True)
class _Template:
    """What does not change about one of the demo's alerts."""

    frequency_hz: float
    event_code: str
    locations: tuple[str, ...]
    purge_time: str
    what: str


_KANSAS_CITY = ("029095", "020091", "020209")
_TEMPLATES = (
    _Template(162_550e3, "TOR", _KANSAS_CITY, "0045", "a tornado warning for Jackson, Johnson and Wyandotte counties"),
    _Template(162_400e3, "SVR", ("020091",), "0100", "a severe thunderstorm warning for Johnson County, Kansas"),
    _Template(162_475e3, "FFW", ("029095",), "0300", "a flash flood warning for Jackson County, Missouri"),
    _Template(162_525e3, "RWT", _KANSAS_CITY, "0100", "the required weekly test"),
    _Template(162_450e3, "TOA", ("020209",), "0600", "a tornado watch for Wyandotte County, Kansas"),
    _Template(162_500e3, "SVA", ("029095", "020209"), "0500", "a severe thunderstorm watch for the Kansas City area"),
    _Template(162_425e3, "FLW", ("029095",), "0600", "a flood warning for the Missouri River in Jackson County"),
    _Template(162_550e3, "WSW", _KANSAS_CITY, "0600", "a winter storm warning for the Kansas City area"),
    _Template(162_400e3, "HWW", ("020091",), "0430", "a high wind warning for Johnson County, Kansas"),
    _Template(162_475e3, "RMT", _KANSAS_CITY, "0100", "the required monthly test"),
)


def demo_plan(*, seed: int = 1) -> StationPlan:
    """Give the demo's station: 250 kS/s about 162.4875 MHz, seven channels of 12 to 40 dB, a receiver like any."""
    channels = tuple(
        ChannelPlan(frequency_hz, cn_db, Speech(text, voice))
        for frequency_hz, cn_db, text, voice in zip(NWR_FREQUENCIES_HZ, _CN_DB, _TEXTS, _VOICES, strict=True)
    )
    impairments = Impairments(frequency_error_ppm=0.4, dc_dbfs=-36.0, iq_gain_db=0.05, iq_phase_deg=0.3)
    return StationPlan(channels, impairments=impairments, seed=seed)


class DemoSchedule:
    """A tornado warning soon after the start, then another event on another channel again and again.

    Parameters
    ----------
    clock
        Gives the UTC time [s]; a header's issue time is its minute when the alert's rendering begins.
    first_start_s, interval_s
        Stream time of the first alert, and distance between alerts. [s]

    Raises
    ------
    ConfigError
        If `first_start_s` is negative, or `interval_s` is below one second.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.time, first_start_s: float = 8.0, interval_s: float = 60.0
    ) -> None:
        if not 0.0 <= first_start_s < math.inf:
            raise ConfigError(f"the first alert cannot start at {first_start_s} s")
        if not 1.0 <= interval_s < math.inf:
            raise ConfigError(f"alerts cannot follow one another every {interval_s} s; one second is the least")
        self._clock = clock
        self._first_start_s = first_start_s
        self._interval_s = interval_s
        self._taken = 0

    @property
    def next_start_s(self) -> float:
        """Stream time at which the next alert begins. [s]"""
        return self._first_start_s + self._taken * self._interval_s

    def take(self) -> ScheduledAlert:
        """Give the next alert, issued now."""
        template = _TEMPLATES[self._taken % len(_TEMPLATES)]
        now_s = self._clock()
        header = SameHeader(
            originator="WXR",
            event_code=template.event_code,
            locations=template.locations + _EXTRA[int(now_s) % 60],
            purge_time=template.purge_time,
            issue_time=time.strftime("%j%H%M", time.gmtime(now_s)),
            callsign=CALLSIGN,
        )
        text = (
            f"This is a demonstration. It is not real. Demonstration only: {template.what}. "
            "Nobody has issued it. This was a demonstration."
        )
        alert = ScheduledAlert(template.frequency_hz, self.next_start_s, header, text, voice="en-us")
        self._taken += 1
        return alert
