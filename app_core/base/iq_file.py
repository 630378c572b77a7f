"""Files of IQ: SigMF recordings and raw samples, mapped and converted to complex64 at full scale 1.

``cu8`` is (value - 127.5) / 127.5, as an RTL-SDR writes it; ``ci16`` (also called cs16) is value / 32768; ``cf32`` is
taken as it is. All are interleaved I, Q and little-endian. The conversions are exact: each gives the float32 that is
nearest to the true quotient.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from app_core.base.errors import ConfigError, DeviceError

IqFormat = Literal["cf32", "cs16", "cu8"]

_DTYPES: dict[str, np.dtype[Any]] = {"cf32": np.dtype("<f4"), "cs16": np.dtype("<i2"), "cu8": np.dtype("u1")}
_OF_SIGMF: dict[str, IqFormat] = {"cf32_le": "cf32", "ci16_le": "cs16", "cu8": "cu8"}

MAX_METADATA_BYTES = 16 * 1024 * 1024
"""Largest SigMF metadata file that is read."""

MAX_SAMPLE_RATE_HZ = 1e9
MAX_FREQUENCY_HZ = 1e12
"""What the wire can carry: a recording beyond these is refused here, and not at every message."""


def convert_cu8(components: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Convert an RTL-SDR's bytes, shape (2 n,), into `out` of the same shape. [full scale = 1]"""
    np.subtract(components, np.float32(127.5), out=out, casting="unsafe")
    np.divide(out, np.float32(127.5), out=out)


@dataclass(slots=True, eq=False)
class IqFile:
    """An open file of IQ.

    Attributes
    ----------
    path
        The file of samples.
    iq_format
        How they are stored.
    sample_rate_hz, center_frequency_hz
        As recorded or given.
    n_samples
        Complete complex samples in the file.
    """

    path: Path
    iq_format: IqFormat
    sample_rate_hz: float
    center_frequency_hz: float
    n_samples: int
    _components: NDArray[Any]
    _mapping: mmap.mmap

    def read_into(self, iq: NDArray[np.complex64], first_sample: int) -> int:
        """Convert samples into `iq`, complex64 of shape (n,), from `first_sample` on. Give how many there were.

        Raises
        ------
        DeviceError
            If the file is shorter than it was when it was opened.
        """
        # Reading a mapping past the end of its file kills the process (SIGBUS).
        if self._mapping.size() < len(self._mapping):
            raise DeviceError(f"recording {self.path} was cut short while it was read")
        components = self._components[2 * first_sample : 2 * (first_sample + len(iq))]
        n_samples = len(components) // 2
        target = iq[:n_samples].view(np.float32)
        source = components[: 2 * n_samples]
        if self.iq_format == "cf32":
            np.copyto(target, source)
        elif self.iq_format == "cs16":
            np.multiply(source, np.float32(1 / 32768), out=target, casting="unsafe")
        else:
            convert_cu8(source, target)
        return n_samples


def open_iq_file(
    path: Path,
    *,
    iq_format: IqFormat | None = None,
    sample_rate_hz: float | None = None,
    center_frequency_hz: float | None = None,
) -> IqFile:
    """Open a SigMF recording (either of its two files, or their common stem) or a raw file.

    Parameters
    ----------
    path
        The file.
    iq_format, sample_rate_hz, center_frequency_hz
        For a raw file all three are needed; for a SigMF recording they win over what it says.

    Raises
    ------
    ConfigError
        If the recording's format is none of ours, it does not say its rate or frequency, one of them is out of range,
        it holds several channels, or its metadata is malformed.
    DeviceError
        If a file cannot be read, or holds no sample.
    """
    metadata_path = _metadata_of(path)
    samples_path = path
    if metadata_path is not None:
        samples_path, recorded_format, recorded_rate_hz, recorded_frequency_hz = _read_metadata(metadata_path)
        iq_format = recorded_format if iq_format is None else iq_format
        sample_rate_hz = recorded_rate_hz if sample_rate_hz is None else sample_rate_hz
        center_frequency_hz = recorded_frequency_hz if center_frequency_hz is None else center_frequency_hz
    if iq_format is None or sample_rate_hz is None or center_frequency_hz is None:
        raise ConfigError(
            f"{path} is not a SigMF recording: say --iq-format, --sample-rate and --center-frequency "
            "(in station.toml iq_format, sample_rate_hz, center_frequency_hz)"
        )
    if not 0.0 < sample_rate_hz <= MAX_SAMPLE_RATE_HZ:
        raise ConfigError(f"{path}: the sample rate must be above 0 and at most 1e9 Hz, not {sample_rate_hz}")
    if not 0.0 <= center_frequency_hz <= MAX_FREQUENCY_HZ:
        raise ConfigError(f"{path}: the centre frequency must be 0 to 1e12 Hz, not {center_frequency_hz}")
    mapping, components = _map(samples_path, _DTYPES[iq_format])
    return IqFile(
        path=samples_path,
        iq_format=iq_format,
        sample_rate_hz=float(sample_rate_hz),
        center_frequency_hz=float(center_frequency_hz),
        n_samples=len(components) // 2,
        _components=components,
        _mapping=mapping,
    )


def _map(path: Path, dtype: np.dtype[Any]) -> tuple[mmap.mmap, NDArray[Any]]:
    """Map a file, and give the mapping and its samples, shape (2 n,)."""
    try:
        with path.open("rb") as stream:
            mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise DeviceError(f"recording {path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise DeviceError(f"recording {path} holds no sample") from error
    count = len(mapping) // dtype.itemsize // 2 * 2
    if count == 0:
        raise DeviceError(f"recording {path} holds no sample")
    return mapping, np.frombuffer(mapping, dtype=dtype, count=count)


def _metadata_of(path: Path) -> Path | None:
    """Give the metadata file when `path` names a SigMF recording by either file or by their stem."""
    if path.suffix == ".sigmf-meta":
        return path
    if path.suffix == ".sigmf-data":
        candidate = path.with_suffix(".sigmf-meta")
    else:
        # A stem may hold dots; a file of that very name is a raw one, whatever stands beside it.
        candidate = path.with_name(path.name + ".sigmf-meta")
        if path.is_file():
            return None
    return candidate if candidate.is_file() else None


def _read_metadata(path: Path) -> tuple[Path, IqFormat, float | None, float | None]:
    """Give samples file, format, rate and frequency of a SigMF recording."""
    try:
        if path.stat().st_size > MAX_METADATA_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_METADATA_BYTES} bytes")
        document = orjson.loads(path.read_bytes())
        described = document["global"]
        datatype = described["core:datatype"]
        rate_hz = described.get("core:sample_rate")
        n_channels = described.get("core:num_channels", 1)
        captures = document.get("captures") or [{}]
        frequency_hz = captures[0].get("core:frequency")
    except OSError as error:
        raise DeviceError(f"{path} cannot be read: {error.strerror}") from error
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(f"{path} is not SigMF metadata: {error!r}") from error
    if n_channels != 1:
        raise ConfigError(f"{path} holds {n_channels!r} channels; what can be played has one")
    if not isinstance(datatype, str) or datatype not in _OF_SIGMF:
        raise ConfigError(f"{path} holds {datatype!r}; what can be played is {', '.join(sorted(_OF_SIGMF))}")
    for value in (rate_hz, frequency_hz):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ConfigError(f"{path}: rate and frequency must be numbers, not {value!r}")
    return path.with_suffix(".sigmf-data"), _OF_SIGMF[datatype], rate_hz, frequency_hz
