"""The SoapySDR driver of the tests, compiled when it is first needed, and the word to its devices while they run.

What it can do is said in ``soapy_iqfile/``. The binding, the compiler and the headers are Debian's
``python3-soapysdr``, ``g++`` and ``libsoapysdr-dev``; where they are missing the tests end as `missing` does.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.programs import missing, require_program

SOURCES = Path(__file__).parent / "soapy_iqfile"
NO_MODULES = "/nonexistent"
"""Where SoapySDR looks for the machine's own modules in the tests: those of real hardware stay out."""


def built_module() -> Path:
    """Give the folder of the compiled driver; it is compiled anew when its source changed."""
    if importlib.util.find_spec("SoapySDR") is None:
        missing("python3-soapysdr")
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"herald-soapy-iqfile-{os.getuid()}-{digest}"
    library = folder / "libiqfileSupport.so"
    if not library.is_file():
        if not Path("/usr/include/SoapySDR/Device.hpp").is_file():
            missing("libsoapysdr-dev")
        compiler = require_program("g++")
        folder.mkdir(mode=0o700, exist_ok=True)
        # Another test run may do the same: the whole file appears at once.
        unfinished = folder / f"{os.getpid()}.so.part"
        flags = ["-O3", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra"]
        command = [compiler, *flags, "-o", str(unfinished), str(SOURCES / "iqfile.cpp"), "-lSoapySDR"]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert finished.returncode == 0 and not finished.stderr, finished.stderr
        unfinished.rename(library)
    return folder


def module_environment(control: Path, log: Path) -> dict[str, str]:
    """Give the variables with which a program finds the driver, its orders and its diary."""
    return {
        "SOAPY_SDR_ROOT": NO_MODULES,
        "SOAPY_SDR_PLUGIN_PATH": str(built_module()),
        "SOAPY_IQFILE_CONTROL": str(control),
        "SOAPY_IQFILE_LOG": str(log),
    }


class IqFileDevices:
    """The devices that are plugged in, as the driver's control file says.

    Parameters
    ----------
    folder
        Where the control file and the diary are.
    """

    def __init__(self, folder: Path) -> None:
        self.control = folder / "iqfile.control"
        self.log = folder / "iqfile.log"
        self._devices: dict[str, dict[str, object]] = {}
        self._enumerate = "ok"
        self._orders = 0
        self._write()

    def environment(self) -> dict[str, str]:
        """As `module_environment`."""
        return module_environment(self.control, self.log)

    def plug_in(self, serial: str, **words: object) -> None:
        """Plug a device in, for the first time or again; `words` are those of ``control.hpp``."""
        kept = self._devices.get(serial, {})
        self._devices[serial] = {**kept, **words, "present": 1}
        self._write()

    def unplug(self, serial: str, *, gone: str = "error") -> None:
        """Unplug a device: who has it open gets what `gone` says, for ever."""
        words = self._devices[serial]
        generation = int(str(words.get("generation", 0))) + 1
        self._devices[serial] = {**words, "present": 0, "gone": gone, "generation": generation}
        self._write()

    def change(self, serial: str, **words: object) -> None:
        """Change a device that is plugged in."""
        self._devices[serial].update(words)
        self._write()

    def inject(self, serial: str, kind: str, amount: int = 1) -> None:
        """Have the next read do one thing; see ``control.hpp``."""
        self._orders += 1
        self.change(serial, inject=f"{self._orders}:{kind}:{amount}")

    def enumeration(self, manner: str) -> None:
        """Have enumeration be ``ok``, ``throw``, or take a number of milliseconds."""
        self._enumerate = manner
        self._write()

    def calls(self) -> list[str]:
        """Give the diary: what was opened, set and closed, in order."""
        return self.log.read_text().splitlines() if self.log.is_file() else []

    def _write(self) -> None:
        lines = [f"enumerate={self._enumerate}"]
        for serial, words in self._devices.items():
            lines.append(" ".join([f"serial={serial}", *(f"{key}={value}" for key, value in words.items())]))
        unfinished = self.control.with_suffix(".part")
        unfinished.write_text("\n".join(lines) + "\n")
        unfinished.rename(self.control)


def numbers_of(iq: NDArray[np.complex64], native: str) -> NDArray[np.int64]:
    """Give the number that each sample of the driver's counter says, modulo 2**16 (CU8), 2**32 (CS16), 2**30 (CF32).

    Parameters
    ----------
    iq
        Shape (n,). [full scale = 1]
    native
        The driver's native format.

    Returns
    -------
    numbers
        Shape (n,).
    """
    parts: NDArray[Any] = iq.view(np.float32).astype(np.float64)
    if native == "CU8":
        whole = np.rint(parts * 127.5 + 127.5).astype(np.int64)
        return whole[0::2] + (whole[1::2] << 8)
    bits = 16 if native == "CS16" else 15
    whole = np.rint(parts * 32768.0).astype(np.int64) & ((1 << bits) - 1)
    return whole[0::2] + (whole[1::2] << bits)


def use_devices(devices: IqFileDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have SoapySDR in this very process see the driver and these devices."""
    for name, value in devices.environment().items():
        monkeypatch.setenv(name, value)
    binding = importlib.import_module("SoapySDR")
    binding.loadModules()
    path = str(built_module() / "libiqfileSupport.so")
    # Another test may have had the modules loaded before the search path was ours.
    if not dict(binding.getLoaderResult(path)):
        binding.loadModule(path)
