"""`udev_rules`: shows the udev rules for tactile sensors and what their installation does; `--install` does it."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.files import write_atomically
from visuotactile_ros.resources import resource_path

SHIPPED_RULES = 'config/60-visuotactile.rules'
INSTALLED_RULES = Path('/etc/udev/rules.d/60-visuotactile.rules')
# udev reads the new file and applies it to the cameras that are plugged in.
COMMANDS = (('udevadm', 'control', '--reload'),
            ('udevadm', 'trigger', '--subsystem-match=video4linux'))


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Show what would be done, or do it; 0 if all went well."""
    parser = argparse.ArgumentParser(prog='udev_rules', description='udev rules for tactile sensors: names by serial '
                                     'number and access for the group video. Shows what --install does.')
    parser.add_argument('--install', action='store_true', help='Write the file and run the commands; needs root')
    options = parser.parse_args(arguments)
    print(plan())
    if options.install:
        install()
        print(f'Done: {INSTALLED_RULES} is in force.')
    return 0


def plan() -> str:
    """Describe the installation: every byte that is written and every command that is run."""
    rules = resource_path(SHIPPED_RULES).read_text()
    before = {'missing': 'does not exist yet', 'different': 'exists with other content, which is lost',
              'installed': 'exists with this content already'}[state_of_installed_rules()]
    return '\n'.join([f'The installation writes {INSTALLED_RULES}, which {before}:', '',
                      *(f'    {line}'.rstrip() for line in rules.splitlines()), '', 'and runs as root:', '',
                      *(f'    {shlex.join(one)}' for one in COMMANDS), ''])


def state_of_installed_rules() -> str:
    """Compare the rules of this machine with those of the package: `missing`, `different` or `installed`."""
    if not INSTALLED_RULES.exists():
        return 'missing'
    return 'installed' if INSTALLED_RULES.read_text() == resource_path(SHIPPED_RULES).read_text() else 'different'


def commands_by_hand() -> str:
    """Return the one line for a shell that does the same without this program."""
    copy = ('install', '-D', '-m', '644', str(resource_path(SHIPPED_RULES)), str(INSTALLED_RULES))
    return ' && '.join(f'sudo {shlex.join(one)}' for one in (copy, *COMMANDS))


def install() -> None:
    """Write the rules and let udev apply them.

    Raises:
        ConfigurationError: This is not root, there is no udev, or udev refuses.
    """
    if os.geteuid() != 0:
        raise ConfigurationError('writing udev rules needs root, and nothing was written', f'Run {commands_by_hand()}')
    if shutil.which('udevadm') is None:
        raise ConfigurationError('there is no udevadm, and nothing was written',
                                 'In a container run this on the host; otherwise apt install udev')
    write_atomically(INSTALLED_RULES, resource_path(SHIPPED_RULES).read_text())
    INSTALLED_RULES.chmod(0o644)
    for one in COMMANDS:
        done = subprocess.run(one, capture_output=True, text=True)
        if done.returncode != 0:
            raise ConfigurationError(f'{INSTALLED_RULES} is written, but {shlex.join(one)} says: '
                                     f'{" ".join(done.stderr.split()) or done.returncode}', 'Replug the sensors')


if __name__ == '__main__':
    raise SystemExit(main())
