"""Engines for a bundle: compiled or from the cache, read back, written into it, and run where that is possible."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from export.runtime.bundle import Bundle, write_bundle
from export.runtime.engines.choice import Choice
from export.runtime.engines.device import Device
from export.runtime.engines.libraries import CURRENT, stamp
from export.runtime.engines.proof import BOUND, difference
from export.runtime.engines.tensorrt import TensorRtEngine
from export.runtime.manifest import EngineEntry, jump_file
from export.tensorrt.cache import EngineCache, default_folder, key
from export.tensorrt.compile import compile_engine, read_back
from export.tensorrt.order import Order

RECIPE = 1
"""Counted up when `compile_engine` makes another engine of the same parts."""

Say = Callable[[str], None]


def add_engines(
    bundle: Bundle, order: Order, say: Say, cache: EngineCache | None = None, device: Device | None = None
) -> Bundle:
    """Write the bundle again with an engine of each precision, in place of those of the same name; the new bundle.

    On the GPU that they are for they are run too, and compared with ONNX Runtime. `cache` None: the user's; `device` is
    for tests. Raises ValueError, the bundle untouched, if an engine cannot be made.
    """
    cache = cache or EngineCache(default_folder())
    entries, contents = [], {}
    for precision in order.precisions:
        if precision in bundle.manifest.precisions:
            entry, plan = make_engine(bundle, precision, order, cache, say)
            entries.append(_executed(bundle, entry, plan, order, device) if order.runs else entry)
            contents[entry.file] = plan
    if not entries:
        raise ValueError(f"{bundle.path} has no graph in {' or '.join(order.precisions)} to compile")
    written = _rewrite(bundle, entries, contents)
    for entry in entries:
        say(f"{entry.file} ({len(contents[entry.file]) / 1e6:.1f} MB): {entry.standing}")
    return written


def make_engine(
    bundle: Bundle, precision: str, order: Order, cache: EngineCache, say: Say
) -> tuple[EngineEntry, bytes]:
    """An engine of the bundle's graph of a precision, and what the manifest says of it."""
    file, library, builder = jump_file(precision), order.library, stamp(order.library, order.module)
    graph = bundle.read(file)
    digest = hashlib.sha256(graph).hexdigest()
    parts: dict[str, Any] = {
        "recipe": RECIPE,
        "graph": digest,
        "builder": builder,
        "target": order.target,
        "precision": precision,
        "profiles": order.ranges,
    }
    if order.targets == (CURRENT,) and order.gpu is not None:
        parts["gpu"] = (order.gpu.name, order.gpu.driver)  # it is tuned for this very one
    name = key(parts)
    plan = cache.load(name)
    if plan is None:
        start = time.monotonic()
        plan = compile_engine(library, order.module, graph, file, order.targets, order.ranges)
        say(f"compiled {file} for {order.target} by {builder} in {time.monotonic() - start:.1f} s")
        cache.store(name, plan)
    where = f"jump.{precision}.{library.backend}.{order.target.replace(',', '-')}.engine"
    if order.gpu is None or order.fits:
        checked = read_back(library, order.module, plan, where, order.fits)
    else:
        checked = f"not read back: the GPU here is {order.gpu.target}"
    entry = EngineEntry(
        backend=library.backend,
        file=where,
        precision=precision,
        target=order.target,
        batch=(order.ranges[0].least, order.ranges[-1].most),
        builder=builder,
        graph=digest,
        profiles=[tuple(batch) for batch in order.ranges],
        state="read back" if checked is None else "built",
        checked=checked,
    )
    return entry, plan


def _executed(bundle: Bundle, entry: EngineEntry, plan: bytes, order: Order, device: Device | None) -> EngineEntry:
    """The entry of an engine that ran here; ValueError if it computes something else than the graph."""
    assert order.gpu is not None
    engine = TensorRtEngine(bundle, Choice(entry.backend, entry, "it is tried"), order.gpu, device=device, plan=plan)
    apart = difference(engine, bundle)
    if not apart <= BOUND:
        raise ValueError(f"{entry.file} differs from ONNX Runtime by {apart:.3g} on {order.gpu.name}; it is not usable")
    where = f"{order.gpu.name} ({order.gpu.target}, CUDA {order.gpu.driver}); {apart:.2g} from fp32 on the CPU"
    return entry.model_copy(update={"state": "executed", "checked": None, "executed_on": where})


def _rewrite(bundle: Bundle, entries: Sequence[EngineEntry], contents: dict[str, bytes]) -> Bundle:
    """The bundle with these entries in place of those of the same file, and these files."""
    manifest, new = bundle.manifest, {entry.file for entry in entries}
    fields = manifest.model_dump(exclude={"files", "digest"})
    kept = [entry for entry in manifest.engines if entry.file not in new]
    fields["engines"] = [entry.model_dump() for entry in (*kept, *entries)]
    # Read, and so compared with the old manifest: what was damaged since must not get a new hash.
    files = {file: bundle.read(file) for file in manifest.files if file not in contents}
    return write_bundle(bundle.path, fields, {**files, **contents}, replace=True)
