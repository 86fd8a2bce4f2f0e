"""A miniature of everything the RSS tables read: rendered folders of coloured squares, and a recipe over them.

The colour tells the material and the brightness of a stripe the sensor kind, so that probes have something to find.
"""

import json
from pathlib import Path

import numpy as np
import yaml

from training.datasets.rendered import NO_GRIP, SPLITS
from training.datasets.sampled_contacts import FRAMES_PER_GRIP
from training.evaluation.rss.simulated import PROBE_SEED
from visuotactile_ros.simulation.objects import MATERIALS

IMAGE_SIZE_PX = 16
KINDS = ('gelsight_mini', 'digit')
UNSEEN_KIND = 'gelsight'
COUNTS = {'train': 40, 'validation': 16, 'held_out': 24, 'unseen_sensor': 1}
WORDS = ('flat surface', 'ball', 'rod', 'edge', 'cone', 'row of dots')


def write_rendered(folder: Path, kinds: tuple[str, ...], counts: dict[str, int], grip_share: float, seed: int,
                   unseen_kind: str = UNSEEN_KIND) -> None:
    """Write what `render_data` would find done."""
    for split, count in counts.items():
        rng = np.random.default_rng([seed, SPLITS.index(split)])
        (folder / split).mkdir(parents=True)
        material = rng.integers(2, size=count)
        labels = {'material': material, 'hardness': material, 'roughness': 1 - material,
                  'grasp_success': np.where(np.arange(count) % 3 == 0, material, -1),
                  'sensor_id': np.arange(count) % len(kinds)}
        grips = int(grip_share * count)
        grip_row = np.full(count, NO_GRIP)
        grip_row[count - grips:] = range(grips)
        images = rng.integers(0, 60, (count, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
        images[np.arange(count), :, :, material] += 150
        np.save(folder / split / 'view.npy', images)
        images[:, :2] = 80 * labels['sensor_id'][:, None, None, None]
        np.save(folder / split / 'touch.npy', images)
        np.save(folder / split / 'grip.npy', np.zeros((grips, FRAMES_PER_GRIP, *images.shape[1:]), np.uint8))
        np.savez(folder / split / 'labels.npz', grip_row=grip_row, contact=np.zeros((count, 4), np.float32),
                 motion=np.zeros((grips, FRAMES_PER_GRIP, 3), np.float32), **labels)
        captions = [f'A hard {MATERIALS[material[row]]} {WORDS[row % len(WORDS)]}, number {row}.'
                    for row in range(count)]
        (folder / split / 'captions.json').write_text(json.dumps(captions))
    (folder / 'settings.json').write_text(json.dumps({
        'format': 1, 'seed': seed, 'image_size_px': IMAGE_SIZE_PX, 'sensor_kinds': list(kinds),
        'unseen_sensor_kind': unseen_kind, 'grip_share': grip_share, 'samples': counts}))


def write_yaml(path: Path, **settings) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


def write_rendering_recipe(root: Path) -> Path:
    """Write rendered training data with grips, and the recipe that it belongs to."""
    write_rendered(root / 'rendered', KINDS, COUNTS, 0.25, 0)
    return write_yaml(root / 'rendering.yaml', data=str(root / 'rendered'), sensor_kinds=list(KINDS),
                      unseen_sensor_kind=UNSEEN_KIND, grip_share=0.25, image_size_px=IMAGE_SIZE_PX, patch_size_px=4,
                      **{f'{split}_samples': count for split, count in COUNTS.items()})


def write_recipes(root: Path) -> dict:
    """Write all data and recipes; give the settings of an RSS recipe over them."""
    rendering = write_rendering_recipe(root)
    for suffix, kinds in (('', KINDS), (f'_{UNSEEN_KIND}', (UNSEEN_KIND,))):
        write_rendered(root / f'probe{suffix}', kinds, {
            'train': 20 * len(kinds), 'validation': 8 * len(kinds), 'held_out': 12 * len(kinds), 'unseen_sensor': 1},
            0.0, PROBE_SEED)
    write_rendered(root / 'probe_gelsight_mini_seen_regions', ('gelsight_mini',), {
        'train': 1, 'validation': 1, 'held_out': 1, 'unseen_sensor': 12}, 0.0, PROBE_SEED, unseen_kind='gelsight_mini')
    base_recipe = write_yaml(
        root / 'base.yaml', rendered_by=str(rendering), patch_size_px=8, width=16, heads=2, text_depth=1,
        embedding_size=8, vocabulary_size=560, context_length=16, steps=2, batch_size=8, warmup_steps=1)
    return {'base': str(root / 'base'), 'base_recipe': str(base_recipe), 'rendered_by': str(rendering),
            'probe_data': str(root / 'probe'), 'output': str(root / 'cells'), 'fit_samples': 20,
            'validation_samples': 8, 'test_samples': 12, 'steps': 2, 'batch_size': 8, 'warmup_steps': 1, 'seeds': 2,
            'training_sets': ['digit', 'multi'], 'batch_sizes': [4, 8], 'probe_epochs': 3,
            'learning_rate': 0.001, 'probe_batch_size': 16}
