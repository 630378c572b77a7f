"""``herald demod``: one channel of a recording of IQ, or of IQ on standard input, as sound."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from services.channel_options import add_channel_options, channel_table, merged, setting
from services.command_line import (
    STANDARD_INPUT,
    exit_code,
    hertz,
    offset_hertz,
    piped_input,
    tell_unreadable,
    with_negative_values,
)
from services.decode_command import is_sigmf
from services.runner import EXIT_FAILED, EXIT_OK, EXIT_USAGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app_core.audio.decode_iq import IqSource
    from app_core.audio.demod_iq import IqDemodulation

EXIT_UNREADABLE = EXIT_USAGE
"""The IQ could not be read, or holds no such channel; the reason is on standard error."""

STANDARD_OUTPUT = "-"
SOUND_SUFFIXES = {".wav": "WAV", ".w64": "W64", ".flac": "FLAC", ".ogg": "OGG"}

DESCRIPTION = """\
Demodulate one channel of IQ. Recordings are SigMF, or raw with --format and --rate. The output is a sound file by its
name, or raw signed 16-bit PCM, little-endian, on standard output."""

EXAMPLES = """\
examples:
  herald demod capture.sigmf-meta --frequency 162.55M -o wx7.wav
  herald demod fm.cu8 --format cu8 --rate 2.4M --center 98M --frequency 98.5M --mode wfm --stereo -o music.flac
  rtl_sdr -f 162475000 -s 250000 - \\
    | herald demod - --format cu8 --rate 250k --offset 75k -o - | aplay -f S16_LE -r 24000

exit code: 0 when all of it was demodulated, 1 when the output cannot be written, 2 when the IQ cannot be read"""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; ends the program with exit code 2 when it makes no sense."""
    parser = argparse.ArgumentParser(
        prog="herald demod",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help="a recording of IQ, or - for standard input")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="OUT.wav, .w64, .flac or .ogg, or -")
    parser.add_argument("--json", action="store_true", help="the readings as JSON, on standard output if it is free")
    iq = parser.add_argument_group("the IQ")
    iq.add_argument("--format", choices=("cf32", "cs16", "cu8"), help="it is raw, of this format")
    iq.add_argument("--rate", type=hertz, metavar="HZ", help="samples a second; wins over what SigMF says")
    iq.add_argument("--center", type=hertz, metavar="HZ", help="its centre frequency; wins over what SigMF says")
    channel = parser.add_argument_group("the channel")
    where = channel.add_mutually_exclusive_group()
    where.add_argument("--offset", type=offset_hertz, metavar="HZ", help="its distance from the centre instead: -25k")
    add_channel_options(channel, where)
    channel.add_argument("--preset", metavar="NAME", help="nwr, fm_broadcast, airband or am_broadcast")
    channel.add_argument(
        "--set",
        type=setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other setting of [[channels]], for example squelch.open_db=10",
    )
    arguments = parser.parse_args(with_negative_values(argv, "--offset"))
    if arguments.file == STANDARD_INPUT and (arguments.format is None or arguments.rate is None):
        parser.error("- needs --format cf32, cs16 or cu8 and --rate HZ")
    if arguments.output != STANDARD_OUTPUT and Path(arguments.output).suffix.lower() not in SOUND_SUFFIXES:
        parser.error(f"-o must end in {', '.join(SOUND_SUFFIXES)}, or be - for raw PCM on standard output")
    if arguments.frequency is not None and arguments.center is None and arguments.format is not None:
        parser.error("--frequency in raw IQ needs --center HZ, too; or say --offset HZ")
    return arguments


class Sink(Protocol):
    """Where the audio goes."""

    def write(self, pcm: NDArray[np.int16]) -> None:
        """Take audio, shape (n, n_audio).

        Raises
        ------
        OSError
            If it cannot be written.
        """

    def close(self) -> None:
        """Finish the file."""


class SoundFileSink:
    """A sound file of 16 bits."""

    def __init__(self, path: Path, sample_rate_hz: int, n_audio: int) -> None:
        import soundfile

        self._error = soundfile.SoundFileError
        subtype = "VORBIS" if path.suffix.lower() == ".ogg" else "PCM_16"
        kind = SOUND_SUFFIXES[path.suffix.lower()]
        # Opened here, so that a refusal is the system's own and says why.
        self._stream = path.open("wb+")
        try:
            self._file = soundfile.SoundFile(self._stream, "w", sample_rate_hz, n_audio, subtype, format=kind)
        except soundfile.SoundFileError as error:
            self._stream.close()
            raise OSError(str(error)) from error

    def write(self, pcm: NDArray[np.int16]) -> None:
        """As `Sink.write`."""
        try:
            self._file.write(pcm)
        except (self._error, AssertionError) as error:
            raise OSError(f"it takes no more ({error})") from error

    def close(self) -> None:
        """As `Sink.close`."""
        try:
            self._file.close()
        finally:
            self._stream.close()


class RawSink:
    """Interleaved signed 16 bits, little-endian, to a pipe; every block at once."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, pcm: NDArray[np.int16]) -> None:
        """As `Sink.write`."""
        self._stream.write(pcm.astype("<i2", copy=False).tobytes())
        self._stream.flush()

    def close(self) -> None:
        """As `Sink.close`; standard output is not ours to close."""


class OutputError(Exception):
    """The output cannot be written, which is not the recording's fault."""


