"""The light of sensors that have one to set: DIGIT takes it as the zoom of its camera."""

from __future__ import annotations

from collections.abc import Sequence


def led_controls(kind: str, led_levels: Sequence[int]) -> tuple[tuple[str, float], ...]:
    """Camera controls that set the light of a sensor.

    Args:
        kind: Device kind; only `digit` has a light that can be set.
        led_levels: Brightness of its red, green and blue light, 0 (dark) … 15.

    Returns:
        Name (an OpenCV property without CAP_PROP_) and value of each control. (Source: digit-interface 0.2.1: the zoom
        control of the camera carries 12 bits, four a colour, red first.)
    """
    if kind != 'digit':
        return ()
    red, green, blue = led_levels
    return (('ZOOM', float(red << 8 | green << 4 | blue)),)
