"""The Robotiq gripper behind the arm's tool port, through the vendor's library."""

from __future__ import annotations

from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.xarm_sdk import BoundedWorker, XArmLink, checked_result

# Setting the speed of the tool port reboots it, which the library waits for.
_PORT_REBOOT_S = 3.0


class RobotiqDriver:
    """Opens and closes the gripper over the tool's own port, so that a slow tool never holds up the arm.

    Args:
        link: Connection to the controller.
        parameters: Settings of the arm.
    """

    def __init__(self, link: XArmLink, parameters: ArmParameters):
        self._link, self._p = link, parameters
        self._worker = BoundedWorker('xarm_gripper')
        self._activated = False

    def move(self, position: int) -> None:
        """Move the fingers to `position` (0 open, 255 closed) and wait until they stop or hold something.

        Raises:
            ArmError: The gripper does not answer, has a fault, or does not finish.
        """
        try:
            if not self._activated:
                self._worker.call('activate the gripper', self._activate,
                                  deadline_s=self._p.gripper_timeout_s + _PORT_REBOOT_S)
                self._activated = True
            self._worker.call('move the gripper', self._move, position, deadline_s=self._p.gripper_timeout_s + 1.0)
        except Exception:
            self._activated = False
            raise

    def close(self) -> None:
        """End the driver's thread; the fingers stay as they are."""
        self._worker.close()

    def _activate(self) -> None:
        api = self._link.api
        with self._link.control_port():
            checked_result('set_rs485_use_503_port', api.set_rs485_use_503_port(True))
        # Status, reset and activate set the tool port to the gripper's 115200 baud; a move alone would not.
        checked_result('robotiq_get_status', api.robotiq_get_status())
        if api.robotiq_status['gACT'] == 1 and api.robotiq_status['gSTA'] == 3:
            return  # activating it again would open it, and it may hold the vessel
        checked_result('robotiq_reset', api.robotiq_reset())
        checked_result('robotiq_set_activate', api.robotiq_set_activate(wait=True, timeout=self._p.gripper_timeout_s))

    def _move(self, position: int) -> None:
        checked_result('robotiq_set_position', self._link.api.robotiq_set_position(
            position, speed=self._p.grip_speed, force=self._p.grip_force, wait=True, timeout=self._p.gripper_timeout_s,
            wait_motion=False, auto_enable=False))
