"""How a command ends."""

import pytest

from visuotactile_ros.command_line import COMMANDS, command, main
from visuotactile_ros.errors import ConfigurationError


def ended_by(exception):
    @command
    def main(arguments):
        raise exception
    return main()


@pytest.mark.parametrize(('exception', 'code', 'line'), [
    (ConfigurationError('the seed is -1', 'Give 0 or more'), 1, 'the seed is -1. Give 0 or more.\n'),
    (OSError(28, 'No space left on device'), 1, '[Errno 28] No space left on device\n'),
    (KeyboardInterrupt(), 130, 'interrupted\n'),
    (KeyboardInterrupt('Stopped. Continue with --resume.'), 130, 'Stopped. Continue with --resume.\n'),
])
def test_what_ends_a_command_is_one_line_and_an_exit_code(exception, code, line, capsys):
    assert ended_by(exception) == code
    assert capsys.readouterr() == ('', line)


def test_a_mistake_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        ended_by(ZeroDivisionError())


def test_arguments_and_exit_code_pass_through():
    assert command(lambda arguments: len(arguments))(['a', 'b']) == 2


def test_every_named_command_exists(capsys):
    for name in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([name, '--help'])
        assert ended.value.code == 0 and capsys.readouterr().out.startswith('usage: ')


@pytest.mark.parametrize('arguments', [[], ['docter']])
def test_an_unknown_command_names_those_there_are(arguments, capsys):
    assert main(arguments) == 1
    assert 'doctor' in capsys.readouterr().err
