"""ContactState: what presses on a simulated gel, the seam between mechanics and optics."""

from __future__ import annotations

from dataclasses import dataclass, field

from visuotactile_ros.simulation.objects import ObjectParameters


@dataclass(frozen=True)
class ContactState:
    """Everything that the image of a gel depends on, apart from the sensor itself.

    Vectors are in the sensor's image frame: x right, y down, seen as in the published image.

    Attributes:
        normal_force_n: Force with which the object presses on the gel, newton; 0 is no contact.
        shear_mm: Displacement of the gel surface by shear (x, y), millimetres.
        twist_deg: Rotation of the gel surface about the normal, degrees, positive clockwise in the image.
        offset_mm: Where the object's centre touches, from the image centre (x, y), millimetres.
        orientation_deg: Rotation of the object about the normal, degrees, clockwise in the image.
        object: What presses.
    """

    normal_force_n: float = 0.0
    shear_mm: tuple[float, float] = (0.0, 0.0)
    twist_deg: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)
    orientation_deg: float = 0.0
    object: ObjectParameters = field(default_factory=ObjectParameters)
