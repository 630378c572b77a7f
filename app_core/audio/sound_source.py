"""Sound cards as sources: a receiver with an audio output, plugged in. FFmpeg reads them, at their own pace."""

from __future__ import annotations

from collections.abc import Sequence

from app_core.audio.ingest_argv import alsa_argv, pulse_argv
from app_core.audio.ingest_config import AlsaSettings, PulseSettings
from app_core.audio.ingest_source import BlockSink, IngestSource
from app_core.audio.sources import AudioSourceType, uses_re_flag


class SoundCardSource(IngestSource):
    """What a sound card hears, by ALSA or PulseAudio.

    Parameters
    ----------
    settings
        Its table.
    sink
        Takes its audio.
    """

    def __init__(self, settings: AlsaSettings | PulseSettings, sink: BlockSink) -> None:
        kind = AudioSourceType.ALSA if isinstance(settings, AlsaSettings) else AudioSourceType.PULSE
        super().__init__(settings, kind, sink)
        self._settings = settings

    @property
    def address(self) -> str:
        """As `IngestSource.address`."""
        return f"{self._settings.type}:{self._settings.device}"

    def _argv(self, program: str) -> Sequence[str]:
        settings, re_flag = self._settings, uses_re_flag(self)
        if isinstance(settings, PulseSettings):
            return pulse_argv(program, self.sample_rate_hz, settings.device, re_flag=re_flag)
        rate_hz, n_channels = settings.device_rate_hz, settings.device_channels
        return alsa_argv(program, self.sample_rate_hz, settings.device, rate_hz, n_channels, re_flag=re_flag)
