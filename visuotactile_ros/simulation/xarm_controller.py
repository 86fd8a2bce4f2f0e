"""A simulated xArm 6 controller: a TCP server that the unmodified xarm-python-sdk connects to and drives.

One thread serves the control port, the tool port (control port + 1) and the three report ports; it sleeps while nobody
asks. The motion is computed up to now whenever somebody looks, so that an idle controller costs nothing. Report ports
cannot be moved: the SDK knows a report's layout by its port number. Controllers side by side therefore listen on
different loopback addresses. A little over 300 lines, because serving and faulting share the sockets.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from visuotactile_ros.errors import ArmError
from visuotactile_ros.simulation.xarm_gripper import RobotiqGripper
from visuotactile_ros.simulation.xarm_motion import HOME_JOINTS_DEG, XArmMotion
from visuotactile_ros.simulation.xarm_protocol import MOTION_REGISTERS, Register, Request, split_requests
from visuotactile_ros.simulation.xarm_registers import XArmRegisters
from visuotactile_ros.simulation.xarm_reports import REPORT_PERIOD_S, build_report

DEFAULT_CONTROL_PORT = 5502

@dataclass(frozen=True)
class LoggedCommand:
    """One request as the controller took it: monotonic seconds, register, payload and the port's role."""

    monotonic_s: float
    register: int
    payload: bytes
    role: str


@dataclass
class _Connection:
    """One accepted socket; `role` is 'control', 'tool' or 'report'."""

    stream: socket.socket
    role: str
    port: int
    buffer: bytearray = field(default_factory=bytearray)
    waiting: deque = field(default_factory=deque)
    due_s: float = 0.0


