"""Whether OpenCV is one that does what it is told with a camera."""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from visuotactile_ros.doctor_checks.examination import BROKEN, OK, Finding, Request

SUBJECT = 'OpenCV'
FIRST_UNFIT_VERSION = 5
REMEDY = "Run pip install 'opencv-python-headless>=4.9,<5', and pip uninstall every other opencv-python"


def check(request: Request) -> Iterator[Finding]:
    """Check version and back ends."""
    if int(cv2.__version__.split('.')[0]) >= FIRST_UNFIT_VERSION:
        yield Finding(BROKEN, SUBJECT, f'{cv2.__version__} offers cameras to FFMPEG first, which ignores every setting',
                      REMEDY)
    elif cv2.CAP_V4L2 not in cv2.videoio_registry.getCameraBackends():
        yield Finding(BROKEN, SUBJECT, f'{cv2.__version__} was built without V4L2', REMEDY)
    else:
        yield Finding(OK, SUBJECT, f'{cv2.__version__} reads cameras through V4L2')