def open_source(arguments: argparse.Namespace) -> IqSource:
    """Open the IQ.

    Raises
    ------
    HeraldError, OSError
        If it cannot be read.
    """
    from app_core.audio.decode_iq import IqFileSource, RawIqReader
    from app_core.base.errors import ConfigError
    from app_core.base.iq_file import open_iq_file

    center_hz = arguments.center
    if arguments.format is not None and center_hz is None:
        # Only the distance from it was asked for.
        center_hz = 0.0
    if arguments.file == STANDARD_INPUT:
        return RawIqReader(piped_input(), arguments.format, arguments.rate, center_hz)
    path = Path(arguments.file)
    if arguments.format is None and not is_sigmf(path):
        path.stat()
        raise ConfigError("is not a SigMF recording: raw IQ needs --format cf32, cs16 or cu8, --rate and --center")
    iq_file = open_iq_file(
        path, iq_format=arguments.format, sample_rate_hz=arguments.rate, center_frequency_hz=center_hz
    )
    return IqFileSource(iq_file)


def open_demodulation(arguments: argparse.Namespace) -> IqDemodulation:
    """Open the IQ, and find the channel in it.

    Raises
    ------
    HeraldError, OSError
        If it cannot be read, or holds no such channel.
    """
    from pydantic import ValidationError

    from app_core.audio.demod_iq import IqDemodulation
    from app_core.base.errors import ConfigError
    from services.presets import expand_channel

    source = open_source(arguments)
    frequency_hz = arguments.frequency
    if frequency_hz is None:
        frequency_hz = source.center_frequency_hz + (arguments.offset or 0.0)
    preset = {} if arguments.preset is None else {"preset": arguments.preset}
    table = channel_table(arguments) | preset | {"frequency_hz": frequency_hz}
    for more in arguments.set:
        table = merged(table, more)
    table = expand_channel(table)
    try:
        return IqDemodulation(source, table)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        text = "no such setting" if problem["type"] == "extra_forbidden" else problem["msg"]
        raise ConfigError(f"{where}: {text}".removeprefix(": ").replace("Value error, ", "")) from error


def open_sink(arguments: argparse.Namespace, demodulation: IqDemodulation) -> Sink:
    """Open the output.

    Raises
    ------
    OutputError
        If it cannot be opened.
    """
    if arguments.output == STANDARD_OUTPUT:
        return RawSink(sys.stdout.buffer)
    try:
        return SoundFileSink(Path(arguments.output), demodulation.config.audio_rate_hz, demodulation.n_audio)
    except OSError as error:
        raise OutputError(error.strerror or str(error)) from error


def demodulate(arguments: argparse.Namespace) -> None:
    """Demodulate all of it, and tell what was measured.

    Raises
    ------
    HeraldError, OSError
        If the IQ cannot be read, or not to its end.
    OutputError
        If the output cannot be written.
    """
    from app_core.dsp.pcm16 import to_int16
    from services.decode_output import ProgressLine

    demodulation = open_demodulation(arguments)
    progress = ProgressLine(arguments.file, demodulation.duration_s)
    sink = open_sink(arguments, demodulation)
    try:
        for position_s, pcm in demodulation.steps():
            try:
                sink.write(to_int16(pcm))
            except BrokenPipeError:
                raise
            except OSError as error:
                raise OutputError(error.strerror or str(error)) from error
            progress.show(position_s)
    except KeyboardInterrupt:
        # How a live stream ends: its file shall be whole, and what was measured be told.
        progress.hide()
        tell(demodulation.readings(), arguments)
        raise
    finally:
        progress.hide()
        sink.close()
    tell(demodulation.readings(), arguments)


def tell(readings: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Print what was measured."""
    if arguments.json:
        import orjson

        stream = sys.stderr if arguments.output == STANDARD_OUTPUT else sys.stdout
        stream.write(orjson.dumps(readings).decode() + "\n")
        return
    sys.stderr.write(in_words(readings) + "\n")


def in_words(readings: dict[str, Any]) -> str:
    """Put what was measured in one line."""
    if readings.get("level_dbfs") is None:
        return "nothing was measured: the recording is too short"
    error_hz, error_ppm = readings["frequency_error_hz"], readings["frequency_error_ppm"]
    words = [f"SNR {readings['snr_db']:.1f} dB", f"level {readings['level_dbfs']:.1f} dBFS"]
    if error_hz is not None:
        words.append(f"carrier {error_hz:+.0f} Hz" + ("" if error_ppm is None else f" ({error_ppm:+.2f} ppm)"))
    if readings.get("deviation_hz"):
        words.append(f"deviation {readings['deviation_hz'] / 1e3:.2f} kHz")
    if readings.get("is_stereo") is not None:
        words.append("stereo" if readings["is_stereo"] else "mono")
    if readings.get("squelch_open_share") is not None:
        words.append(f"squelch open for {readings['squelch_open_share']:.0%} of the time")
    if readings.get("ctcss_hz"):
        words.append(f"CTCSS {readings['ctcss_hz']:.1f} Hz")
    return ", ".join(words)


def run(arguments: argparse.Namespace) -> int:
    """Demodulate; what goes wrong is told in words."""
    from app_core.base.errors import HeraldError
    from services.decode_output import printable

    try:
        demodulate(arguments)
    except BrokenPipeError:
        raise
    except OutputError as error:
        shown = "standard output" if arguments.output == STANDARD_OUTPUT else printable(arguments.output)
        sys.stderr.write(f"herald demod: {shown}: {printable(str(error))}\n")
        return EXIT_FAILED
    except (HeraldError, OSError) as error:
        tell_unreadable("herald demod", arguments.file, error)
        return EXIT_UNREADABLE
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    arguments = parse_arguments(argv)
    return exit_code(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
