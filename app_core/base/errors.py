"""The whole tree of Herald's errors. They branch by what the one who catches them does next.

::

    HeraldError
    ├── ConfigError       the person mends it; the program ends with exit code 78 (EX_CONFIG)
    ├── DeviceError       close the device, back off, reopen it
    ├── LinkError         reconnect, for ever
    ├── WireError         a message, packet, header or file is malformed: count it and drop it
    └── LifecycleError    a programming or shutdown error of a worker: end the program
"""

from __future__ import annotations


class HeraldError(Exception):
    """Root of every error that Herald raises on purpose."""


class ConfigError(HeraldError):
    """A setting is wrong or missing. The text names the setting, the cause and the way to mend it."""


class DeviceError(HeraldError):
    """A receiver failed or is gone; it may come back."""


class LinkError(HeraldError):
    """A connection to another program failed; it may come back."""


class WireError(HeraldError):
    """Something that came from outside is malformed; it is counted and dropped."""


class LifecycleError(HeraldError):
    """A worker was used out of order, or did not stop in time."""
