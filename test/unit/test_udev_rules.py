"""The udev rules and their installer; the only fakes are the place of the file, root and udevadm."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from visuotactile_ros import udev_rules
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.resources import resource_path
from visuotactile_ros.sensors.discovery import KNOWN_CAMERAS
from visuotactile_ros.udev_rules import main

RULES = resource_path('config/60-visuotactile.rules').read_text()
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose rules lie in a folder of the test, with a udevadm that writes down its arguments."""
    rules, calls, udevadm = tmp_path / 'etc/udev/rules.d/60.rules', tmp_path / 'calls', tmp_path / 'bin/udevadm'
    udevadm.parent.mkdir()
    udevadm.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ ! -e {tmp_path}/refuse ] || {{ echo no >&2; exit 1; }}\n')
    udevadm.chmod(0o755)
    monkeypatch.setenv('PATH', str(udevadm.parent), prepend=os.pathsep)
    monkeypatch.setattr(udev_rules, 'INSTALLED_RULES', rules)
    monkeypatch.setattr(udev_rules.os, 'geteuid', lambda: 0)
    return tmp_path


def test_without_install_everything_is_shown_and_nothing_is_done(machine, capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert 'etc/udev/rules.d/60.rules, which does not exist yet' in shown
    for line in filter(None, RULES.splitlines()):
        assert f'    {line}\n' in shown
    for one in udev_rules.COMMANDS:
        assert f'    {" ".join(one)}\n' in shown
    assert not (machine / 'etc').exists() and not (machine / 'calls').exists()


def test_install_writes_the_shown_file_and_runs_the_shown_commands_only(machine, capsys):
    assert main(['--install']) == 0
    rules = machine / 'etc/udev/rules.d/60.rules'
    assert rules.read_text() == RULES and rules.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in rules.parent.iterdir()] == ['60.rules']
    assert (machine / 'calls').read_text() == 'control --reload\ntrigger --subsystem-match=video4linux\n'
    assert 'in force' in capsys.readouterr().out


@pytest.mark.parametrize(('content', 'state', 'shown'), [
    (None, 'missing', 'does not exist yet'), (RULES, 'installed', 'with this content already'),
    (RULES + '\n', 'different', 'other content, which is lost')])
def test_what_is_there_already_is_said(machine, capsys, content, state, shown):
    if content is not None:
        udev_rules.INSTALLED_RULES.parent.mkdir(parents=True)
        udev_rules.INSTALLED_RULES.write_text(content)
    assert udev_rules.state_of_installed_rules() == state
    main([])
    assert shown in capsys.readouterr().out


def test_without_root_nothing_is_written_and_the_line_to_run_is_named(machine, monkeypatch, capsys):
    monkeypatch.setattr(udev_rules.os, 'geteuid', lambda: 1000)
    assert main(['--install']) == 1
    error = capsys.readouterr().err
    assert 'needs root' in error and 'sudo install -D -m 644 ' in error and '&& sudo udevadm trigger' in error
    assert error.count('\n') == 1
    assert not (machine / 'etc').exists() and not (machine / 'calls').exists()


def test_the_line_for_the_shell_does_the_same(machine):
    subprocess.run(udev_rules.commands_by_hand().replace('sudo ', ''), shell=True, check=True)
    assert udev_rules.state_of_installed_rules() == 'installed'
    assert (machine / 'calls').read_text() == 'control --reload\ntrigger --subsystem-match=video4linux\n'


def test_without_udev_nothing_is_written(machine, monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    with pytest.raises(ConfigurationError, match='no udevadm, and nothing was written. In a container'):
        udev_rules.install()
    assert not (machine / 'etc').exists()


def test_refusal_of_udev_is_said(machine):
    (machine / 'refuse').touch()
    with pytest.raises(ConfigurationError, match='udevadm control --reload says: no. Replug'):
        udev_rules.install()


def test_every_known_sensor_has_its_rule():
    for kind, usb_id, product in KNOWN_CAMERAS:
        vendor, number = usb_id.split(':')
        assert (f'ATTRS{{idVendor}}=="{vendor}", ATTRS{{idProduct}}=="{number}", ATTRS{{product}}=="{product}*", '
                f'ENV{{VISUOTACTILE_KIND}}="{kind}"\n') in RULES


def test_every_line_is_a_comment_or_keys_as_udev_reads_them():
    key = r'[A-Z]+(\{[^}]+\})?(==|!=|=|\+=)"[^"]*"'
    for line in filter(None, RULES.splitlines()):
        assert line.startswith('#') or re.fullmatch(rf'{key}(, {key})*', line), line


def test_the_module_runs_as_a_command():
    done = subprocess.run([sys.executable, '-m', 'visuotactile_ros.udev_rules'], cwd=ROOT, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and 'The installation writes /etc/udev/rules.d/60-visuotactile.rules' in done.stdout
