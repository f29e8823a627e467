"""Find ONNX external data without the onnx package: a bundle that has any is refused.

External data is a path inside a graph from which a reader loads weights. It is not covered by the graph's
SHA-256, and the path may lead anywhere on the machine that serves. The walk below visits every place of
onnx.proto where a tensor may stand and skips all else, weights included, by its length.
"""

from __future__ import annotations

from collections.abc import Iterator

# message -> {field number: message of that field}, from onnx.proto (IR version 13): the paths that lead to a
# TensorProto.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_TENSOR_NAME, _TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 8, 13, 14
_EXTERNAL = 1

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def external_tensors(model: bytes) -> list[str]:
    """The names of the tensors of a serialised ModelProto that keep their data outside it.

    Raises ValueError if the bytes are not a readable protobuf message.
    """
    found = []
    pending = [("Model", 0, len(model))]
    while pending:
        message, start, end = pending.pop()
        children = _CHILDREN[message]
        name, external = "(unnamed)", False
        for field, value, first, last in _fields(model, start, end):
            if field in children and first is not None:
                pending.append((children[field], first, last))
            elif message == "Tensor":
                if field == _TENSOR_NAME and first is not None:
                    name = model[first:last].decode(errors="replace")
                external |= field == _TENSOR_EXTERNAL_DATA
                external |= field == _TENSOR_DATA_LOCATION and value & 0xFFFFFFFF == _EXTERNAL
        if external:
            found.append(name)
    return found


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int | None, int]]:
    """The fields of data[at:end]: (number, varint value, start of the payload or None, its end)."""
    while at < end:
        key, at = _varint(data, at, end)
        if key >> 32:  # readers drop the upper bits, and would find another field here
            raise ValueError("a field number is out of range")
        field, wire = key >> 3, key & 7
        if wire == _BYTES:
            length, at = _varint(data, at, end)
            if length > end - at:
                raise ValueError("a field is longer than its message")
            yield field, 0, at, at + length
            at += length
        elif wire == _VARINT:
            value, at = _varint(data, at, end)
            yield field, value, None, at
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
            if at > end:
                raise ValueError("a field is longer than its message")
        else:
            raise ValueError(f"unknown wire type {wire}")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The base-128 number at data[at] and where the next byte is."""
    result = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
    raise ValueError("a number is cut off")
