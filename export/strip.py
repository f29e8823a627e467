"""Take out of an ONNX model what its exporter wrote about itself and the machine that it ran on.

torch's exporter stores, for each node, a Python stack trace with the paths of the building machine and the
source lines, the names of our classes, and more. None of it is needed to run the graph, and a bundle is made
to be passed on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import onnx

_DESCRIPTIVE = ("doc_string", "metadata_props")
"""Fields, of whatever message (model, graph, node, function, tensor, value), that no runtime needs."""


def strip(model: onnx.ModelProto) -> None:
    """Clear all doc strings and metadata properties, in place, in nested graphs and functions too."""
    for message in _messages(model):
        for field in _DESCRIPTIVE:
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)


def _messages(root: Any) -> Iterator[Any]:
    """A protobuf message and all messages inside it, outer ones first."""
    yield root
    for field, value in root.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                yield from _messages(child)
