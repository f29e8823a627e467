"""A stand-in for the Python modules `tensorrt` and `tensorrt_rtx`.

It has the names that ours uses of the documented API, with the results that the real ones give (what TensorRT-RTX 1.7.1
does was watched; test_fake_library_differs_from_the_real_one.py holds the fake's names to it), and computes with ONNX
Runtime on the CPU. Its engines hold the ONNX graph.
"""

from __future__ import annotations

import enum
import json
import types
from importlib.machinery import ModuleSpec
from typing import Any

import numpy as np
import onnxruntime as ort

from .fake_device import FakeDevice

MAGIC = b"vtrt"
NO_GPU = "cudaError 35: CUDA driver version is insufficient for CUDA runtime version"


def make_library(name: str, version: str, device: FakeDevice | None, drift: float = 0.0) -> types.ModuleType:
    """The module `name`. `device` None: a machine without a GPU. `drift` is added to all that its engines compute."""
    module: Any = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__version__ = version
    module.contexts = []
    """What the contexts were created with."""
    ahead = name == "tensorrt_rtx"

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

        def __init__(self) -> None: ...

        def log(self, severity: int, message: str) -> None:
            raise NotImplementedError

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        STRONGLY_TYPED = 0 if ahead else 1

    class BuilderFlag(enum.IntEnum):
        TF32 = 6

    class DataType(enum.Enum):
        FLOAT = np.float32
        INT64 = np.int64

    class Tensor:
        def __init__(self, node: ort.NodeArg) -> None:
            self.name = node.name
            self.shape = (-1, *node.shape[1:])
            self.dtype = DataType.INT64 if node.type == "tensor(int64)" else DataType.FLOAT

    class INetworkDefinition:
        def __init__(self) -> None:
            self.graph = b""
            self._inputs: list[Tensor] = []

        @property
        def num_inputs(self) -> int:
            return len(self._inputs)

        def get_input(self, index: int) -> Tensor:
            return self._inputs[index]

    class ParserError:
        def __init__(self, text: str) -> None:
            self._text = text

        def desc(self) -> str:
            return self._text

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
            self._network = network
            self._errors: list[ParserError] = []

        def parse(self, model: bytes) -> bool:
            try:
                session = _session(model)
            except Exception as error:
                self._errors.append(ParserError(str(error)))
                return False
            self._network.graph = model
            self._network._inputs = [Tensor(node) for node in session.get_inputs()]
            return True

        @property
        def num_errors(self) -> int:
            return len(self._errors)

        def get_error(self, index: int) -> ParserError:
            return self._errors[index]

    class IOptimizationProfile:
        def __init__(self) -> None:
            self.shapes: dict[str, list[tuple[int, ...]]] = {}

        def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
            assert tuple(min) <= tuple(opt) <= tuple(max)
            self.shapes[input] = [tuple(min), tuple(opt), tuple(max)]

    class IBuilderConfig:
        def __init__(self) -> None:
            self.profiles: list[IOptimizationProfile] = []
            self.capabilities: list[Any] = []
            self.flags = {BuilderFlag.TF32}

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

        def clear_flag(self, flag: BuilderFlag) -> None:
            self.flags.discard(flag)

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger
            if device is None and not ahead:
                logger.log(ILogger.ERROR, NO_GPU)
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(self, flags: int) -> INetworkDefinition:
            # Without it TensorRT 10 would choose precisions by itself.
            assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            return INetworkDefinition()

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
            current = [capability.name for capability in config.capabilities] in ([], ["CURRENT"])
            if current and device is None:
                self._logger.log(ILogger.ERROR, NO_GPU)
                return None
            header = {
                "version": version,
                "profiles": [profile.shapes for profile in config.profiles],
                "tf32": BuilderFlag.TF32 in config.flags,
            }
            text = json.dumps(header).encode()
            body = len(text).to_bytes(4, "little") + text + network.graph
            return MAGIC + (len(body) + 12).to_bytes(8, "little") + body

    class ICudaEngine:
        def __init__(self, header: dict[str, Any], graph: bytes) -> None:
            self.header = header
            self.session = _session(graph)
            self.tensors = [Tensor(node) for node in (*self.session.get_inputs(), *self.session.get_outputs())]

        @property
        def num_io_tensors(self) -> int:
            return len(self.tensors)

        @property
        def num_optimization_profiles(self) -> int:
            return len(self.header["profiles"])

        def get_tensor_name(self, index: int) -> str:
            return str(self.tensors[index].name)

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return next(tensor.shape for tensor in self.tensors if tensor.name == name)

        def get_tensor_dtype(self, name: str) -> DataType:
            return next(tensor.dtype for tensor in self.tensors if tensor.name == name)

        def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
            return [tuple(shape) for shape in self.header["profiles"][profile_index][name]]

        def create_execution_context(self, runtime_config: Any = None) -> IExecutionContext:
            module.contexts.append(runtime_config)
            return IExecutionContext(self)

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            self.engine = engine
            self._profile = 0
            self._shapes: dict[str, tuple[int, ...]] = {}
            self._addresses: dict[str, int] = {}

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            assert device is not None
            assert stream_handle == device.stream
            self._profile = profile_index
            return True

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return True

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            least, _, most = self.engine.header["profiles"][self._profile][name]
            self._shapes[name] = tuple(shape)
            return bool(least[0] <= shape[0] <= most[0])

        def execute_async_v3(self, stream_handle: int) -> bool:
            assert device is not None
            assert stream_handle == device.stream
            shapes = dict(self._shapes)
            device.queue("run", lambda: self._compute(shapes))
            return True

        def _compute(self, shapes: dict[str, tuple[int, ...]]) -> None:
            assert device is not None
            feed = {}
            for name, shape in shapes.items():
                kind = np.dtype(self.engine.get_tensor_dtype(name).value)
                held = device.view(self._addresses[name], kind.itemsize * int(np.prod(shape)))
                feed[name] = held.view(kind).reshape(shape)
            (z_s,) = self.engine.session.run(["z_s"], feed)
            moved = (z_s + np.float32(drift)).ravel().view(np.uint8)
            device.view(self._addresses["z_s"], len(moved))[...] = moved

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger
            if device is None and not ahead:
                logger.log(ILogger.ERROR, NO_GPU)
                raise TypeError("pybind11::init(): factory function returned nullptr")

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            fault = None
            if serialized_engine[:4] != MAGIC:
                fault = "Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed"
            elif int.from_bytes(serialized_engine[4:12], "little") != len(serialized_engine):
                fault = "Serialization assertion plan.header.size == blobSize failed"
            elif device is None:
                fault = NO_GPU
            if fault is None:
                header, graph = _parts(serialized_engine)
                if header["version"] == version:
                    return ICudaEngine(header, graph)
                fault = f"the engine was built by version {header['version']}, this is {version}"
            self._logger.log(ILogger.ERROR, fault)
            return None

    if ahead:
        # As in TensorRT-RTX, which compiles for GPUs that are not there, and looks into headers.
        module.ComputeCapability = enum.IntEnum(
            "ComputeCapability",
            {"NONE": 0, "CURRENT": 1, **{f"SM{n}": n for n in (75, 80, 86, 89, 120)}},
        )
        module.EngineValidity = enum.IntEnum("EngineValidity", {"VALID": 0, "SUBOPTIMAL": 1, "INVALID": 2})
        module.EngineInvalidityDiagnostics = enum.IntEnum(
            "EngineInvalidityDiagnostics", {"VERSION_MISMATCH": 1, "UNSUPPORTED_CC": 2, "MALFORMED_ENGINE": 32}
        )

        module.DynamicShapesKernelSpecializationStrategy = enum.IntEnum(
            "DynamicShapesKernelSpecializationStrategy", {"LAZY": 0, "EAGER": 1, "NONE": 2}
        )

        class IRuntimeConfig:
            dynamic_shapes_kernel_specialization_strategy = module.DynamicShapesKernelSpecializationStrategy.LAZY

        module.IRuntimeConfig = IRuntimeConfig
        module.capturable = True
        IExecutionContext.is_stream_capturable = lambda self, stream: module.capturable  # type: ignore[attr-defined]
        ICudaEngine.create_runtime_config = lambda self: IRuntimeConfig()  # type: ignore[attr-defined]

        def set_count(self: IBuilderConfig, count: int) -> None:
            self.capabilities = [module.ComputeCapability.NONE] * count

        def set_compute_capability(self: IBuilderConfig, compute_capability: Any, index: int) -> bool:
            self.capabilities[index] = compute_capability
            return True

        def get_engine_validity(self: Runtime, buffer: bytes) -> tuple[Any, int]:
            if buffer[:4] != MAGIC:
                return module.EngineValidity.INVALID, 32
            mismatch = _parts(buffer)[0]["version"] != version
            return module.EngineValidity(2 if mismatch else 0), int(mismatch)

        IBuilderConfig.num_compute_capabilities = property(lambda self: len(self.capabilities), set_count)  # type: ignore[attr-defined]
        IBuilderConfig.set_compute_capability = set_compute_capability  # type: ignore[attr-defined]
        Runtime.get_engine_validity = get_engine_validity  # type: ignore[attr-defined]

    for kind in (
        *(ILogger, NetworkDefinitionCreationFlag, BuilderFlag, DataType, INetworkDefinition, OnnxParser),
        *(IOptimizationProfile, IBuilderConfig, Builder, ICudaEngine, IExecutionContext, Runtime),
    ):
        setattr(module, kind.__name__, kind)
    module.nptype = lambda dtype: dtype.value
    return module  # type: ignore[no-any-return]


def _parts(plan: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(plan[12:16], "little")
    header: dict[str, Any] = json.loads(plan[16 : 16 + size])
    return header, plan[16 + size :]


def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
