"""What a device could do at best, and how much memory this process has taken of it."""

from __future__ import annotations

import functools
import resource
import sys
import time
from pathlib import Path

import torch

from trainer.precision import Precision

DENSE_PEAKS: dict[str, dict[Precision, float]] = {
    # Floating-point operations a second, dense (data sheets that give them with sparsity: half), in 10^12, by the name
    # that torch gives the device. From NVIDIA's data sheets of the A100, H100, H200, L4 and L40S Tensor Core GPUs, and
    # from appendix A of its white paper on the Ada architecture (RTX 4090, with float32 accumulation).
    "NVIDIA A100-SXM4-40GB": {"fp32": 19.5, "tf32": 156, "bf16": 312},
    "NVIDIA A100-SXM4-80GB": {"fp32": 19.5, "tf32": 156, "bf16": 312},
    "NVIDIA A100-PCIE-40GB": {"fp32": 19.5, "tf32": 156, "bf16": 312},
    "NVIDIA A100 80GB PCIe": {"fp32": 19.5, "tf32": 156, "bf16": 312},
    "NVIDIA H100 80GB HBM3": {"fp32": 67, "tf32": 494.5, "bf16": 989.5},
    "NVIDIA H100 PCIe": {"fp32": 51, "tf32": 378, "bf16": 756.5},
    "NVIDIA H100 NVL": {"fp32": 60, "tf32": 417.5, "bf16": 835.5},
    "NVIDIA H200": {"fp32": 67, "tf32": 494.5, "bf16": 989.5},
    "NVIDIA L4": {"fp32": 30.3, "tf32": 60, "bf16": 121},
    "NVIDIA L40S": {"fp32": 91.6, "tf32": 183, "bf16": 362},
    "NVIDIA GeForce RTX 4090": {"fp32": 82.6, "tf32": 82.6, "bf16": 165.2},
}
SIDE = 768
"""Of the square matrices that measure a CPU."""


def peak_flops(device: torch.device, precision: Precision) -> float | None:
    """Floating-point operations a second at best: of a GPU from its data sheet, of a CPU as measured; None: unknown."""
    if device.type == "cuda":
        peak = DENSE_PEAKS.get(torch.cuda.get_device_name(device), {}).get(precision)
        return peak and peak * 1e12
    return _measured(precision, torch.get_num_threads()) if device.type == "cpu" else None


def peak_memory(device: torch.device) -> int:
    """Most bytes that this process has held at one time: tensors on a GPU, the resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # getrusage's figure begins with that of the process that started this one
        return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@functools.cache
def _measured(precision: Precision, threads: int) -> float:
    """The best of a few products of matrices, in about a tenth of a second, with `threads` threads as they are set."""
    matrix = torch.ones(SIDE, SIDE, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - start)
    return 2 * SIDE**3 / best
