"""Export one tower of a checkpoint as a model folder: `ros2 run visuotactile_ros export_onnx`.

The graph is compared with torch on golden frames and on the validation frames, and the runtime itself loads the
folder before it is moved to its place: what differs is never written.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from visuotactile_ros.command_line import command
from visuotactile_ros.errors import ConfigurationError


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='export_onnx', description=__doc__.splitlines()[0])
    parser.add_argument('--checkpoint', type=Path, help='folder written by `python -m training.pretrain`')
    parser.add_argument('--untrained', type=Path, metavar='RECIPE',
                        help='instead of a checkpoint: the weights a recipe starts from, for comparisons')
    parser.add_argument('--output', type=Path, required=True, help='model folder, for example models/my_encoder')
    parser.add_argument('--tower', choices=('touch', 'vision'), default='touch')
    parser.add_argument('--precision', choices=('int8', 'float32'), default='int8')
    options = parser.parse_args(arguments)
    missing = [name for name in ('torch', 'onnx', 'onnxscript', 'safetensors')
               if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(f'exporting needs {", ".join(missing)}',
                                 'Install it: pip install -r requirements/training.txt')
    from training.export_tower import export_checkpoint, export_untrained
    if (options.checkpoint is None) == (options.untrained is None):
        raise ConfigurationError('there must be one source of weights', 'Give --checkpoint or --untrained')
    if options.checkpoint is not None:
        report = export_checkpoint(options.checkpoint, options.output, options.tower, options.precision)
    else:
        report = export_untrained(options.untrained, options.output, options.tower, options.precision)
    for name, value in report.items():
        print(f'{name:40} {value:.5g}')
    print(f'{options.output} written')
    return 0


if __name__ == '__main__':
    sys.exit(main())
