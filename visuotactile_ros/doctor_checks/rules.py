"""Whether the udev rules of this package are in force."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from visuotactile_ros import udev_rules
from visuotactile_ros.doctor_checks.examination import NOTE, OK, Finding, Request

SUBJECT = 'udev rules'
UDEV_SOCKET = Path('/run/udev/control')


def check(request: Request) -> Iterator[Finding]:
    """Compare the installed rules with those of this version."""
    state = udev_rules.state_of_installed_rules()
    if state == 'installed':
        yield Finding(OK, SUBJECT, f'{udev_rules.INSTALLED_RULES} is that of this version')
    elif not UDEV_SOCKET.exists():
        yield Finding(NOTE, SUBJECT, 'no udev runs here, as in a container',
                      'Nothing where no sensor is plugged in; otherwise install the rules on the host')
    else:
        yield Finding(NOTE, SUBJECT, f'{udev_rules.INSTALLED_RULES} is {state}; without it sensors have no name by '
                      'serial number under /dev/visuotactile', 'See what it does: ros2 run visuotactile_ros udev_rules')
