"""Whether the models of the package load and compute their golden outputs here."""

from __future__ import annotations

from collections.abc import Iterator

from visuotactile_ros.doctor_checks.examination import BROKEN, OK, Finding, Request
from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_folder import load_model_folder
from visuotactile_ros.resources import resource_path

SUBJECT = 'models'


def check(request: Request) -> Iterator[Finding]:
    """Load every model folder that is shipped."""
    for folder in sorted(path for path in resource_path('models').iterdir() if path.is_dir()):
        try:
            card = load_model_folder(folder).card
        except ModelError as error:
            yield Finding(BROKEN, SUBJECT, error.problem, error.remedy)
        else:
            yield Finding(OK, SUBJECT, f'{folder.name} ({card.kind}, {card.licence}) computes its golden outputs')
