"""Whether this machine has what tests/gpu needs: `python -m tests.gpu.present` says so and exits with 0 or 2."""

from __future__ import annotations

import importlib.util
import sys

from export.runtime.engines.machine import CUPY, find_gpu


def no_gpu() -> str | None:
    """Why there is no GPU; None if there is one."""
    gpu = find_gpu()
    return gpu if isinstance(gpu, str) else None


def missing() -> str | None:
    """What tests/gpu and the table want besides a GPU, or why there is none; None if all is here."""
    if gone := no_gpu():
        return gone
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return (
            "the installed ONNX Runtime has no CUDAExecutionProvider (pip install 'longjump[gpu]', not the extra cpu)"
        )
    if importlib.util.find_spec(CUPY) is None:
        return "CuPy is not installed (pip install 'longjump[gpu]')"
    return None


if __name__ == "__main__":
    if gone := no_gpu():
        print(f"longjump: not run: {gone}", file=sys.stderr)
        sys.exit(2)
