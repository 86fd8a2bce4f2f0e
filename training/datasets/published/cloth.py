"""Active clothing: a GelSight squeezes 152 clothes (Yuan et al. 2018)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.datasets.published.files import (
    contact_list,
    folders_in,
    frame,
    is_there,
    numbered_files,
    object_rule,
    read_json,
    split_by_object,
    splits_of,
)
from training.datasets.published.interface import PUBLISHED_LISTS, PublishedDataset, unlike_published
from training.datasets.published.videos import frame_count
from training.datasets.record import UNLISTED, Record

PROPERTIES = ('fuzziness', 'thickness', 'smoothness', 'wool', 'stretchiness', 'endurance', 'softness',
              'wind_resistance', 'season', 'wash_method', 'textile_type')
_SHARES = {'train': 0.8, 'test': 0.2}
# Lists of trials that were published later, with AnyTouch2: each has the number of the frame of most contact.
_TRIALS = {'train': 'train_data_new.json', 'test': 'test_data_new.json'}
# Source: Yuan et al. 2018; the lists of AnyTouch2, counted.
_PUBLISHED_CLOTHES, _PUBLISHED_TRIALS = 152, {'train': 3_554, 'test': 871}


class Cloth(PublishedDataset):
    """All frames of all trials; the first of each shows no contact."""

    name = 'cloth'
    licence = 'not stated'
    source_url = 'http://data.csail.mit.edu/active_clothing/Data_ICRA18.tar'
    sensors = ('gelsight',)
    labels = {**dict.fromkeys(PROPERTIES, ()), 'contact': ('no', 'yes'), 'peak': ('no', 'yes')}
    index_files = ('cloth_metadata.json', 'Data')

    def split_rule(self, root: Path) -> str:
        """The lists of trials, where they are there."""
        return PUBLISHED_LISTS if _has_trials(root) else object_rule(_SHARES)

    def expected(self, root: Path) -> Iterator[str]:
        """Every cloth that has labels, and every trial that a list names of the clothes that are there."""
        yield from (f'Data/{cloth}' for cloth in _labels(root))
        if _has_trials(root):
            yield from (f'Data/{cloth}/{trial}' for cloth, trial in _read_trials(root)[0]
                        if is_there(root / 'Data' / cloth))

    def without_frames(self, root: Path) -> Iterator[str]:
        """Trials whose video is gone or cannot be read, with nothing extracted."""
        return (f'Data/{cloth}/{trial}' for cloth, trial in _present(root) if _last_frame(root, cloth, trial) == 0)

    def notes(self, root: Path) -> Iterator[str]:
        """Say what was published in another number."""
        yield from unlike_published(len(_labels(root)), _PUBLISHED_CLOTHES, 'clothes')
        if _has_trials(root):
            listed = Counter(split for splits in _read_trials(root)[0].values() for split in splits.split())
            for split, published in _PUBLISHED_TRIALS.items():
                yield from unlike_published(listed[split], published, f'trials in {split}')

    def records(self, root: Path) -> Iterator[Record]:
        """List the frames by cloth, trial and number, which begins with 1."""
        labels, contacts = _labels(root), contact_list(root, 'contact_yuan.csv')
        by_cloth = split_by_object(self.name, labels, _SHARES)
        trials, peaks = _read_trials(root) if _has_trials(root) else (None, {})
        for cloth, trial in _present(root):
            split = by_cloth.get(cloth, UNLISTED) if trials is None else trials.get((cloth, trial), UNLISTED)
            peak = peaks.get((cloth, trial))
            extracted, video = _places(root, cloth, trial)
            for number in range(1, _last_frame(root, cloth, trial) + 1):
                name = f'{number:04d}.png'
                known = dict(labels.get(cloth, {}))
                if contacts is not None:
                    known['contact'] = int(f'{cloth}/{trial}/gelsight_frame/{name}' in contacts)
                if peak is not None:
                    known['peak'] = int(number == peak)
                yield Record(
                    id=f'{cloth}/{trial}/{number}', split=split, sensor='gelsight', object=cloth,
                    touch=frame(extracted, name, video, number - 1),
                    reference=frame(extracted, '0001.png', video, 0) if number > 1 else None,
                    clip=f'{cloth}/{trial}', frame_index=number, labels=known)


def _present(root: Path) -> Iterator[tuple[str, str]]:
    """Give cloth and trial of every trial on the disk."""
    return ((cloth, trial) for cloth in folders_in(root / 'Data') for trial in folders_in(root / 'Data' / cloth))


def _places(root: Path, cloth: str, trial: str) -> tuple[Path, Path]:
    """Give the folder of the extracted frames and the video of a trial."""
    folder = root / 'Data' / cloth / trial
    return folder / 'gelsight_frame', folder / 'GelSight_video.mp4'


def _last_frame(root: Path, cloth: str, trial: str) -> int:
    extracted, video = _places(root, cloth, trial)
    return max((number for number, _ in numbered_files(extracted, 'png')), default=0) or frame_count(video)


def _labels(root: Path) -> dict[str, Mapping[str, float]]:
    return read_json(root / 'cloth_metadata.json', lambda table: {
        cloth: _labels_of(cloth, values) for cloth, values in table.items()})


def _labels_of(cloth: str, values: Sequence[float]) -> dict[str, float]:
    if len(values) != len(PROPERTIES):
        raise ValueError(f'cloth {cloth} has not {len(PROPERTIES)} labels')
    return dict(zip(PROPERTIES, values))


def _has_trials(root: Path) -> bool:
    return all(is_there(root / name) for name in _TRIALS.values())


def _read_trials(root: Path) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], int]]:
    """Give the splits and the number of the frame of most contact, by cloth and trial."""
    rows = [(trial, split, count) for split, name in _TRIALS.items()
            for trial, count in read_json(root / name, lambda entries: [
                ((str(entry['cloth_index']), str(entry['trial_index'])), int(entry['count']))
                for entry in entries.values()])]
    return splits_of((trial, split) for trial, split, _ in rows), {trial: count for trial, _, count in rows}
