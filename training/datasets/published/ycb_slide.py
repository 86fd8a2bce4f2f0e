"""YCB-Slide: a DIGIT slides over ten YCB objects, by hand and in simulation (Suresh et al. 2022)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from training.datasets.published.files import is_there, names_in, object_rule, split_by_object
from training.datasets.published.interface import PublishedDataset
from training.datasets.record import Record
from visuotactile_ros.errors import ConfigurationError

OBJECTS = ('004_sugar_box', '005_tomato_soup_can', '006_mustard_bottle', '021_bleach_cleanser', '025_mug',
           '035_power_drill', '037_scissors', '042_adjustable_wrench', '048_hammer', '055_baseball')
_RUNS = range(5)
_SHARES = {'train': 0.8, 'validation': 0.1, 'test': 0.1}
_NUMBER = re.compile(r'(?:frame_)?(\d+)\.jpg')


class YcbSlide(PublishedDataset):
    """All frames; nothing marks contact. The simulated part is read where it was downloaded too."""

    name = 'ycb_slide'
    licence = 'MIT'
    source_url = 'https://github.com/rpl-cmu/YCB-Slide'
    sensors = ('digit', 'tacto')
    index_files = ('real',)

    def split_rule(self, root: Path) -> str:
        """No split is published; the fifth run, which others test on, is of objects that are trained on."""
        return object_rule(_SHARES)

    def expected(self, root: Path) -> Iterable[str]:
        """Five runs with every object."""
        for name in OBJECTS:
            for run in _RUNS:
                if is_there(root / 'real' / name / f'dataset_{run}.pkl'):
                    raise ConfigurationError(
                        f'real/{name} holds pickles of a repacked data set, which are not opened',
                        f'Download the original frames from {self.source_url}')
                yield f'real/{name}/dataset_{run}/frames'

    def without_frames(self, root: Path) -> Iterable[str]:
        """Runs whose folder holds nothing that is called like a frame."""
        return (name for name in self.expected(root)
                if is_there(root / name) and not any(map(_NUMBER.fullmatch, names_in(root / name))))

    def records(self, root: Path) -> Iterator[Record]:
        """List the frames by part, object, run and number."""
        splits = split_by_object(self.name, OBJECTS, _SHARES)
        for part, sensor, folder_of_run in (('real', 'digit', 'dataset_{}/frames'),
                                            ('sim', 'tacto', '0{}/tactile_images')):
            for name in OBJECTS:
                for run in _RUNS:
                    folder = root / part / name / folder_of_run.format(run)
                    for file, number in ((file, _NUMBER.fullmatch(file)) for file in names_in(folder)):
                        if number:
                            yield Record(
                                id=f'{part}/{name}/{run}/{number[1]}', split=splits[name], sensor=sensor, object=name,
                                touch=folder / file, clip=f'{part}/{name}/{run}', frame_index=int(number[1]))
