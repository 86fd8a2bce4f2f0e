"""The vendor's library, made safe to hold: imported late and quietly, every call bounded in time, every code in words.

What is worked around, each seen with xarm-python-sdk 1.18.4: importing it fails with a read-only home; it prints to
stdout; it sets a process-wide socket timeout whenever it connects; its control port is a process-wide constant; some
calls wait 10 s or for ever although a timeout is set.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from visuotactile_ros.errors import ArmError

_SDK_LOCK = threading.Lock()

_NO_ANSWER = 3
# What a return code of the library means; 0 and 2 (a warning is set) are success.
_CODES = {
    -1: 'not connected', -2: 'not ready', -3: 'refused the arguments', -6: 'outside the reach',
    -7: 'outside the joint range', -8: 'out of range', -9: 'stopped', 1: 'the controller has an error',
    _NO_ANSWER: 'no answer in time', 4: 'answer of wrong length', 5: 'answer out of order', 6: 'wrong protocol',
    7: 'answer to another command', 8: 'cannot send', 9: 'not ready to move', 10: 'invalid result', 11: 'other error',
    12: 'wrong parameter', 20: 'wrong host of the tool',
    22: 'wrong speed of the tool port', 23: 'no answer of the tool', 51: 'wrong mode', 100: 'not finished in time',
    101: 'state cannot be read', 102: 'the gripper has a fault', 103: 'the gripper is not activated',
}


class LateAnswerError(ArmError):
    """A reading that did not come in time; nothing was written, and the connection may be healthy."""


class _SocketModule(types.ModuleType):
    """The socket module without the library's process-wide side effect; it sets a timeout on each socket anyway."""

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    @staticmethod
    def setdefaulttimeout(_: float | None) -> None:
        """Do nothing."""


@functools.lru_cache(maxsize=1)
def load_sdk() -> types.ModuleType:
    """Import the vendor's library once and return it.

    Raises:
        ArmError: It is not installed.
    """
    with _SDK_LOCK, contextlib.ExitStack() as stack:
        try:
            # It makes this folder at import, and the import fails where it may not.
            os.makedirs(os.path.join(os.path.expanduser('~'), '.UFACTORY', 'log', 'xarm', 'sdk'), exist_ok=True)
        except OSError:
            home = os.environ.get('HOME', '')
            os.environ['HOME'] = stack.enter_context(tempfile.TemporaryDirectory())
            stack.callback(os.environ.__setitem__, 'HOME', home)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            import xarm
            from xarm.core.comm import socket_port
            from xarm.core.utils import log
        except ImportError as error:
            raise ArmError(f'the library of the xArm cannot be imported: {error}',
                           'Install it with pip install xarm-python-sdk==1.18.4') from error
        socket_port.socket = _SocketModule('socket')
        # Every code is checked and told here in one line; the library's own lines would only repeat it.
        log.logger.setLevel(logging.CRITICAL)
        log.origin_logger.setLevel(logging.CRITICAL)
        for name, module in list(sys.modules.items()):
            if name.startswith('xarm.') and module is not None:
                module.print = _silent
        return xarm


def describe_code(code: int) -> str:
    """A return code of the library in words."""
    return f'code {code}, {_CODES.get(code, "unknown code")}'


def describe_error(code: int) -> str:
    """A controller error with its number and the vendor's title, such as `C31 Collision Caused Abnormal Current`."""
    load_sdk()
    from xarm.core.config.x_code import ControllerError
    title = ControllerError(code, status=0).title['en']
    return f'C{code} {title}'


