"""How a command ends: a fault is one line on stderr and exit code 1, an interrupt is 130; neither shows a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

from visuotactile_ros.errors import VisuotactileError


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Decorate a `main` that takes the arguments of a command line (None: those of the process)."""
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
