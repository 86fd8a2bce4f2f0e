"""Model-FLOPs utilisation: what a step has to compute, over what the device could compute in its time.

Source: Chowdhery et al. 2022, PaLM, appendix B: model FLOPs leave out whatever is computed a second time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

_H200 = 'https://www.nvidia.com/en-us/data-center/h200/'
_H100 = 'https://www.nvidia.com/en-us/data-center/h100/'
_A100 = ('https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/'
         'nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf')
_L4 = 'https://www.nvidia.com/en-us/data-center/l4/'
_ADA = 'https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf'

# Dense bf16 with accumulation in fp32, FLOP/s, by the whole name that the driver gives: boards of one chip differ, and
# a slice of one has a longer name. Pages that print rates with sparsity print twice these.
VENDOR_PEAKS = {
    'NVIDIA H200': (989.4e12, _H200),
    'NVIDIA H100 80GB HBM3': (989.4e12, _H100),
    'NVIDIA A100-SXM4-40GB': (312e12, _A100), 'NVIDIA A100-SXM4-80GB': (312e12, _A100),
    'NVIDIA A100-PCIE-40GB': (312e12, _A100), 'NVIDIA A100 80GB PCIe': (312e12, _A100),
    'NVIDIA L4': (121e12, _L4),
    'NVIDIA GeForce RTX 4090': (165.2e12, _ADA),
}
MEASURED = 'measured'
_MATMULS_AT_ONCE, _REPEATS = 5, 8


def count_flops(step: Callable[[], None]) -> int:
    """Count the FLOPs of matrix products, convolutions and attention while something runs, forward and backward.

    A fused attention kernel computes its scores again on the way back; that is not counted. Masked scores are.
    """
    aten = torch.ops.aten
    formulas = {getattr(aten, f'_scaled_dot_product_{kernel}{direction}'): formula
                for kernel in ('flash_attention', 'efficient_attention', 'cudnn_attention', 'flash_attention_for_cpu')
                for direction, formula in (('', _attention_flops), ('_backward', _attention_backward_flops))
                if hasattr(aten, f'_scaled_dot_product_{kernel}{direction}')}
    with FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        step()
    return counter.get_total_flops()


def utilisation(flops: float, seconds: float, peak: float) -> float:
    """Give the share of a peak, FLOP/s, that a step of so many FLOPs makes use of."""
    return flops / (seconds * peak)


def choose_peak(device_name: str, measured: float) -> tuple[float, str]:
    """Give the rate that counts as all of a device, FLOP/s, and where it is from: its vendor, or MEASURED."""
    return VENDOR_PEAKS.get(device_name, (measured, MEASURED))


def measured_peak(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Measure the rate of a product of two square matrices, FLOP/s: the fastest of some."""
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = first @ second
    fastest = math.inf
    for _ in range(_REPEATS):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(_MATMULS_AT_ONCE):
            torch.mm(first, second, out=out)
        wait_for(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side ** 3 * _MATMULS_AT_ONCE / fastest


def wait_for(device: torch.device) -> None:
    """Return when the device has done everything."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_, **__) -> int:
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


def _attention_backward_flops(_, query: Sequence[int], key: Sequence[int], value: Sequence[int], *__, **___) -> int:
    return 2 * _attention_flops(query, key, value)
