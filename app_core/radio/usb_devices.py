"""The receivers on this machine's USB, as the kernel lists them, without opening any.

`root` is where ``sys`` and ``dev`` are; paths of nodes are given below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DVB_DRIVERS = ("dvb_usb_rtl28xxu", "rtl2832_sdr", "rtl2832", "rtl2830")
"""Kernel modules that make a television receiver of an RTL2832U, the one that takes the dongle first."""

_RTL2832U = {
    (0x0BDA, 0x2832): "RTL2832U",
    (0x0BDA, 0x2838): "RTL2838",
    (0x0413, 0x6680): "DigitalNow Quad DVB-T",
    (0x0413, 0x6F0F): "Leadtek WinFast DTV Dongle mini D",
    (0x0458, 0x707F): "Genius TVGo DVB-T03",
    (0x0CCD, 0x00A9): "Terratec Cinergy T Stick Black",
    (0x0CCD, 0x00B3): "Terratec NOXON DAB/DAB+ stick",
    (0x0CCD, 0x00D3): "Terratec Cinergy T Stick RC",
    (0x0CCD, 0x00E0): "Terratec NOXON DAB/DAB+ stick 2",
    (0x1554, 0x5020): "PixelView PV-DT235U(RN)",
    (0x15F4, 0x0131): "Astrometa DVB-T/DVB-T2",
    (0x1B80, 0xD393): "GIGABYTE GT-U7300",
    (0x1B80, 0xD3A4): "Twintech UT-40",
    (0x1D19, 0x1101): "Dexatek DK DVB-T dongle",
    (0x1F4D, 0xB803): "GTek T803",
}

KNOWN: Mapping[tuple[int, int], tuple[str, str]] = {
    **{numbers: ("rtlsdr", name) for numbers, name in _RTL2832U.items()},
    (0x1D50, 0x60A1): ("airspy", "Airspy R2 or Mini"),
    (0x03EB, 0x800C): ("airspyhf", "Airspy HF+"),
    (0x1D50, 0x6089): ("hackrf", "HackRF One"),
    (0x1D50, 0x604B): ("hackrf", "HackRF Jawbreaker"),
    (0x1D50, 0xCC15): ("hackrf", "rad1o"),
    (0x1DF7, 0x2500): ("sdrplay", "SDRplay RSP1"),
    (0x1DF7, 0x3000): ("sdrplay", "SDRplay RSP1A"),
    (0x1DF7, 0x3010): ("sdrplay", "SDRplay RSP2"),
    (0x1DF7, 0x3020): ("sdrplay", "SDRplay RSPduo"),
    (0x1DF7, 0x3030): ("sdrplay", "SDRplay RSPdx"),
    (0x1DF7, 0x3050): ("sdrplay", "SDRplay RSP1B"),
    (0x1DF7, 0x3060): ("sdrplay", "SDRplay RSPdx-R2"),
    (0x0403, 0x601F): ("lime", "LimeSDR Mini"),
    (0x1D50, 0x6108): ("lime", "LimeSDR-USB"),
    (0x2CF0, 0x5246): ("bladerf", "bladeRF"),
    (0x2CF0, 0x5250): ("bladerf", "bladeRF 2.0"),
    (0x2500, 0x0020): ("uhd", "USRP B200 or B210"),
    (0x2500, 0x0021): ("uhd", "USRP B200mini"),
    (0x0456, 0xB673): ("plutosdr", "ADALM-PLUTO"),
}
"""SoapySDR's driver and a name by vendor and product number, from the udev rules that come with each driver."""

BLACKLISTS: Mapping[str, tuple[str, ...]] = {
    "rtlsdr": DVB_DRIVERS,
    "airspy": ("airspy",),
    "hackrf": ("hackrf",),
    "sdrplay": ("sdr_msi3101", "msi2500", "msi001"),
}
"""Kernel modules that take a receiver of each driver for themselves."""


@dataclass(frozen=True, slots=True)
class UsbReceiver:
    """One receiver that is plugged in.

    Attributes
    ----------
    driver
        SoapySDR's name of its driver.
    name, serial
        For people; the serial is empty where it has none.
    vendor, product
        USB numbers, four hexadecimal digits.
    node
        Its file below ``/dev/bus/usb``.
    kernel_drivers
        Kernel modules that hold one of its interfaces; programs that use it by ``usbfs`` are none.
    """

    driver: str
    name: str
    serial: str
    vendor: str
    product: str
    node: Path
    kernel_drivers: tuple[str, ...]

    def __str__(self) -> str:
        """Give the words for a message."""
        return f"{self.name} {self.vendor}:{self.product}" + (f" serial {self.serial}" if self.serial else "")


def has_usb(root: Path = Path("/")) -> bool:
    """Whether this machine shows a USB at all; a container may not."""
    return (root / "sys/bus/usb/devices").is_dir()


def list_receivers(root: Path = Path("/")) -> list[UsbReceiver]:
    """Give the receivers of `KNOWN` that are plugged in, in the kernel's order."""
    folder = root / "sys/bus/usb/devices"
    if not folder.is_dir():
        return []
    # An interface has a colon in its name; the others are devices and hubs.
    devices = (_receiver(path, root) for path in sorted(folder.iterdir()) if ":" not in path.name)
    return [device for device in devices if device is not None]


def _receiver(path: Path, root: Path) -> UsbReceiver | None:
    try:
        vendor, product = _read(path / "idVendor"), _read(path / "idProduct")
        numbers = (int(vendor, 16), int(product, 16))
        node = root / "dev/bus/usb" / f"{int(_read(path / 'busnum')):03d}" / f"{int(_read(path / 'devnum')):03d}"
    except (OSError, ValueError):
        return None  # unplugged while we looked, or no device
    if numbers not in KNOWN:
        return None
    driver, name = KNOWN[numbers]
    links = (interface / "driver" for interface in sorted(path.parent.glob(f"{path.name}:*")))
    held_by = {link.resolve().name for link in links if link.is_symlink()} - {"usbfs"}
    return UsbReceiver(driver, name, _read_or_nothing(path / "serial"), vendor, product, node, tuple(sorted(held_by)))


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip()


def _read_or_nothing(path: Path) -> str:
    try:
        return _read(path)
    except OSError:
        return ""
