"""Train a small CLIP on simulated views and captions: `python -m training.base_clip --recipe …`.

It is the base that all methods of the simulated RSS tables start from. What comes out is a Hugging Face folder with
weights, configuration and tokenizer, read by the same loader as a published CLIP.

A published CLIP knows texture and shape under any light, from the variety of its pictures. Rendered views have no such
variety, and their colours give the material away: most of them are shown relit, without their colours and often faint.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
import torch
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from training.batch_rows import batch_rows
from training.checkpoint import load_state
from training.datasets.rendered import render_data
from training.device import choose_device
from training.distributed import Processes
from training.evaluation.rss.simulated import rendered_presses
from training.interface import Batch, LossTerm, Samples, to_device
from training.losses.info_nce import learned_temperature, symmetric_info_nce
from training.networks.clip_folder import ClipTokenizer
from training.networks.clip_towers import ClipImageTower, ClipTextTower
from training.networks.three_towers import embed
from training.objectives.clip_method import run_progress, trimmed_tokens
from training.recipe import TlvCoreRecipe, TrainerRecipe, load_recipe, recipe_as_dict, require
from training.retrieval import retrieval
from training.run_checks import check_run
from training.trainer import Trainer
from visuotactile_ros.command_line import command
from visuotactile_ros.files import write_atomically
from visuotactile_ros.parameters.definition import setting

# Written last: the folder is whole.
REPORT_FILE = 'base_clip.json'
_RUN_FOLDER = 'run'
_START, _END, _END_OF_WORD = '<|startoftext|>', '<|endoftext|>', '</w>'


@dataclass(frozen=True)
class BaseClipRecipe(TrainerRecipe):
    """A small CLIP in the layout of the published ones, with twice as many image layers as text layers."""

    rendered_by: str = setting('training/recipes/tlv_core_tiny.yaml', 'Recipe whose rendered views it is trained on')
    patch_size_px: int = setting(16, 'Height and width of a patch', unit='px', minimum=2)
    width: int = setting(128, 'Width of both towers', minimum=8)
    heads: int = setting(4, 'Attention heads of both towers', minimum=1)
    text_depth: int = setting(3, 'Layers of the text tower; the image tower has twice as many', minimum=1)
    embedding_size: int = setting(128, 'D, size of the embedding', minimum=2)
    vocabulary_size: int = setting(800, 'Most token ids', minimum=514)
    context_length: int = setting(32, 'Most tokens of a caption', minimum=4)
    patch_dropout: float = setting(0.5, 'Share of the patches of a view left out in training', minimum=0.0,
                                   maximum=0.95)
    relit_share: float = setting(0.7, 'Share of the views that are shown in another light; it grows along a line over '
                                      'the first half of the run', minimum=0.0, maximum=1.0)

    def __post_init__(self):
        super().__post_init__()
        require(self.width % self.heads == 0, f'width {self.width} cannot be divided by heads {self.heads}',
                'Change one of them')


class BaseClipObjective:
    """The contrastive loss of CLIP between views and captions.

    Args:
        clip: What is trained.
        recipe: Share of the patches that are left out, batch size.
        validation: Samples for `validate`.

    Source: Radford et al. 2021, section 2.3; Li et al. 2023 (FLIP) for leaving out patches.
    """

    def __init__(self, clip: CLIPModel, recipe: BaseClipRecipe, validation: Samples):
        self.model, self.recipe, self.validation = clip, recipe, validation
        self._vision, self._text = (tower(clip).to(clip.device) for tower in (ClipImageTower, ClipTextTower))

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Encode captions, and views in random pose and light: vision, text float32 [B, D], unit length."""
        share = self.recipe.relit_share * (2 * run_progress(batch, self.recipe)).clamp(max=1.0)
        return self._encode(_relit(_posed(batch['view']), share), batch, self.recipe.patch_dropout)

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare views and captions."""
        loss = symmetric_info_nce(encoded['vision'], encoded['text'], learned_temperature(self.model.logit_scale))
        return {'vision_text': LossTerm(loss, 1.0)}

    def validate(self) -> dict[str, float]:
        """Return how often the caption of a view is found among those of all validation samples."""
        vision, text = [], []
        for indices in np.array_split(np.arange(len(self.validation)), 1 + len(self.validation) // 250):
            batch = to_device(self.validation.batch(indices), self.model.device)
            encoded = self._encode(batch['view'], batch, 0.0)
            vision.append(encoded['vision'])
            text.append(encoded['text'])
        return retrieval('caption', torch.cat(vision) @ torch.cat(text).T)

    def _encode(self, view: Tensor, batch: Batch, patch_dropout: float) -> dict[str, Tensor]:
        return {'vision': embed(self._vision, self._vision.tokens(view, patch_dropout)),
                'text': embed(self._text, trimmed_tokens(batch))}


def learn_tokenizer(captions: Sequence[str], vocabulary_size: int) -> CLIPTokenizer:
    """Learn byte pairs from captions, in the layout of CLIP: bytes, bytes that end a word, merges, start, end.

    Args:
        captions: The captions.
        vocabulary_size: Most token ids.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = tokenizers.Tokenizer(models.BPE(end_of_word_suffix=_END_OF_WORD))
    template = CLIPTokenizer().backend_tokenizer
    learner.normalizer, learner.pre_tokenizer = template.normalizer, template.pre_tokenizer
    learner.train_from_iterator(captions, trainers.BpeTrainer(
        vocab_size=vocabulary_size, end_of_word_suffix=_END_OF_WORD, show_progress=False))
    merges = [tuple(pair) for pair in json.loads(learner.to_str())['model']['merges']]
    merges = merges[:vocabulary_size - 2 * len(alphabet) - 2]
    words = [*alphabet, *(byte + _END_OF_WORD for byte in alphabet), *map(''.join, merges), _START, _END]
    return CLIPTokenizer(vocab={word: number for number, word in enumerate(words)}, merges=merges)


