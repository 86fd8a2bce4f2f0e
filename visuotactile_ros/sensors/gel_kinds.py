"""GEL_KINDS: what reading shear and depth needs to know about a kind of gel."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError


@dataclass(frozen=True)
class MarkerLook:
    """How the markers of a gel look.

    Attributes:
        radius_mm: Radius of a marker, millimetres.
        is_dark: Whether a marker is darker than what surrounds it.
    """

    radius_mm: float
    is_dark: bool


@dataclass(frozen=True)
class GelKind:
    """One kind of gel.

    Attributes:
        width_mm: Width of the gel area that the image shows, millimetres.
        markers: What its markers look like; None for a gel without.
        optics_table: Name of its calibration table, see `optics_table.load_optics_table`; '' where there is none.
    """

    width_mm: float
    markers: MarkerLook | None
    optics_table: str


# Widths and tables are those of the simulator's profiles, which name their sources; a unit test keeps the two equal.
GEL_KINDS = {
    'gelsight_mini': GelKind(18.9, None, 'gelsight_mini'),
    'gelsight_mini_markers': GelKind(18.9, MarkerLook(0.33, True), 'gelsight_mini'),
    'digit': GelKind(17.0, None, 'digit'),
    'vitactip': GelKind(22.0, MarkerLook(0.28, False), ''),
    'gelsight': GelKind(18.9, None, 'gelsight'),
}


def gel_kind(name: str) -> GelKind:
    """Give a kind of gel by its name.

    Raises:
        ConfigurationError: There is no such kind of gel.
    """
    if name not in GEL_KINDS:
        raise ConfigurationError(f'a {name} has no gel', 'Set shear and depth to false, or kind to one of '
                                 f'{", ".join(GEL_KINDS)}')
    return GEL_KINDS[name]
