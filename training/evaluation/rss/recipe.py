"""Recipe of the RSS tables: one base, one batch size and one length of training for all methods."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import yaml

from training.recipe import TrainerRecipe
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import setting

# The training set of all sensors together.
EVERYTHING = 'multi'


@dataclass(frozen=True)
class RssRecipe(TrainerRecipe):
    """Settings of the tables. Those of TrainerRecipe go to every method; seeds count from `seed`."""

    benchmark: str = setting('simulated', 'Where the data comes from', choices=('simulated', 'published'))
    base: str = setting('training/output/base_clip_simulated', 'Hugging Face folder of the CLIP that all start from')
    base_recipe: str = setting('', 'Recipe that trains the base where it is missing; empty where it is published')
    output: str = setting('training/output/rss', 'Folder of the cells')
    methods: tuple = setting(('tlv_core', 'tlv_link', 'vit_lens_2', 'anytouch', 'clip'), 'Rows of the tables')
    training_sets: tuple = setting((EVERYTHING,), 'Training sets of the robustness table; multi is all together')
    synergy_training_sets: tuple = setting((EVERYTHING,), 'Training sets of the synergy table')
    shared_training_set: str = setting(EVERYTHING, 'Training set of the stability and the ablation table')
    rates_share: float = setting(1.0, 'Length of the trainings of the rates table, as a share of `steps`',
                                 minimum=0.001, maximum=1.0)
    stability_share: float = setting(1.0, 'Length of the trainings of the stability table, as a share of `steps`',
                                     minimum=0.001, maximum=1.0)
    learning_rates: tuple = setting((0.0001, 0.0003, 0.001, 0.003), 'Learning rates of the rates table', minimum=0.0)
    batch_sizes: tuple = setting((16, 32, 64, 128), 'Batch sizes of the stability table', minimum=2)
    seeds: int = setting(3, 'Trainings of a cell', minimum=1)
    method_settings: tuple = setting((), 'Settings of one method alone, each as method.setting=value')
    rendered_by: str = setting('training/recipes/tlv_core_tiny.yaml', 'Simulated: recipe whose data is trained on')
    probe_data: str = setting('training/output/rss_probe', 'Simulated: folder of the data that is probed')
    fit_samples: int = setting(1500, 'Simulated: presses a sensor kind that probes are fitted on', minimum=1)
    validation_samples: int = setting(500, 'Simulated: presses a sensor kind that probes are tuned on', minimum=1)
    test_samples: int = setting(1500, 'Simulated: presses a sensor kind that probes are tested on', minimum=1)
    prepared: tuple = setting((), 'Published: folders written by training.prepare; tasks of others are left out')
    probe_epochs: int = setting(50, 'Epochs of a linear probe', minimum=1)
    probe_batch_size: int = setting(64, 'Samples a step of a linear probe', minimum=1)
    probe_learning_rates: tuple = setting((0.001, 0.005, 0.02, 0.1, 0.5, 2.0),
                                          'Rates among which the validation samples choose, honest protocol',
                                          minimum=0.0)

    def __post_init__(self):
        super().__post_init__()
        for name in ('methods', 'training_sets', 'learning_rates', 'batch_sizes', 'probe_learning_rates'):
            values = getattr(self, name)
            if not 0 < len(set(values)) == len(values):
                raise ConfigurationError(f'{name} is {list(values)!r}', 'Name at least one, each once')
        for entry in self.method_settings:
            method, _, name = str(entry).partition('=')[0].partition('.')
            if '=' not in str(entry) or method not in self.methods or name == '':
                raise ConfigurationError(f'method_settings has {entry!r}',
                                         f'Write for example {self.methods[0]}.learning_rate=0.001')

    def settings_of(self, method: str) -> dict[str, Any]:
        """Give what a method is trained with: the common settings, then its own."""
        common = {field.name: getattr(self, field.name) for field in dataclasses.fields(TrainerRecipe)}
        own = (entry.removeprefix(f'{method}.').partition('=') for entry in self.method_settings
               if entry.startswith(f'{method}.'))
        return common | {name: yaml.safe_load(value) for name, _, value in own}

    def shortened(self, method: str, batch_size: int, share: float) -> dict[str, int]:
        """Give the settings that change in a training that sees a share of the samples, in batches of any size."""
        settings = self.settings_of(method)
        steps = max(1, round(share * settings['steps'] * settings['batch_size'] / batch_size))
        return {'batch_size': batch_size, 'steps': steps,
                'warmup_steps': round(settings['warmup_steps'] * steps / settings['steps'])}
