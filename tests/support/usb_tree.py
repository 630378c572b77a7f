"""A machine's ``/sys``, ``/proc`` and ``/dev`` as a test wants them, below a folder."""

from __future__ import annotations

from pathlib import Path


class UsbTree:
    """One machine.

    Parameters
    ----------
    root
        Folder that stands for ``/``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._devices = root / "sys/bus/usb/devices"
        self._devices.mkdir(parents=True)
        # Hubs and the controller have no numbers of a receiver.
        self._device("usb1", {"idVendor": "1d6b", "idProduct": "0002", "busnum": "1", "devnum": "1"})

    def plug_in(
        self,
        vendor: str = "0bda",
        product: str = "2838",
        *,
        port: str = "1-1",
        number: int = 5,
        serial: str = "00000001",
        kernel_driver: str = "",
        has_node: bool = True,
    ) -> Path:
        """Plug a device in, and give its node."""
        facts = {"idVendor": vendor, "idProduct": product, "busnum": "1", "devnum": str(number)}
        folder = self._device(port, facts | ({"serial": serial} if serial else {}))
        interface = self._devices / f"{port}:1.0"
        interface.mkdir()
        if kernel_driver:
            driver = self.root / "sys/bus/usb/drivers" / kernel_driver
            driver.mkdir(parents=True, exist_ok=True)
            (interface / "driver").symlink_to(driver)
        assert folder.is_dir()
        node = self.root / "dev/bus/usb/001" / f"{number:03d}"
        if has_node:
            node.parent.mkdir(parents=True, exist_ok=True)
            node.touch()
        return node

    def load_module(self, name: str) -> None:
        """Have a kernel module loaded."""
        path = self.root / "proc/modules"
        path.parent.mkdir(exist_ok=True)
        with path.open("a", encoding="ascii") as file:
            file.write(f"{name} 40960 0 - Live 0x0000000000000000\n")

    def run(self, pid: int, command: str, *opened: Path) -> None:
        """Have a process run that has files open."""
        folder = self.root / "proc" / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
        for number, path in enumerate((Path("/dev/null"), *opened)):
            (folder / "fd" / str(number)).symlink_to(path)

    def write(self, path: str, text: str) -> None:
        """Write any other file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="ascii")

    def _device(self, name: str, facts: dict[str, str]) -> Path:
        folder = self._devices / name
        folder.mkdir()
        for key, value in facts.items():
            (folder / key).write_text(value + "\n", encoding="ascii")
        return folder
