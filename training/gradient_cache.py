"""The gradient of a step, when its batch is larger than what fits through the towers at once.

A contrastive loss compares all samples of a batch, so that its gradient is not the sum over parts. But it reaches the
towers only through what they encode: the loss is taken of the encodings alone, and their gradient is sent through the
towers part by part. That makes the same gradient whether the parts are chunks, processes or both.

Source: Gao et al. 2021, Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.batch_loader import StepBatch
from training.batch_rows import BatchPart, encoding
from training.distributed import Processes, join_batches
from training.interface import LossTerm, Objective


def fill_gradients(objective: Objective, step: StepBatch, seed: int, bf16: bool,
                   processes: Processes) -> dict[str, LossTerm]:
    """Set `.grad` of the model to the gradient of the weighted sum of the loss terms of a whole batch.

    Args:
        objective: What is trained; its gradients are None.
        step: The batch. With several parts every part is encoded twice, first without a graph; one part needs no cache.
        seed: Everything random of this step is drawn from it.
        bf16: Run the towers in bfloat16 where that is safe; the losses never are.
        processes: The processes that share the batch.

    Returns:
        The loss terms of the whole batch.
    """
    def encode(part: BatchPart) -> dict[str, Tensor]:
        # Each call has its own autocast: weights that were cast without a graph must not be used again with one.
        with encoding(part, seed), torch.autocast(processes.device.type, torch.bfloat16, enabled=bf16):
            encoded = objective.encode(part.batch)
        return {name: value.float() if value.dtype == torch.bfloat16 else value for name, value in encoded.items()}

    cached = len(step.parts) > 1
    with torch.set_grad_enabled(not cached):
        outputs = [encode(part) for part in step.parts]
    whole = {name: processes.gather_rows(rows.detach()).requires_grad_(rows.is_floating_point())
             for name, rows in join_batches(outputs).items()}
    if cached or processes.size > 1:
        torch.manual_seed(seed)  # the losses draw alike in all processes
    terms = objective.loss_terms(whole, step.labels)
    total_loss(terms).backward()
    for index, part in enumerate(step.parts):
        output = encode(part) if cached else outputs[index]
        _send_back(output, whole, part, processes.size)
    processes.average_gradients(objective.model.parameters())
    return terms


def total_loss(terms: dict[str, LossTerm]) -> Tensor:
    """Return the weighted sum of loss terms."""
    return sum(term.weight * term.value for term in terms.values())


def _send_back(output: dict[str, Tensor], whole: dict[str, Tensor], part: BatchPart, processes: int) -> None:
    """Add the gradients of one part's encodings to those of the weights."""
    rows = slice(part.rows.first, part.rows.first + part.rows.count)
    reached = [name for name, value in output.items() if value.requires_grad and whole[name].grad is not None]
    if reached:
        # Weights that the losses read themselves have their full gradient in every process, those of the towers one
        # share each: the latter count `processes` times, and the mean over the processes is right for both.
        torch.autograd.backward([output[name] for name in reached],
                                [processes * whole[name].grad[rows] for name in reached])
