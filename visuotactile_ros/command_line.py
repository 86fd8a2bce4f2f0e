"""Commands: how each of them ends, and `visuotactile <command>`, which names them all."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence

from visuotactile_ros.errors import ConfigurationError, VisuotactileError

COMMANDS = {'doctor': 'visuotactile_ros.doctor', 'udev_rules': 'visuotactile_ros.udev_rules',
            'pour': 'visuotactile_ros.pour', 'replay_frames': 'visuotactile_ros.replay_frames'}


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Decorate a `main` that takes the arguments of a command line (None: those of the process).

    A fault becomes one line on stderr and exit code 1, an interrupt 130; neither shows a traceback.
    """
    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments)
        except (VisuotactileError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt as interrupt:
            print(str(interrupt) or 'interrupted', file=sys.stderr)
            return 130
    return run


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run `visuotactile <command> …`."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ['']
    if name not in COMMANDS:
        raise ConfigurationError(f'visuotactile has no command {name!r}', f'Choose one of {", ".join(COMMANDS)}')
    return importlib.import_module(COMMANDS[name]).main(rest)
