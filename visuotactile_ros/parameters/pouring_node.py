"""Settings of the pouring node itself; those of the task and of the arm are its groups `task` and `arm`."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.definition import check_settings, setting
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters


@dataclass(frozen=True)
class PouringNodeParameters:
    """Which policy runs and how a pour begins."""

    policy: str = setting(
        'pouring_policy', 'Policy: a name under models/ of the package, or the path of a folder')
    auto_start: bool = setting(
        False, 'Arm and pour once, as soon as both fingers send embeddings; false waits for ~/arm and ~/start')
    grasp: bool = setting(
        True, 'Close the gripper on the vessel before a pour; false where one that lost its power holds the vessel '
        'already, for it opens when it is activated')
    arm_patience_s: float = setting(
        10.0, 'How long an arm that does not answer is asked again when the node is configured', unit='s', minimum=0.0,
        maximum=600.0)
    tactile_namespace: str = setting('tactile', 'Namespace of the perception node, relative to that of this node')

    def __post_init__(self):
        check_settings(self)
        if not self.policy:
            raise ConfigurationError('policy is empty', 'Name a folder under models/ or give its path')


PARAMETER_GROUPS = (('', PouringNodeParameters), ('task', PouringTaskParameters), ('arm', ArmParameters))
