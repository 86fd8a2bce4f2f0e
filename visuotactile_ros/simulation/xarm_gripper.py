"""The Robotiq gripper behind the arm's tool port, as Modbus RTU frames without checksum, and the port's own registers.

Source: Robotiq's register map (slave 9, output registers from 0x03E8, input registers from 0x07D0). The fingers move
with bounded speed; they stop where `object_position` says that something is in between. Activation opens them, whatever
they hold; a second activation without a reset does nothing.
"""

from __future__ import annotations

import struct

SLAVE = 9
BAUD_INDEX_115200, BAUD_INDEX_2000000 = 5, 11
_READ, _WRITE_MANY = 0x03, 0x10
_OUTPUT, _INPUT = 0x03E8, 0x07D0
_ACTIVATION_S = 0.1
_FULL_STROKE_S = 0.4
_BAUD_REGISTER, _NEW_BAUD_REGISTER, _REBOOT_REGISTER = 0x0A0B, 0x1A0B, 0x0607


class RobotiqGripper:
    """A two-finger gripper.

    Attributes:
        baud_index: Speed of the tool port; the gripper only hears 115200 baud.
        connected: Whether there is a gripper at all.
        object_position: Position 0..255 at which the fingers meet an object; 255 when there is none.
        position: Position of the fingers, 0 open to 255 closed.
    """

    def __init__(self, object_position: int = 150):
        self.baud_index = BAUD_INDEX_2000000
        self.connected = True
        self.object_position = object_position
        self.position = 0.0
        self._new_baud_index = self.baud_index
        self._outputs = bytes(6)
        self._activated_at: float | None = None
        self._moved_at = 0.0

    def answer(self, frame: bytes, now_s: float) -> bytes | None:
        """Reply to an RTU frame without checksum, or None when the gripper stays silent.

        Args:
            frame: Slave, function, address, count and data.
            now_s: Seconds that never go back.
        """
        if not self.connected or self.baud_index != BAUD_INDEX_115200 or len(frame) < 6 or frame[0] != SLAVE:
            return None
        self._move(now_s)
        function, address, count = frame[1], *struct.unpack_from('>HH', frame, 2)
        if function == _WRITE_MANY and address == _OUTPUT and len(frame) >= 13:
            self._write(frame[7:13], now_s)
            return frame[:6]
        if function == _READ and address == _INPUT and 1 <= count <= 3:
            return bytes([SLAVE, _READ, 2 * count]) + self._status(now_s)[:2 * count]
        return None

    def read_register(self, address: int) -> int:
        """Value of a register of the tool port."""
        return self.baud_index if address == _BAUD_REGISTER else 0

    def write_register(self, address: int, value: float) -> None:
        """Write a register of the tool port; a new speed counts after a reboot of the port."""
        if address == _NEW_BAUD_REGISTER:
            self._new_baud_index = int(value)
        elif address == _REBOOT_REGISTER:
            self.baud_index = self._new_baud_index

    def _write(self, outputs: bytes, now_s: float) -> None:
        active, was_active = outputs[0] & 1, self._outputs[0] & 1
        if active and not was_active:
            self._activated_at, self.position = now_s, 0.0
        elif not active:
            self._activated_at = None
        self._outputs = outputs

    def _move(self, now_s: float) -> None:
        reach_s, self._moved_at = now_s - self._moved_at, now_s
        if self._outputs[0] & 9 == 9:
            target = min(float(self._outputs[3]), float(self.object_position))
            speed = 255.0 / _FULL_STROKE_S * max(self._outputs[4], 1) / 255.0
            self.position += max(-speed * reach_s, min(speed * reach_s, target - self.position))

    def _status(self, now_s: float) -> bytes:
        if self._activated_at is None:
            activation = 0
        else:
            activation = 3 if now_s - self._activated_at >= _ACTIVATION_S else 1
        going, target = self._outputs[0] >> 3 & 1, self._outputs[3]
        if self.position >= self.object_position and target > self.object_position:
            contact = 2
        else:
            contact = 3 if abs(self.position - target) < 0.5 else 0
        first = (self._outputs[0] & 1) | going << 3 | activation << 4 | (contact if going else 0) << 6
        return bytes([first, 0, 0, target, int(round(self.position)), 0])
