"""The processes of a run: `torchrun` starts several, anything else is one."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from safetensors.torch import load as unpack_tensors
from safetensors.torch import save as pack_tensors
from torch import Tensor, distributed, nn

from training.device import choose_device
from training.interface import Batch

# The first process may prepare data for hours while the others wait.
_LONGEST_WAIT = datetime.timedelta(days=1)


class Processes:
    """Which of the run's processes this one is, and how they exchange tensors.

    Every process trains the same weights on its own share of each batch. With one process nothing is exchanged.

    Args:
        rank: Number of this process; only 0 writes.
        size: How many there are.
        device: What this process computes on.
    """

    def __init__(self, rank: int, size: int, device: torch.device):
        self.rank, self.size, self.device = rank, size, device
        self._loader_group: distributed.ProcessGroup | None = None

    @classmethod
    def only_one(cls, device: str) -> Processes:
        """Give the process of a run that has no other; `device` is one of auto, cpu, cuda."""
        return cls(0, 1, choose_device(device))

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    @contextmanager
    def connected(self) -> Iterator[Processes]:
        """Connect the processes for the time of a `with` block."""
        if self.size == 1:
            yield self
            return
        if self.device.type == 'cuda':
            torch.cuda.set_device(self.device)
        # Two groups, since the thread that loads ahead exchanges labels while the training exchanges gradients.
        distributed.init_process_group('cpu:gloo,cuda:nccl' if self.device.type == 'cuda' else 'gloo',
                                       timeout=_LONGEST_WAIT)
        self._loader_group = distributed.new_group(backend='gloo', timeout=_LONGEST_WAIT)
        try:
            yield self
        finally:
            distributed.destroy_process_group()

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process finish a `with` block before the others enter it."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.size > 1:
            distributed.barrier(self._loader_group)

    def share(self, count: int) -> slice:
        """Give the samples of a batch of `count` that this process encodes; the shares are consecutive and equal."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Concatenate the rows [N, ...] of all processes in their order, [size · N, ...]; carries no gradient."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    def gather_labels(self, labels: Batch) -> Batch:
        """Concatenate labels, on the CPU, of all processes in their order; each may have another number of rows."""
        if self.size == 1:
            return labels
        packed = torch.frombuffer(bytearray(pack_tensors(dict(labels))), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor([len(packed)]), self._loader_group)
        longest = int(max(lengths))
        buffers = [torch.empty(longest, dtype=torch.uint8) for _ in range(self.size)]
        padded = nn.functional.pad(packed, (0, longest - len(packed)))
        distributed.all_gather(buffers, padded, self._loader_group)
        parts = [unpack_tensors(buffer[:length].numpy().tobytes()) for buffer, length in zip(buffers, lengths)]
        return join_batches(parts)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes; a parameter that has none anywhere keeps none."""
        if self.size == 1:
            return
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        # Known to the host, so exchanged there: an accelerator need not be waited for.
        touched = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.uint8)
        distributed.all_reduce(touched, distributed.ReduceOp.MAX)
        parameters = [parameter for parameter, used in zip(parameters, touched.tolist()) if used]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(mean.view_as(gradient))

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors by those of the first process."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, 0)


def processes_of_run(device: str) -> Processes:
    """Read which process this is from what `torchrun` sets.

    Args:
        device: auto, cpu or cuda; on cuda every process of a machine takes its own GPU.

    Raises:
        ConfigurationError: There is no such device, or there are fewer GPUs than processes.
    """
    rank, size, local_rank = (int(os.environ.get(name, default)) for name, default in
                              (('RANK', 0), ('WORLD_SIZE', 1), ('LOCAL_RANK', 0)))
    return Processes(rank, size, choose_device(device, local_rank))


def join_batches(parts: Sequence[Batch]) -> dict[str, Tensor]:
    """Concatenate batches."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
