"""The trainer: sums named loss terms, steps, logs, checkpoints and resumes. It knows no paper."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

import torch
from torch import nn

from training.batch_loader import BatchLoader, StepBatch
from training.checkpoint import load_checkpoint, save_checkpoint
from training.device import compile_blocks
from training.distributed import Processes
from training.gradient_cache import fill_gradients, total_loss
from training.interface import Objective, Samples
from training.recipe import TrainerRecipe, recipe_as_dict
from training.run_checks import check_run, check_samples, only_run_in
from training.run_log import RunLog
from visuotactile_ros.errors import ConfigurationError


class Trainer:
    """Runs an objective over samples.

    Everything random of a step is drawn from (seed, step), so a run that was interrupted and resumed on the CPU
    ends with exactly the weights of one that was not.

    Args:
        objective: What is trained.
        samples: What it is trained on.
        recipe: How long, how fast, on what.
        folder: Where log and checkpoint go.
        resume: Continue from the checkpoint in `folder`.
        processes: The processes of the run, connected; None means that this is the only one.

    Raises:
        ConfigurationError, ModelError: As `check_run` and `check_samples`; or the checkpoint is damaged.
    """

    def __init__(self, objective: Objective, samples: Samples, recipe: TrainerRecipe, folder: Path,
                 resume: bool = False, processes: Processes | None = None):
        processes = processes or Processes.only_one(recipe.device)
        check_run(recipe, folder, resume, processes)
        check_samples(len(samples), recipe)
        self.objective, self.recipe, self.folder, self.processes = objective, recipe, folder, processes
        self.loader = BatchLoader(samples, recipe, processes)
        torch.set_num_threads(recipe.threads)
        model = objective.model.to(processes.device)
        processes.copy_from_first(model.state_dict().values())
        if recipe.compile:
            compile_blocks(model)
        self.optimizer = make_optimizer(model, recipe)
        self.step = 0
        self.seconds_before = 0.0
        self.metrics: dict[str, float] = {}
        if resume:
            state = load_checkpoint(folder, model, self.optimizer)
            self.step, self.seconds_before, self.metrics = state['step'], state['seconds'], state['metrics']

    def run(self, until_step: int | None = None) -> dict[str, float]:
        """Train to the end, or to `until_step`.

        Returns:
            The last validation metrics; new ones in the first process only.

        Raises:
            ConfigurationError: Another run is training in the folder; or as `take_step`.
        """
        recipe = self.recipe
        last = recipe.steps if until_step is None else min(until_step, recipe.steps)
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            log = None
            if self.processes.is_first:
                stack.enter_context(only_run_in(self.folder))
                log = stack.enter_context(RunLog(self.folder, recipe, self.step))
            batches = stack.enter_context(contextlib.closing(self.loader.batches(self.step, last)))
            for step, batch in enumerate(batches, self.step + 1):
                logs, validates, saves = (step % every == 0 or step == last for every in (
                    recipe.log_every_steps, recipe.validate_every_steps, recipe.checkpoint_every_steps))
                values = self.take_step(batch, fetch=logs or validates or saves)
                if log is None:
                    continue
                log.advance()
                if logs:
                    log.record(step, values | log.rate(step))
                if validates:
                    self.metrics = self._validate()
                    log.record(step, {f'validation/{name}': value for name, value in self.metrics.items()})
                if saves:
                    save_checkpoint(self.folder, self.objective.model, self.optimizer, {
                        'step': step, 'recipe': recipe_as_dict(recipe), 'metrics': self.metrics,
                        'processes': self.processes.size, 'seconds': self.seconds_before + time.monotonic() - start})
        self.processes.wait()  # until the first process has written the last checkpoint
        return self.metrics

    def take_step(self, batch: StepBatch, fetch: bool) -> dict[str, float]:
        """Take one step.

        Args:
            batch: From the loader.
            fetch: Bring losses and norm to the host, which waits for the device then; a CPU always does.

        Returns:
            What to log of it.

        Raises:
            ConfigurationError: Loss or norm of the gradient was fetched and is no finite number; nothing is stepped.
        """
        recipe, parameters = self.recipe, list(self.objective.model.parameters())
        rate = learning_rate_at(self.step, recipe)
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms = fill_gradients(self.objective, batch, (recipe.seed << 32) + self.step, recipe.precision == 'bf16',
                               self.processes)
        norm = nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        values: dict[str, float] = {}
        if fetch or self.processes.device.type == 'cpu':
            tensors = {'loss': total_loss(terms), **{f'loss/{name}': term.value for name, term in terms.items()},
                       'gradient_norm': norm}
            values = dict(zip(tensors, torch.stack([tensor.detach().double() for tensor in tensors.values()]).tolist()))
            for name in ('loss', 'gradient_norm'):
                if not math.isfinite(values[name]):
                    raise ConfigurationError(f'the {name.replace("_", " ")} is {values[name]} at step {self.step}',
                                             'Lower learning_rate')
        self.optimizer.step()
        self.step += 1
        return values | {'learning_rate': rate}

    def _validate(self) -> dict[str, float]:
        self.objective.model.eval()
        with torch.no_grad():
            metrics = self.objective.validate()
        self.objective.model.train()
        return metrics


def make_optimizer(model: nn.Module, recipe: TrainerRecipe) -> torch.optim.AdamW:
    """Make the AdamW of a run over what is trained; matrices decay, vectors and scalars (biases, norms) do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [{'params': [parameter for parameter in trained if parameter.ndim > 1],
               'weight_decay': recipe.weight_decay},
              {'params': [parameter for parameter in trained if parameter.ndim <= 1], 'weight_decay': 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), eps=1e-6,
                             fused=all(parameter.is_cuda for parameter in trained) or None)


def learning_rate_at(step: int, recipe: TrainerRecipe) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    share = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (1 + math.cos(math.pi * share)) / 2