def new_clip(recipe: BaseClipRecipe, image_size_px: int, tokenizer: CLIPTokenizer) -> CLIPModel:
    """Make a CLIP with random weights from torch's generator; half of its first filters are blind to even light."""
    towers = {'hidden_size': recipe.width, 'intermediate_size': 4 * recipe.width, 'num_attention_heads': recipe.heads,
              'hidden_act': 'gelu'}
    clip = CLIPModel(CLIPConfig(
        projection_dim=recipe.embedding_size,
        vision_config=towers | {'num_hidden_layers': 2 * recipe.text_depth, 'image_size': image_size_px,
                                'patch_size': recipe.patch_size_px, 'projection_dim': recipe.embedding_size},
        text_config=towers | {'num_hidden_layers': recipe.text_depth, 'vocab_size': len(tokenizer),
                              'max_position_embeddings': recipe.context_length,
                              'projection_dim': recipe.embedding_size, 'bos_token_id': tokenizer.bos_token_id,
                              'eos_token_id': tokenizer.eos_token_id, 'pad_token_id': tokenizer.pad_token_id}))
    with torch.no_grad():
        filters = clip.vision_model.embeddings.patch_embedding.weight[:recipe.width // 2]
        filters -= filters.mean(dim=(2, 3), keepdim=True)
    return clip


def train_base_clip(recipe: BaseClipRecipe, output: Path) -> dict:
    """Train, or go on where a run was interrupted, and write the folder.

    Args:
        recipe: The recipe.
        output: Where weights, configuration and tokenizer go; the run itself lies in a folder below.

    Returns:
        What REPORT_FILE holds.

    Raises:
        ConfigurationError: The folder holds the run of another recipe, or the rendered data is that of another.
    """
    rendering, run = load_recipe(Path(recipe.rendered_by), TlvCoreRecipe), output / _RUN_FOLDER
    resume = (run / 'state.json').exists()
    require(rendering.image_size_px % recipe.patch_size_px == 0,
            f'the views of {rendering.image_size_px} px are no multiple of patch_size_px {recipe.patch_size_px}',
            'Change patch_size_px')
    # Before anything is written: a tokenizer of another recipe would not fit the weights that are there.
    check_run(recipe, run, resume, Processes.only_one(recipe.device))
    tokenizer = learn_tokenizer(render_data(rendering).captions('train'), recipe.vocabulary_size)
    tokenizer.save_pretrained(output)
    encoder = ClipTokenizer(output)
    train, validation = (rendered_presses(recipe.rendered_by, split, None, encoder, recipe.context_length)
                         for split in ('train', 'validation'))
    torch.manual_seed(recipe.seed)
    clip = new_clip(recipe, rendering.image_size_px, tokenizer).to(choose_device(recipe.device))
    objective = BaseClipObjective(clip, recipe, validation)
    metrics = Trainer(objective, train, recipe, run, resume).run()
    clip.save_pretrained(output)
    report = {'simulated': True, 'recipe': recipe_as_dict(recipe), 'views': len(train), 'validation': metrics,
              'parameters': {name: sum(tensor.numel() for tensor in part.parameters()) for name, part in
                             (('vision', clip.vision_model), ('text', clip.text_model), ('all', clip))},
              'minutes': round(load_state(run)['seconds'] / 60, 1)}
    write_atomically(output / REPORT_FILE, json.dumps(report, indent=1) + '\n')
    return report


def _posed(frames: Tensor) -> Tensor:
    """Mirror and transpose each frame [B, 1, H, H, 3] at random: the eight poses of a square are equally likely."""
    chosen = (batch_rows(len(frames)).rand(3).to(frames.device) < 0.5)[:, :, None, None, None, None]
    for number, posed in enumerate((lambda images: images.flip(2), lambda images: images.flip(3),
                                    lambda images: images.transpose(2, 3))):
        frames = torch.where(chosen[:, number], posed(frames), frames)
    return frames


def _relit(frames: Tensor, share: Tensor) -> Tensor:
    """Show frames [B, 1, H, W, 3], 0..255, in another light, float32: colours mixed, contrast low, light uneven.

    Every channel becomes a mixture of the channels, 7 to 130 % of its contrast, its sign at random, under a light that
    falls off to one side and to the edges. `share` [B] is how likely that is for each frame.
    """
    rows, size, device = batch_rows(len(frames)), frames.shape[2], frames.device

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * rows.rand(*shape).to(device)

    pixels = frames.flatten(1, 3).to(torch.float32)
    contrast = drawn(math.log(0.07), math.log(1.3), 1, 3).exp() * drawn(-1.0, 1.0, 1, 3).sign()
    mixture = torch.softmax(drawn(-4.0, 4.0, 3, 3), dim=1) * contrast
    across = torch.linspace(-1.0, 1.0, size, device=device)
    down, right = (place.flatten() for place in torch.meshgrid(across, across, indexing='ij'))
    terms = torch.stack([torch.ones_like(down), down, right, -down ** 2 - right ** 2], dim=1)
    strengths = torch.stack([drawn(60.0, 160.0, 3), drawn(-60.0, 60.0, 3), drawn(-60.0, 60.0, 3),
                             drawn(0.0, 60.0, 3)], dim=1)
    shown = (pixels - pixels.mean(dim=1, keepdim=True)) @ mixture + terms @ strengths + drawn(-3.0, 3.0, size ** 2, 1)
    relit = torch.where(drawn(0.0, 1.0, 1, 1) < share[:, None, None], shown.clamp(0.0, 255.0), pixels)
    return relit.view(frames.shape)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog='python -m training.base_clip', description=__doc__.splitlines()[0])
    parser.add_argument('--recipe', type=Path, required=True)
    parser.add_argument('--output', type=Path, help='default: training/output/<recipe>')
    options = parser.parse_args(arguments)
    output = options.output or Path('training/output') / options.recipe.stem
    try:
        report = train_base_clip(load_recipe(options.recipe, BaseClipRecipe), output)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('Stopped. The same command goes on from the last checkpoint.') from None
    print('\n'.join(f'{name:32} {value:.4g}' for name, value in report['validation'].items()))
    print(f'{report["minutes"]} minutes; CLIP in {output}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
