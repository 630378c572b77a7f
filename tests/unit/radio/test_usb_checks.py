"""Receivers on a USB that a test makes, and what stands in the way of them."""

from __future__ import annotations

import errno
import grp
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app_core.base.finding import Finding, Verdict
from app_core.radio.receiver import SoapySettings
from app_core.radio.usb_checks import (
    check_free,
    check_kernel_drivers,
    check_permission,
    check_usb_memory,
    needed_usb_bytes,
    try_node,
    usb_findings,
)
from app_core.radio.usb_devices import KNOWN, has_usb, list_receivers
from tests.support.usb_tree import UsbTree


@pytest.fixture
def machine(tmp_path: Path) -> UsbTree:
    return UsbTree(tmp_path)


def soapy(args: str = "driver=rtlsdr", **words: object) -> SoapySettings:
    return SoapySettings.model_validate({"id": "r", "driver": "soapy", "args": args, **words})


def refuses(number: int | None) -> Callable[[Path], int | None]:
    return lambda node: number


def test_receivers_are_told_from_other_devices(machine: UsbTree) -> None:
    assert list_receivers(machine.root) == []
    node = machine.plug_in()
    machine.plug_in("1d50", "60a1", port="1-2.4", number=12, serial="")
    machine.plug_in("046d", "c52b", port="1-3", number=13)
    dongle, airspy = list_receivers(machine.root)
    assert (dongle.driver, dongle.serial, dongle.node) == ("rtlsdr", "00000001", node)
    assert (airspy.driver, str(airspy)) == ("airspy", "Airspy R2 or Mini 1d50:60a1")
    assert airspy.node == machine.root / "dev/bus/usb/001/012"


def test_every_kind_of_receiver_is_known() -> None:
    drivers = {driver for driver, _ in KNOWN.values()}
    assert {"rtlsdr", "airspy", "airspyhf", "hackrf", "sdrplay", "lime", "bladerf", "uhd"} <= drivers


def test_a_device_that_goes_away_meanwhile_is_left_out(machine: UsbTree) -> None:
    machine.plug_in()
    (machine.root / "sys/bus/usb/devices/1-1/devnum").unlink()
    assert list_receivers(machine.root) == []


def test_a_machine_without_usb_has_no_receivers(tmp_path: Path) -> None:
    assert not has_usb(tmp_path)
    assert list_receivers(tmp_path) == []
    verdicts = {finding.verdict for finding in usb_findings([], [], [], tmp_path)}
    assert verdicts == {Verdict.NOT_APPLICABLE}


def test_a_kernel_driver_that_holds_a_dongle_is_a_failure(machine: UsbTree) -> None:
    machine.plug_in(kernel_driver="dvb_usb_rtl28xxu")
    finding = check_kernel_drivers(list_receivers(machine.root), machine.root)
    assert finding.verdict is Verdict.FAILURE
    assert "RTL2838 0bda:2838 serial 00000001 is held by the kernel's dvb_usb_rtl28xxu" in finding.seen
    assert "blacklist dvb_usb_rtl28xxu\\n" in finding.remedy
    assert finding.remedy.endswith("| sudo tee /etc/modprobe.d/herald-sdr.conf && sudo modprobe -r dvb_usb_rtl28xxu")


def test_a_program_by_usbfs_is_no_kernel_driver(machine: UsbTree) -> None:
    machine.plug_in(kernel_driver="usbfs")
    assert check_kernel_drivers(list_receivers(machine.root), machine.root).verdict is Verdict.OK


@pytest.mark.parametrize("shown_in", ["proc", "sys"])
def test_a_kernel_driver_that_waits_for_the_dongle_is_a_warning(machine: UsbTree, shown_in: str) -> None:
    machine.plug_in()
    machine.load_module("usbcore")
    if shown_in == "proc":
        machine.load_module("dvb_usb_rtl28xxu")
    else:
        machine.write("sys/module/dvb_usb_rtl28xxu/initstate", "live\n")
    finding = check_kernel_drivers(list_receivers(machine.root), machine.root)
    assert finding.verdict is Verdict.WARNING
    assert finding.remedy.startswith("printf 'blacklist dvb_usb_rtl28xxu\\n'")


def test_a_kernel_driver_of_another_kind_of_receiver_is_not_in_the_way(machine: UsbTree) -> None:
    machine.plug_in("1d50", "60a1")
    machine.load_module("dvb_usb_rtl28xxu")
    assert check_kernel_drivers(list_receivers(machine.root), machine.root).verdict is Verdict.OK


