"""One ONNX graph compiled into one engine, by either library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from export.runtime.engines.libraries import CURRENT, Library, create, listener, set_targets, stamp
from export.runtime.engines.tensorrt import Range, deserialise

EDGES = (1, 8, 32)
"""Where ranges of batches end, but for the last, which ends at the largest batch."""

READ_WITHOUT_GPU = "header, version and length read back; the rest needs a GPU"


def batch_ranges(most: int) -> tuple[Range, ...]:
    """Ranges from 1 to `most` rows without a gap, each quickest at its end: under load ticks are full."""
    if most < 1:
        raise ValueError(f"the largest batch must be at least 1, not {most}")
    ends = [*(edge for edge in EDGES if edge < most), most]
    return tuple(Range(least + 1, end, end) for least, end in zip([0, *ends], ends))


def compile_engine(
    library: Library, module: Any, graph: bytes, where: str, targets: Sequence[str], ranges: Sequence[Range]
) -> bytes:
    """The engine of a serialised ONNX model (`where` names it in errors), a profile for each of `ranges`.

    `targets` are the GPUs, as `set_targets` takes them. The graph's own types are the engine's: float32 computes in
    float32, not in TF32. Raises ValueError with what the library says if it refuses the graph or a target.
    """
    log = listener(module)
    builder = create(module.Builder, log)
    network = builder.create_network(1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = module.OnnxParser(network, log)
    if not parser.parse(graph):
        faults = "; ".join(" ".join(parser.get_error(number).desc().split()) for number in range(parser.num_errors))
        raise ValueError(f"{where}: {stamp(library, module)} does not take this graph: {faults or log.errors}")
    config = builder.create_builder_config()
    config.clear_flag(module.BuilderFlag.TF32)
    set_targets(library, module, config, targets)
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    for batch in ranges:
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            row = tuple(tensor.shape)[1:]
            profile.set_shape(tensor.name, *((rows, *row) for rows in batch))
        if config.add_optimization_profile(profile) < 0:
            raise ValueError(
                f"{where}: {stamp(library, module)} does not take batches of {batch.least} to {batch.most}"
            )
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        wanted = "this machine's GPU" if CURRENT in targets else ", ".join(targets)
        raise ValueError(f"{where}: {stamp(library, module)} cannot compile it for {wanted}: {log.errors}")
    return bytes(plan)


def read_back(library: Library, module: Any, plan: bytes, where: str, has_gpu: bool) -> str | None:
    """Have the library read an engine back. None if it was read whole; else what was checked of it.

    Without a GPU TensorRT-RTX checks header, version and length, and stops where it would take a CUDA stream. Raises
    ValueError for anything wrong with the engine.
    """
    try:
        deserialise(library, module, plan, where)
    except ValueError as error:
        if has_gpu or "cudaError" not in str(error):
            raise
        return READ_WITHOUT_GPU
    return None
