"""SENSOR_PROFILES: the size, gel, light, marks and noise of every sensor that can be simulated."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_WIDTH, IMAGE_HEIGHT = 320, 240


@dataclass(frozen=True)
class MarkerGrid:
    """Dots printed on a gel, or pins under a clear skin.

    Attributes:
        columns: Dots along x.
        rows: Dots along y.
        pitch_mm: Distance between neighbours, millimetres.
        radius_mm: Radius of a dot, millimetres.
        rgb: Colour of a dot, grey levels 0..255.
        opacity: 1 hides what is behind a dot, 0 shows it all.
    """

    columns: int
    rows: int
    pitch_mm: float
    radius_mm: float
    rgb: tuple[float, float, float]
    opacity: float


@dataclass(frozen=True)
class SensorProfile:
    """One kind of tactile sensor. Every image is 320 px wide and 240 px high.

    Attributes:
        kind: Device kind, as in `SensorIdentity.kind`.
        optics_table: Name of the fitted table, see `photometry.load_optics_table`; '' for a clear skin.
        width_mm: Width of the gel area that the image shows, millimetres; the height follows from square pixels.
        gel_thickness_mm: Thickness of the soft layer, millimetres.
        gel_youngs_modulus_mpa: Stiffness of the soft layer, megapascal.
        crown_radius_mm: Radius of curvature of the gel's surface, millimetres.
        clear_skin: The object is seen through the skin instead of an opaque coat.
        markers: Dots or pins, None for none.
        source: Where the numbers come from.
    """

    kind: str
    optics_table: str
    width_mm: float
    gel_thickness_mm: float
    gel_youngs_modulus_mpa: float
    crown_radius_mm: float
    clear_skin: bool
    markers: MarkerGrid | None
    source: str

    @property
    def mm_per_px(self) -> float:
        """Side of a pixel on the gel, millimetres."""
        return self.width_mm / IMAGE_WIDTH


_MINI_SOURCE = ('Scale 0.0295 mm a pixel at 640 x 480, background and light response fitted to 24 real ball presses '
                '(taxim 1.4.1, MIT), all near the centre: its variation over the gel is assumed to follow the '
                'background. Gel stiffness and crown are typical values.')
SENSOR_PROFILES = {
    'gelsight_mini': SensorProfile('gelsight_mini', 'gelsight_mini', 18.9, 4.0, 0.2, 160.0, False, None, _MINI_SOURCE),
    'gelsight_mini_markers': SensorProfile(
        'gelsight_mini_markers', 'gelsight_mini', 18.9, 4.0, 0.2, 160.0, False,
        MarkerGrid(9, 7, 2.1, 0.33, (22.0, 26.0, 28.0), 0.92),
        _MINI_SOURCE + ' 63 dots; their pitch is that of real marker frames (43-46 px at 400 x 300).'),
    'digit': SensorProfile(
        'digit', 'digit', 17.0, 2.0, 0.3, 100.0, False, None,
        'Scale 0.0266 mm a pixel at 640 x 480; response from the measured DIGIT table of Taxim (MIT); colours of the '
        'background from one real frame (TACTO, MIT); crown as in TACTO.'),
    'vitactip': SensorProfile(
        'vitactip', '', 22.0, 3.0, 0.15, 35.0, True, MarkerGrid(13, 9, 1.75, 0.28, (225.0, 230.0, 225.0), 0.75),
        'A stand-in, not a model of a measured sensor: clear skin, pins, defocused view and ring light as described in '
        'arXiv 2501.02303; pin count, size and gel are not published.'),
    'gelsight': SensorProfile(
        'gelsight', 'gelsight', 18.9, 4.0, 0.2, 160.0, False, None,
        'Scale 0.0295 mm a pixel at 640 x 480, background and light response fitted to 48 real presses of a 4 mm ball '
        'all over the gel (Taxim, MIT). Kept out of training.'),
}
