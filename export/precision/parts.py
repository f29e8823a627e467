"""Which nodes of a graph must not lose precision: its two ends, the embeddings of the times, the statistics.

All of it is read from the graph's structure, so that graphs made elsewhere are treated alike.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnx import GraphProto

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose"})
"""Where a network's arithmetic is."""

CONDITIONS = frozenset({"t", "s", "label", "guidance"})
"""Inputs that say what is asked; all others are pictures, points or latents."""

STATISTICS = frozenset(
    {
        *("Pow", "Sqrt", "Reciprocal", "Exp", "Log", "Sin", "Cos"),
        *("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceMax", "ReduceMin"),
        *("InstanceNormalization", "BatchNormalization", "GlobalAveragePool"),
    }
)
"""Operators of norms and embeddings that are written out; LayerNormalization keeps its own statistics in float32."""

_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Neg"})


def sensitive(graph: GraphProto) -> frozenset[int]:
    """The nodes (by place, in the graph's order) that are to compute in float32.

    - The ends: what comes before and in the first product that reads the picture, such as z / N_t, and what comes in
      and after the last one, such as z - (t - s) u. They decide the result at once, and cost little.
    - What only the conditions decide, up to the last product before the picture meets it: Fourier features of the
      times and their perceptrons. The products that end there (a DiT's modulations) hold much of the weights, and are
      none of these.
    - Statistics, and the sums and products that belong to nothing but them (the epsilon under a root).
    """
    nodes = graph.node
    upstream, readers = _edges(graph)
    product = [node.op_type in PRODUCTS for node in nodes]
    pictured = _pictured(graph, upstream)
    of_picture = [a and b for a, b in zip(product, pictured)]
    of_condition = [a and not b for a, b in zip(product, pictured)]
    falling = range(len(nodes) - 1, -1, -1)
    below, above = _reach(upstream, range(len(nodes)), product), _reach(readers, falling, product)
    picture_below = _reach(upstream, range(len(nodes)), of_picture)
    condition_above = _reach(readers, falling, of_condition)
    kept = set()
    for i, node in enumerate(nodes):
        end = not above[i] or (pictured[i] and not picture_below[i])
        condition = not pictured[i] and (condition_above[i] or not below[i])
        if end or condition or node.op_type in STATISTICS:
            kept.add(i)
        elif node.op_type in _ELEMENTWISE:
            of_kept = bool(upstream[i]) and kept.issuperset(upstream[i])
            of_statistics = bool(readers[i]) and all(nodes[j].op_type in STATISTICS for j in readers[i])
            if of_kept or of_statistics:
                kept.add(i)
    return frozenset(kept)


def end_products(graph: GraphProto) -> frozenset[int]:
    """The products among the sensitive nodes: first and last layers, and the perceptrons of the times."""
    return frozenset(i for i in sensitive(graph) if graph.node[i].op_type in PRODUCTS)


def _edges(graph: GraphProto) -> tuple[list[list[int]], list[list[int]]]:
    """For each node those whose outputs it reads, and those that read its outputs."""
    made = {name: i for i, node in enumerate(graph.node) for name in node.output}
    upstream = [sorted({made[name] for name in node.input if name in made}) for node in graph.node]
    readers: list[list[int]] = [[] for _ in graph.node]
    for i, sources in enumerate(upstream):
        for source in sources:
            readers[source].append(i)
    return upstream, readers


def _pictured(graph: GraphProto, upstream: list[list[int]]) -> list[bool]:
    """Whether each node depends on an input that is no condition."""
    pictures = {value.name for value in graph.input} - CONDITIONS - {tensor.name for tensor in graph.initializer}
    found: list[bool] = []
    for node, sources in zip(graph.node, upstream):
        found.append(not pictures.isdisjoint(node.input) or any(found[i] for i in sources))
    return found


def _reach(neighbours: list[list[int]], order: Iterable[int], marked: list[bool]) -> list[bool]:
    """Whether a marked node can be reached from each node, itself not counted; `order` visits neighbours first."""
    reached = [False] * len(marked)
    for i in order:
        reached[i] = any(marked[j] or reached[j] for j in neighbours[i])
    return reached
