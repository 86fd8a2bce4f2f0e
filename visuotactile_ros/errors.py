"""The exceptions of the package: each message is one line and ends with what to do next."""


class VisuotactileError(Exception):
    """A fault with its remedy.

    Args:
        problem: What is wrong, with the actual and the expected value, as one sentence without a full stop.
        remedy: The next thing to do, as one imperative sentence without a full stop.
    """

    def __init__(self, problem: str, remedy: str):
        super().__init__(f'{problem}. {remedy}.')
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self):
        return type(self), (self.problem, self.remedy)


class ConfigurationError(VisuotactileError):
    """A parameter, YAML file or command line that cannot be used."""


class SensorError(VisuotactileError):
    """A frame source that is missing, dead, frozen or black."""


class ModelError(VisuotactileError):
    """A model folder that is missing, damaged, or not what its card says."""


class MessageError(VisuotactileError):
    """A ROS message whose content does not match its own description."""


class ArmError(VisuotactileError):
    """An arm that is unreachable, faulted, or asked for something outside its limits."""
