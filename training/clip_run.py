"""Methods on a published CLIP, trained on prepared data sets: from a recipe to what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.datasets.prepared_triplets import TRAIN, VALIDATION, PreparedTriplets
from training.distributed import Processes
from training.interface import Objective
from training.networks.clip_folder import ClipTokenizer, read_clip_config
from training.objectives.methods import METHODS
from training.run_checks import check_samples
from visuotactile_ros.errors import ConfigurationError

RECIPES = {method.recipe().objective: method.recipe for method in METHODS.values() if method.trains}


def prepare(recipe: Any, output: Path, resume: bool, processes: Processes) -> tuple[Objective, PreparedTriplets]:
    """Open the data, and load the CLIP that the method starts from.

    Args:
        recipe: One of RECIPES.
        output: Folder of the run; nothing is written there.
        resume: Makes no difference: the checkpoint overwrites what is made here.
        processes: The processes of the run.

    Raises:
        ConfigurationError, ModelError: A data folder or the folder of the CLIP is missing or not what it should be, or
            there are fewer samples than one batch; the data has frames of a sensor kind that is not listed, or lacks a
            modality that the method compares; the CLIP does not have what the recipe asks of it.
    """
    del output, resume
    base = Path(recipe.base)
    tokenizer = ClipTokenizer(base)
    config = read_clip_config(base)
    train, validation = (
        PreparedTriplets(recipe.data, split, tokenizer, config.text_config.max_position_embeddings,
                         config.vision_config.image_size, recipe.sensor_kinds)
        for split in (TRAIN, VALIDATION))
    if train.unlisted_kinds:   # they would be trained on as frames of an unknown sensor
        raise ConfigurationError(f'the data has frames of {train.unlisted_kinds[0]!r}, which is not among sensor_kinds',
                                 'Add it to sensor_kinds')
    check_samples(len(train), recipe)
    method = next(method for method in METHODS.values() if type(recipe) is method.recipe)
    objective = method.build(recipe, validation)
    objective.check_pairs(train.labels())
    objective.model.to(processes.device)
    return objective, train
