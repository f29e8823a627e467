"""A graph in ONNX Runtime's CUDA provider, bound to fixed buffers: no copy and no wait but the road's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.runtime.engines.choice import PROVIDERS
from export.runtime.engines.device import Device
from export.runtime.engines.session import open_session
from export.runtime.flags import CUDA
from export.runtime.gpu.road import Road, Tensor

# Of ONNX Runtime's run options. A graph id stands for one batch size; 0 is its own, -1 would run without a graph.
_GRAPH_ID = "gpu_graph_id"
_NO_WAIT = "disable_synchronize_execution_providers"


class BoundGraph:
    """One graph, of one output, on one stream of the GPU. Calls from several threads take turns.

    ONNX Runtime keeps captured graphs by thread: the thread that serves should be the one that warms.
    """

    def __init__(
        self,
        model: bytes,
        where: str,
        device: Device,
        inputs: Mapping[str, Tensor],
        output: Tensor,
        sizes: Sequence[int],
        capture: bool = False,
        draws: bool = False,
    ) -> None:
        """See Road for what is carried. With `capture` each batch of `sizes` becomes a CUDA graph, if ONNX Runtime
        takes the whole model for one (`captured` tells). ValueError if it refuses the model, or the provider."""
        self._session, self.captured = _open(model, where, device, capture)
        self.sizes = tuple(sizes)
        self._output: str = self._session.get_outputs()[0].name
        self._tensors = {**inputs, self._output: output}
        self._device = device
        self._road = Road(device, inputs, (self._output, output), sizes, draws)
        self._runs = {size: self._bind(size) for size in sizes}

    def run(self, values: Mapping[str, NDArray[Any]], seeds: NDArray[np.uint64] | None = None) -> NDArray[Any]:
        """See Road.run."""
        return self._road.run(values, self._evaluate, seeds)

    def _evaluate(self, rows: int) -> None:
        self._session.run_with_iobinding(*self._runs[rows])

    def _bind(self, rows: int) -> tuple[ort.IOBinding, ort.RunOptions]:
        """What an evaluation of a bucket is called with."""
        binding, options = self._session.io_binding(), ort.RunOptions()
        for name, tensor in self._tensors.items():
            bind = binding.bind_output if name == self._output else binding.bind_input
            bind(name, self._device.kind, 0, tensor.dtype.type, (rows, *tensor.shape), self._road.addresses[name])
        options.add_run_config_entry(_NO_WAIT, "1")
        if self.captured:
            options.add_run_config_entry(_GRAPH_ID, str(rows))
        return binding, options


def _open(model: bytes, where: str, device: Device, capture: bool) -> tuple[ort.InferenceSession, bool]:
    """A session on the device's stream; whether it captures graphs."""
    options = {
        "user_compute_stream": str(device.stream),
        "use_tf32": "0",  # float32 computes in float32, as in every other engine
        "cudnn_conv_algo_search": "HEURISTIC",  # a search by the clock may end otherwise at the next start
    }
    if capture:
        try:
            return open_session(model, where, None, PROVIDERS[CUDA], {**options, "enable_cuda_graph": "1"}), True
        except ValueError:
            pass  # a graph with a part that is not on the GPU; what else may be wrong is said below
    return open_session(model, where, None, PROVIDERS[CUDA], options), False