class XArmController:
    """The controller box.

    Args:
        host: Loopback address to listen on; every controller of a machine needs its own.
        control_port: Port of the control protocol; the tool port is the next one.
        joints_deg: Joint angles [6] at the start, degrees; by default the tool holds the vessel upright.
        clock: Seconds that never go back.

    Attributes:
        gripper: The gripper behind the tool port.
        registers: What it holds and answers.
        control_clients: How many clients are connected to the control port.
    """

    def __init__(self, host: str = '127.0.0.1', control_port: int = DEFAULT_CONTROL_PORT,
                 joints_deg: Sequence[float] = HOME_JOINTS_DEG, clock: Callable[[], float] = time.monotonic):
        self.host, self.control_port = host, control_port
        self.gripper = RobotiqGripper()
        self._motion = XArmMotion(joints_deg)
        self.registers = XArmRegisters(self._motion, self.gripper, clock)
        self._clock = clock
        self._now_s = clock()
        self._lock = threading.RLock()
        self._log: deque[LoggedCommand] = deque(maxlen=100_000)
        self._hung_until_s = 0.0
        self._modbus_delay_s = 0.0
        self._reports_on = True
        self.control_clients = 0
        self._thread: threading.Thread | None = None
        self._selector: selectors.BaseSelector | None = None
        self._wake: socket.socket | None = None

    # Life.

    def start(self) -> None:
        """Listen and serve until `stop`.

        Raises:
            ArmError: A port is taken.
        """
        if self._thread is not None:
            return
        self._selector = selectors.DefaultSelector()
        self._wake, woken = socket.socketpair()
        for end in (self._wake, woken):
            end.setblocking(False)
        self._selector.register(woken, selectors.EVENT_READ, None)
        try:
            for port in (self.control_port, self.control_port + 1, *REPORT_PERIOD_S):
                self._listen(port)
        except OSError as error:
            self._close_all()
            raise ArmError(f'the simulated controller cannot listen on {self.host}: {error.strerror}',
                           'End the other simulation, or choose another loopback address') from error
        self._thread = threading.Thread(target=self._serve, name='xarm_controller', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every socket and end the thread; calling it on a stopped controller does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._poke()
            thread.join(5.0)

    def __enter__(self) -> XArmController:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # What the simulated world and tests see.

    def measured_pose_mm_deg(self) -> np.ndarray:
        """True pose of the tool now, float64 [6]: x, y, z in mm; roll, pitch, yaw in degrees; fingers' centre."""
        with self._lock:
            self._catch_up()
            pose = self._motion.pose_mm_rad
            return np.concatenate([pose[:3], np.degrees(pose[3:])])

    def set_joint_torque_source(self, source: Callable[[], Sequence[float]]) -> None:
        """Ask `source` for the seven joint torques in newton metres whenever a client wants them; must not block."""
        with self._lock:
            self.registers.joint_torque_source = source

    @property
    def mode(self) -> int:
        """Mode 0..11."""
        return self._motion.mode

    @property
    def state(self) -> int:
        """State: 1 moving, 2 ready, 3 paused, 4 stopped, 5 reset."""
        with self._lock:
            self._catch_up()
            return self._motion.state

    @property
    def error(self) -> int:
        """Error code, 0 for none."""
        return self._motion.error

    def commands(self) -> list[LoggedCommand]:
        """Every request since the start, oldest first."""
        with self._lock:
            return list(self._log)

    def motion_commands(self) -> list[LoggedCommand]:
        """Every request that asked for motion, oldest first."""
        return [command for command in self.commands() if command.register in MOTION_REGISTERS]

    # Faults to inject.

    def inject_fault(self, code: int) -> None:
        """Stop with the controller error `code`, as on a collision (31)."""
        with self._lock:
            self._catch_up()
            self._motion.raise_error(code)

    def hang(self, seconds: float) -> None:
        """Answer nothing and report nothing for `seconds`; sockets stay open."""
        with self._lock:
            self._hung_until_s = self._clock() + seconds

    def kill(self) -> None:
        """Vanish: close every socket at once; `start` brings it back."""
        self.stop()

    def stop_reports(self, stopped: bool = True) -> None:
        """Send no more reports while the sockets stay open; `stopped=False` sends again."""
        with self._lock:
            self._reports_on = not stopped
        self._poke()

    def slow_modbus(self, seconds: float) -> None:
        """Let every answer of the tool take `seconds`; its connection waits meanwhile."""
        with self._lock:
            self._modbus_delay_s = seconds

    def nan_pose(self, broken: bool = True) -> None:
        """Say NaN for every pose and joint angle; `broken=False` ends it."""
        with self._lock:
            self.registers.pose_is_nan = broken

    def flip_mode(self, mode: int) -> None:
        """Change the mode and run, as another client does."""
        with self._lock:
            self._catch_up()
            self._motion.set_mode(mode)
            self._motion.set_state(0)

    def pause(self) -> None:
        """Pause, as a button at a digital input does."""
        with self._lock:
            self._catch_up()
            self._motion.set_state(3)

    def resume(self) -> None:
        """End a pause; the arm then goes to the newest target."""
        with self._lock:
            self._catch_up()
            self._motion.set_state(0)

    # Serving.

    def _listen(self, port: int) -> None:
        # The SDK sets a process-wide socket timeout; a server in the same process must not inherit it.
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((self.host, port))
        except OSError:
            listener.close()
            raise
        listener.listen(8)
        self._selector.register(listener, selectors.EVENT_READ, port)

    def _poke(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):
                self._wake.send(b'.')

    def _serve(self) -> None:
        try:
            while self._thread is threading.current_thread():
                for key, _ in self._selector.select(self._seconds_to_next_event()):
                    if isinstance(key.data, _Connection):
                        self._receive(key.data)
                    elif key.data is None:
                        with contextlib.suppress(BlockingIOError):
                            key.fileobj.recv(64)
                    else:
                        self._accept(key.fileobj, key.data)
                self._answer_waiting()
                self._send_reports()
        finally:
            self._close_all()

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()
        self._selector.close()
        self._wake.close()

    def _connections(self) -> list[_Connection]:
        return [key.data for key in list(self._selector.get_map().values()) if isinstance(key.data, _Connection)]

    def _seconds_to_next_event(self) -> float | None:
        due = [connection.due_s for connection in self._connections()
               if connection.waiting or (connection.role == 'report' and self._reports_on)]
        if not due:
            return None
        return max(0.0, max(min(due), self._hung_until_s) - self._clock())

    def _accept(self, listener: socket.socket, port: int) -> None:
        try:
            stream, _ = listener.accept()
        except OSError:
            return
        stream.setblocking(False)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        role = 'report' if port in REPORT_PERIOD_S else 'control' if port == self.control_port else 'tool'
        connection = _Connection(stream, role, port, due_s=self._clock())
        self._selector.register(stream, selectors.EVENT_READ, connection)
        self.control_clients += role == 'control'

    def _drop(self, connection: _Connection) -> None:
        self._selector.unregister(connection.stream)
        connection.stream.close()
        self.control_clients -= connection.role == 'control'

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.stream.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self._drop(connection)
            return
        if connection.role != 'report':
            connection.buffer += data
            connection.waiting.extend((request, False) for request in split_requests(connection.buffer))

    def _answer_waiting(self) -> None:
        now_s = self._clock()
        for connection in self._connections():
            if connection.role == 'report':
                continue
            while connection.waiting and now_s >= max(connection.due_s, self._hung_until_s):
                request, delayed = connection.waiting.popleft()
                if request.register == Register.TOOL_MODBUS and self._modbus_delay_s > 0.0 and not delayed:
                    connection.due_s = now_s + self._modbus_delay_s
                    connection.waiting.appendleft((request, True))
                    break
                if not self._send(connection, self._answer(request, connection.role)):
                    break

    def _send(self, connection: _Connection, data: bytes) -> bool:
        try:
            connection.stream.sendall(data)
            return True
        except OSError:
            self._drop(connection)
            return False

    def _send_reports(self) -> None:
        now_s = self._clock()
        if not self._reports_on or now_s < self._hung_until_s:
            return
        for connection in self._connections():
            if connection.role == 'report' and now_s >= connection.due_s:
                period_s = REPORT_PERIOD_S[connection.port]
                connection.due_s = max(connection.due_s + period_s, now_s)
                self._send(connection, self._report(connection.port))

    def _catch_up(self) -> None:
        now_s = self._clock()
        self._motion.advance(now_s - self._now_s)
        self._now_s = now_s

    def _answer(self, request: Request, role: str) -> bytes:
        with self._lock:
            self._catch_up()
            self._log.append(LoggedCommand(self._clock(), request.register, request.payload, role))
            return self.registers.answer(request)

    def _report(self, port: int) -> bytes:
        with self._lock:
            self._catch_up()
            return build_report(port, self.registers.report_content())
