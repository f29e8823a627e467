"""What a machine offers to engines: ONNX Runtime's providers, a GPU, TensorRT libraries. Looked at, never guessed."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from export.runtime.engines.libraries import LIBRARIES, library_stamp

CUPY = "cupy"

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_NAME_BYTES = 256
# Of enum CUdevice_attribute in cuda.h.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True)
class Gpu:
    """The first NVIDIA GPU that this process may use."""

    name: str
    target: str
    """Its compute capability as engines name it, such as sm89."""
    driver: str
    """The CUDA version that its driver supports, such as 13.0."""


@dataclass(frozen=True)
class Machine:
    """What engines can be chosen by."""

    providers: tuple[str, ...]
    """ONNX Runtime's execution providers, as it names them."""
    gpu: Gpu | None = None
    no_gpu: str = ""
    """Why there is no GPU, where there is none."""
    libraries: dict[str, str] = field(default_factory=dict)
    """Backend of a TensorRT library that can be loaded -> its name and version, as builders are named in manifests."""
    cupy: bool = False
    """Whether CuPy is installed, which engines on a GPU keep their arrays with."""


def look(backends: Iterable[str]) -> Machine:
    """This machine, as far as the `backends` of a bundle's engines need to know it.

    A GPU is looked for only where something could use one, and a TensorRT library, which is large, is loaded only where
    there is a GPU.
    """
    import onnxruntime as ort

    providers = tuple(ort.get_available_providers())
    native = sorted(set(backends) & set(LIBRARIES))
    if not native and "CUDAExecutionProvider" not in providers:
        return Machine(providers, no_gpu="nothing here could use one")
    gpu = find_gpu()
    if isinstance(gpu, str):
        return Machine(providers, no_gpu=gpu)
    stamps = {backend: stamp for backend in native if (stamp := library_stamp(LIBRARIES[backend])) is not None}
    return Machine(providers, gpu, "", stamps, has_cupy())


def has_cupy() -> bool:
    """Whether CuPy is installed."""
    return importlib.util.find_spec(CUPY) is not None


def find_gpu() -> Gpu | str:
    """The first GPU that the NVIDIA driver shows this process, or why there is none. Needs no CUDA toolkit."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return f"no NVIDIA driver ({_DRIVER} is not there)"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver finds no GPU (cuInit says {code})"
    count, device, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if code := driver.cuDeviceGetCount(ctypes.byref(count)) or driver.cuDriverGetVersion(ctypes.byref(version)):
        return f"the NVIDIA driver does not answer (it says {code})"
    if count.value == 0:
        return "the NVIDIA driver shows no GPU to this process; is CUDA_VISIBLE_DEVICES empty?"
    name = ctypes.create_string_buffer(_NAME_BYTES)
    capability = [ctypes.c_int(), ctypes.c_int()]
    code = driver.cuDeviceGet(ctypes.byref(device), 0) or driver.cuDeviceGetName(name, _NAME_BYTES, device)
    for value, attribute in zip(capability, (_CAPABILITY_MAJOR, _CAPABILITY_MINOR), strict=True):
        code = code or driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    if code:
        return f"the NVIDIA driver does not describe its first GPU (it says {code})"
    major, minor = (value.value for value in capability)
    cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
    return Gpu(name.value.decode(errors="replace"), f"sm{major}{minor}", cuda)