class BoundedWorker:
    """A thread that runs calls one after the other and is given up when one misses its deadline.

    A library call that hangs holds the library's lock, so that the worker it hangs in can never be used again. Whoever
    comes while a call runs waits for its turn, which comes in bounded time, for every call has a deadline.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str):
        self.dead = False
        self._turn = threading.Lock()
        self._work: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, name: str, function: Callable[..., Any], *arguments: Any, deadline_s: float, **keywords: Any) -> Any:
        """Run `function` in the worker's thread and return its result.

        Raises:
            ArmError: It took longer than `deadline_s` from its turn on, failed, or an earlier call did.
        """
        with self._turn:
            if self.dead:
                raise ArmError(f'{name}: the connection to the xArm is lost', 'Connect and arm it again')
            done: queue.SimpleQueue = queue.SimpleQueue()
            self._work.put((function, arguments, keywords, done))
            try:
                result, failure = done.get(timeout=deadline_s)
            except queue.Empty:
                self.dead = True
                raise ArmError(f'{name}: the xArm did not answer within {deadline_s:.1f} s',
                               'Check the controller, then connect and arm it again') from None
        if isinstance(failure, ArmError):
            raise failure
        if failure is not None:
            text = str(failure).splitlines()[0] if str(failure) else type(failure).__name__
            raise ArmError(f'{name}: {text}', 'Check the connection of the arm') from failure
        return result

    def close(self) -> None:
        """End the thread after the call it is in."""
        self.dead = True
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            function, arguments, keywords, done = item
            try:
                done.put((function(*arguments, **keywords), None))
            except Exception as error:  # noqa: BLE001 - the library raises bare exceptions; the caller gets them
                done.put((None, error))


class XArmLink:
    """One connection to the controller whose calls end in bounded time and whose codes are checked.

    Args:
        name: Role of the connection.
        address: IPv4 address.
        control_port: Control port of the controller.
        reports: Whether to receive reports.
        command_timeout_s: Longest wait for one reply, where the library honours it.
        call_deadline_s: Longest time for one call, whatever it waits for.
        connect_timeout_s: Longest time to connect.

    Raises:
        ArmError: The controller cannot be reached.
    """

    def __init__(self, name: str, address: str, control_port: int, *, reports: bool, command_timeout_s: float,
                 call_deadline_s: float, connect_timeout_s: float):
        self._address, self._control_port = address, control_port
        self._deadline_s = call_deadline_s
        self._worker = BoundedWorker(f'xarm_{name}')
        self.api: Any = None
        try:
            self._worker.call('connect', self._connect, reports, command_timeout_s, deadline_s=connect_timeout_s)
        except ArmError as error:
            self.close()
            raise ArmError(f'the xArm at {address} port {control_port} cannot be reached ({error.problem})',
                           'Check its power, the cable, the address and that the emergency stop is released') from error

    @property
    def alive(self) -> bool:
        """Whether the control socket is open and no call hangs."""
        return not self._worker.dead and self.api is not None and bool(self.api.connected)

    def command(self, name: str, *arguments: Any, accept: tuple[int, ...] = (0, 2), deadline_s: float | None = None,
                **keywords: Any) -> Any:
        """Call the method `name` of the library and check its return code.

        Args:
            name: Method of the library's XArmAPI.
            arguments: Its arguments.
            accept: Codes that mean success; 2 says that a warning is set.
            deadline_s: Longest time for this call; None is the link's own.
            keywords: Its keyword arguments.

        Returns:
            What follows the code, None when nothing does.

        Raises:
            ArmError: The code is not in `accept`, the call took too long, or the link is dead.
        """
        result = self._worker.call(name, getattr(self.api, name), *arguments,
                                   deadline_s=self._deadline_s if deadline_s is None else deadline_s, **keywords)
        return checked_result(name, result, accept)

    def read(self, name: str, *arguments: Any) -> Any:
        """As `command`, for what only reads: when the answer is late, as on a busy machine, it is asked once more.

        Raises:
            LateAnswerError: The second answer was late too.
            ArmError: As `command`.
        """
        method = getattr(self.api, name)
        for _ in range(2):
            result = self._worker.call(name, method, *arguments, deadline_s=self._deadline_s)
            if result[0] != _NO_ANSWER:
                return checked_result(name, result)
        raise LateAnswerError(f'{name} failed with {describe_code(_NO_ANSWER)}', 'Check the cable and the controller')

    def close(self, timeout_s: float = 0.5) -> None:
        """Disconnect; the link is dead afterwards. Threads of the library may end a little later than this returns."""
        self._worker.close()
        if self.api is not None:
            # The library closes its sockets first and then waits for its threads, itself among them, for a second.
            closing = threading.Thread(target=self.api.disconnect, name='xarm_disconnect', daemon=True)
            closing.start()
            closing.join(timeout_s)

    @contextlib.contextmanager
    def control_port(self) -> Iterator[None]:
        """Hold the library's process-wide control port at this link's port while something connects."""
        from xarm.core.config.x_config import XCONF
        with _SDK_LOCK:
            XCONF.SocketConf.TCP_CONTROL_PORT = self._control_port
            yield

    def _connect(self, reports: bool, command_timeout_s: float) -> None:
        # Kept before it is connected, so that `close` can also end an attempt that hangs.
        self.api = load_sdk().XArmAPI(self._address, is_radian=False, do_not_open=True, enable_report=reports,
                                      report_type='rich', forbid_uds=True, check_is_pause=False)
        with self.control_port():
            self.api.connect()
        self.api.set_timeout(command_timeout_s)


def checked_result(name: str, result: Any, accept: tuple[int, ...] = (0, 2)) -> Any:
    """Take the return code off a result of the library, check it, and return what follows (None when nothing does).

    Raises:
        ArmError: The code is not in `accept`.
    """
    code, rest = (result[0], result[1:]) if isinstance(result, (tuple, list)) else (result, ())
    if code not in accept:
        raise ArmError(f'{name} failed with {describe_code(code)}', 'Check the arm, then arm it again')
    return rest[0] if rest else None


def _silent(*_: object, **__: object) -> None:
    """Stands in for `print` inside the library."""