def permission(machine: UsbTree, number: int | None) -> Finding:
    return check_permission(list_receivers(machine.root), refuses(number))


@pytest.mark.parametrize("number", [None, errno.EBUSY])
def test_a_node_that_opens_is_well(machine: UsbTree, number: int | None) -> None:
    machine.plug_in()
    assert permission(machine, number).verdict is Verdict.OK


def test_a_group_that_may_open_the_node_is_joined(machine: UsbTree) -> None:
    node = machine.plug_in()
    node.chmod(0o660)
    mine = {os.getegid(), *os.getgroups()} - {0}
    group = next(each for each in grp.getgrall() if each.gr_gid != 0 and (os.geteuid() == 0 or each.gr_gid in mine))
    os.chown(node, -1, group.gr_gid)
    remedy = permission(machine, errno.EACCES).remedy
    assert remedy == f'sudo usermod -aG {group.gr_name} "$(id -un)"    # then log in again'


def test_a_node_of_root_alone_needs_a_rule(machine: UsbTree) -> None:
    machine.plug_in().chmod(0o600)
    remedy = permission(machine, errno.EACCES).remedy
    assert 'ATTR{idVendor}=="0bda", ATTR{idProduct}=="2838", MODE="0660", GROUP="plugdev"' in remedy
    assert "udevadm trigger" in remedy


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOENT, "-v /dev/bus/usb:/dev/bus/usb"), (errno.EPERM, "'c 189:* rmw'")]
)
def test_what_a_container_lacks_is_named(machine: UsbTree, number: int, words: str) -> None:
    machine.plug_in()
    finding = permission(machine, number)
    assert finding.verdict is Verdict.FAILURE
    assert words in finding.remedy


def test_a_node_is_really_opened(machine: UsbTree) -> None:
    assert try_node(machine.plug_in()) is None
    assert try_node(machine.root / "nothing") == errno.ENOENT


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        (soapy(sample_rate_hz=2.4e6), 2_400_000),
        (soapy(), 250_000),
        (soapy("driver=airspy", sample_rate_hz=10e6), 20_000_000),
        (soapy("driver=strange"), 5_000_000),
    ],
)
def test_half_a_second_of_samples_is_what_usb_must_hold(settings: SoapySettings, needed: int) -> None:
    assert needed_usb_bytes(settings) == needed


@pytest.mark.parametrize(("limit_mb", "verdict"), [("16", Verdict.FAILURE), ("0", Verdict.OK), ("64", Verdict.OK)])
def test_usb_memory_is_compared_with_all_receivers_together(machine: UsbTree, limit_mb: str, verdict: Verdict) -> None:
    machine.write("sys/module/usbcore/parameters/usbfs_memory_mb", limit_mb + "\n")
    airspy = soapy("driver=airspy", sample_rate_hz=6e6)
    finding = check_usb_memory([airspy, airspy], machine.root)
    assert finding.verdict is verdict
    if verdict is Verdict.FAILURE:
        assert finding.remedy.startswith("echo 64 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb")
        assert check_usb_memory([airspy], machine.root).verdict is Verdict.OK


def test_a_program_that_has_the_dongle_is_named(machine: UsbTree) -> None:
    node = machine.plug_in()
    machine.run(812, "rtl_433 -F json", node, node)
    machine.run(813, "bash")
    finding = check_free(list_receivers(machine.root), ["soapy"], machine.root)
    assert finding.verdict is Verdict.FAILURE
    assert finding.seen.endswith("is held by process 812 (rtl_433 -F json)")
    assert finding.remedy == "sudo kill 812"


@pytest.mark.parametrize(
    ("command", "drivers", "verdict"),
    [
        ("python -m services.sdr_service", ["soapy"], Verdict.OK),
        ("/opt/bin/herald sdr", ["soapy"], Verdict.OK),
        ("rtl_tcp -s 250000", ["rtl_tcp"], Verdict.OK),
        ("rtl_tcp -s 250000", ["soapy"], Verdict.FAILURE),
    ],
)
def test_who_shall_have_the_dongle_may(machine: UsbTree, command: str, drivers: list[str], verdict: Verdict) -> None:
    machine.run(77, command, machine.plug_in())
    assert check_free(list_receivers(machine.root), drivers, machine.root).verdict is verdict


def test_a_configured_receiver_that_is_not_plugged_in_is_said(machine: UsbTree) -> None:
    assert usb_findings([], [soapy()], ["soapy"], machine.root)[0].verdict is Verdict.WARNING
