"""Whether the controller of the arm can be reached; nothing is ever sent to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request

SUBJECT = 'arm'
CONNECT_TIMEOUT_S = 2.0


def check(request: Request) -> Iterator[Finding]:
    """Open a TCP connection and close it at once."""
    if not request.arm_address:
        yield Finding(NOTE, SUBJECT, 'no address was given, so that nothing was tried',
                      'Nothing for simulation and replay; otherwise add --arm <address of the controller>')
        return
    place = f'{request.arm_address}:{request.arm_port}'
    start_s = time.monotonic()
    try:
        socket.create_connection((request.arm_address, request.arm_port), CONNECT_TIMEOUT_S).close()
    except TimeoutError:
        yield Finding(BROKEN, SUBJECT, f'{place} does not answer within {CONNECT_TIMEOUT_S:g} s',
                      'Check power, cable and address of the controller, and that this computer has an address in the '
                      'same network')
    except ConnectionRefusedError:
        yield Finding(BROKEN, SUBJECT, f'{place} refuses connections',
                      'Wait until the controller has started, and check the address')
    except OSError as error:
        yield Finding(BROKEN, SUBJECT, f'{place} cannot be reached: {error.strerror or error}',
                      'Give this computer an address in the network of the controller')
    else:
        yield Finding(OK, SUBJECT, f'{place} accepts connections, after {1e3 * (time.monotonic() - start_s):.0f} ms')
