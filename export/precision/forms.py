"""The further precisions of one jump: made, measured, and refused where they are too far from fp32."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from export.check import INVARIANT_UP_TO, batch_invariant, graph_jump, trial_rows
from export.precision import PRECISIONS
from export.precision.accuracy import BOUNDS, Decode, excess, measure
from export.precision.emulate import emulate
from export.precision.half import half
from export.precision.int8 import int8
from export.precision.quality import FALLS, Judge, compare, fall
from export.precision.visits import walk
from export.runtime.accuracy import Accuracy
from export.runtime.engines.session import PROVIDER, open_session
from export.runtime.manifest import Manifest, decode_file, jump_file
from export.runtime.sampler import Jump


@dataclass(frozen=True)
class Form:
    """A jump in a further precision: its files, and what was found out about it."""

    precision: str
    files: Mapping[str, bytes]
    builder: str
    accuracy: Accuracy
    batch_invariant: bool


def make_forms(
    manifest: Manifest,
    jump: bytes,
    decode: bytes | None,
    precisions: Sequence[str],
    force: bool = False,
    judge: Judge | None = None,
) -> list[Form]:
    """The `precisions` (of PRECISIONS; fp32 is passed over) of a jump and, for images, its decoder, both serialised.

    `manifest` says what they are: shapes, labels, guidance, grids. int8 is calibrated on samples along the grids, and
    every precision is measured on others; `judge` says whether the pictures are worse. Raises ValueError that names the
    first one that is beyond its bound, unless `force` is set, and for a graph that cannot be had in a precision.
    """
    if judge is not None and decode is None:
        raise ValueError(f"--evaluate is about pictures, and {manifest.name} makes points")
    exact = (_jump(jump, jump_file("fp32")), None if decode is None else _decode(decode))
    forms = []
    measured: dict[str, bytes | Path] = {jump_file("fp32"): jump}
    if decode is not None:
        measured[decode_file("fp32")] = decode
    for precision in dict.fromkeys(precisions):
        if precision == "fp32":
            continue
        files, imitation, builder = _make(precision, manifest, jump, decode, exact[0])
        file = jump_file(precision)
        imitated = {name: emulate(model) for name, model in files.items()} if imitation else files
        measured |= imitated
        decoder = imitated.get(decode_file(precision), decode)
        other = (_jump(imitated[file], file), None if decoder is None else _decode(decoder))
        try:
            accuracy = measure(manifest, exact, other, emulated=imitation)
        except ValueError as error:
            raise ValueError(f"{precision} does not do: {error}") from None
        accuracy = _allowed(precision, accuracy, excess(accuracy, BOUNDS[precision]), force)
        forms.append(Form(precision, files, builder, accuracy, _invariant(manifest, files[file], file)))
    return forms if judge is None else _judged(manifest, forms, measured, force, judge)


def _judged(
    manifest: Manifest, forms: Sequence[Form], measured: Mapping[str, bytes | Path], force: bool, judge: Judge
) -> list[Form]:
    """The forms with what they do to quality, by the graphs that errors are `measured` on. Raises as `make_forms`."""
    fields = {**manifest.model_dump(exclude={"files", "digest"}), **fields_with(manifest, forms)}
    fields["engines"] = [entry for entry in fields["engines"] if entry["file"] in measured]
    fields["precisions"] = ["fp32", *(form.precision for form in forms)]
    for name in ("batch_invariant", "accuracy"):
        fields[name] = {
            precision: found for precision, found in fields[name].items() if precision in fields["precisions"]
        }
    changes = compare(fields, measured, fields["precisions"][1:], judge)
    graded = []
    for form in forms:
        accuracy = form.accuracy.model_copy(update={"quality": changes[form.precision]})
        worse = fall(changes[form.precision], FALLS[form.precision])
        graded.append(replace(form, accuracy=_allowed(form.precision, accuracy, worse, force)))
    return graded


def _allowed(precision: str, accuracy: Accuracy, beyond: str | None, force: bool) -> Accuracy:
    """The accuracy, marked where it is `beyond` its bound in the way that is told; ValueError unless that is forced."""
    if beyond is None:
        return accuracy
    if not force:
        raise ValueError(f"{precision} is left out and nothing written: {beyond}; --force-precision takes it")
    return accuracy.model_copy(update={"forced": True})


def fields_with(manifest: Manifest, forms: Sequence[Form]) -> dict[str, Any]:
    """The fields of a manifest that change when it gets these forms; forms it has already are replaced."""
    made = {form.precision for form in forms}
    before = [entry.model_dump() for entry in manifest.engines]
    kept = [entry for entry in before if entry["file"] not in map(jump_file, made)]
    accuracy = {name: known.model_dump() for name, known in manifest.accuracy.items()}
    return {
        "precisions": [name for name in PRECISIONS if name in {*manifest.precisions, *made}],
        "engines": [*kept, *(_entry(form) for form in forms)],
        "batch_invariant": {**manifest.batch_invariant, **{form.precision: form.batch_invariant for form in forms}},
        "accuracy": {**accuracy, **{form.precision: form.accuracy.model_dump() for form in forms}},
    }


def files_of(forms: Sequence[Form]) -> dict[str, bytes | Path]:
    """The files of all of them, for write_bundle."""
    return {name: data for form in forms for name, data in form.files.items()}


def _make(
    precision: str, manifest: Manifest, jump: bytes, decode: bytes | None, exact: Jump
) -> tuple[dict[str, bytes], bool, str]:
    """The files of a precision, whether its arithmetic has to be imitated here, and what made them."""
    if precision == "int8":
        model = int8(jump, walk(exact, manifest).visited, jump_file("fp32"))
        return {jump_file(precision): model}, False, f"onnxruntime {ort.__version__} static quantisation"
    files = {jump_file(precision): half(jump, jump_file("fp32"))}
    if decode is not None and (halved := half(decode, decode_file("fp32"))) and _has_fp16(halved):
        files[decode_file(precision)] = halved
    return files, True, f"longjump, onnx {onnx.__version__}"


def _has_fp16(model: bytes) -> bool:
    """Whether anything in a graph is in fp16: a decoder without layers stays what it was."""
    weights = onnx.load_from_string(model).graph.initializer
    return any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)


def _entry(form: Form) -> dict[str, Any]:
    return {
        "backend": "onnxruntime",
        "file": jump_file(form.precision),
        "precision": form.precision,
        "target": "any",
        "builder": form.builder,
        "state": "executed",
        "executed_on": f"onnxruntime {ort.__version__} {PROVIDER} {platform.machine()}",
    }


def _jump(model: bytes, file: str) -> Jump:
    return graph_jump(open_session(model, file))


def _decode(model: bytes) -> Decode:
    session = open_session(model, "the decode graph")

    def decode(z: NDArray[np.float32]) -> NDArray[np.uint8]:
        images: NDArray[np.uint8] = session.run(None, {"z": z})[0]
        return images

    return decode


def _invariant(manifest: Manifest, model: bytes, file: str) -> bool:
    """Whether a row's bits are the same in every batch of 1 to INVARIANT_UP_TO, on one thread and on all."""
    labels = len(manifest.labels)
    rows = trial_rows(INVARIANT_UP_TO, manifest.z_shape, labels, manifest.span, manifest.t_max, manifest.guidance)
    sessions = [open_session(model, file, threads) for threads in (1, None)]
    return batch_invariant([graph_jump(session) for session in sessions], rows)
