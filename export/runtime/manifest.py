"""What `manifest.json` of a bundle says, and the checks that need nothing but it.

The digest is the SHA-256 of the manifest's canonical JSON without the digest itself (sorted keys, no blanks,
UTF-8). The manifest holds the SHA-256 of every other file, so the digest pins the whole bundle and a changed
byte anywhere, manifest included, is seen.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import re
import sys
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from export.runtime.accuracy import Accuracy
from export.runtime.grids import Grid, Span, Step, check_grid
from export.runtime.strict import Strict

FORMAT = 2
"""The newest bundle format this code reads and the one it writes; 2 added `accuracy` and what may be left out since."""

MANIFEST_FILE = "manifest.json"

MAX_DEPTH = 64
"""Objects and lists inside each other. Ours have 7; pydantic writes some 250, a recursive reader perhaps less."""

LARGEST = 3.4028234663852886e38
"""Of float32, in which a graph is told its scale; a larger one would be infinite there."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class FileEntry(Strict):
    """One file of the bundle."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]

    @classmethod
    def of(cls, data: builtins.bytes) -> Self:
        """The entry of a file with this content."""
        return cls(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))


class Guidance(Strict):
    """The effective guidance scales (1 = plain conditional, 0 = without label) that a graph with this input takes."""

    min: Annotated[float, Field(ge=0)]
    max: Annotated[float, Field(le=LARGEST)]
    default: float
    rows_per_step: Literal[1, 2] = 1
    """Network evaluations that a row costs: 2 when the graph runs with and without the label."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.default <= self.max:
            raise ValueError(f"guidance needs min <= default <= max, got {self.min}, {self.default}, {self.max}")
        return self


class EngineEntry(Strict):
    """One runnable form of the jump: which file, for which backend, and what is known about it."""

    backend: str
    """onnxruntime, tensorrt or tensorrt-rtx."""
    file: str
    precision: str
    target: str
    """`any`, or the GPUs that it was compiled for, such as sm80,sm89."""
    batch: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)] | None] = (1, None)
    builder: str
    """Who made the file: of a compiled engine exactly the library and version that alone may load it."""
    graph: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the ONNX file that an engine was compiled from."""
    profiles: list[tuple[int, int, int]] = Field(default_factory=list)
    """A compiled engine's ranges of batches, each (least, best, most)."""
    state: Literal["built", "read back", "executed"]
    checked: str | None = None
    """What was checked of an engine that was not executed."""
    executed_on: str | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        least, most = self.batch
        if most is not None and most < least:
            raise ValueError(f"batch needs least <= most, got {least}, {most}")
        return self

    @property
    def standing(self) -> str:
        """What is known about it, in words: built, read back, executed on what, or never executed."""
        if self.state == "executed":
            return f"executed on {self.executed_on or 'an unnamed machine'}"
        return f"{self.state}{f' ({self.checked})' if self.checked else ''}, never executed"


class Latents(Strict):
    """What z is for a model of latents: z = (latents - mean) * scale, by channel."""

    mean: list[float]
    scale: list[float]
    factor: Annotated[int, Field(ge=1)]
    """Pixels of a picture's side for each of its latents'."""
    autoencoder: str | None = None
    """What it is called."""
    sha256: dict[str, str] = Field(default_factory=dict)
    """Of the weights: `autoencoder`, and `decoder` where another one decodes."""


class Manifest(Strict):
    """Everything a runtime must know about a bundle; see the module and the design's contract."""

    format: Annotated[int, Field(ge=1, le=FORMAT)] = FORMAT
    name: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    files: dict[str, FileEntry]
    kind: Literal["image", "points"]
    z_shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    """[C, H, W] of z for images, [D] for points; without the batch."""
    image_shape: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Literal[3]] | None
    """[H, W, 3] of a decoded image; None for points."""
    labels: list[str]
    """Names of the labels 0 to K-1; empty for an unconditional model."""
    null_label: int
    """The label that stands for no label: K."""
    guidance: Guidance | None = None
    span: Span
    t_max: Annotated[float, Field(gt=0, le=1)] = 1.0
    grids: dict[str, list[tuple[float, float, float, float]]]
    """For each supported step count, as text, the list of (t, s, a, b)."""
    steps: Annotated[list[int], Field(min_length=1)]
    precisions: Annotated[list[str], Field(min_length=1)]
    engines: Annotated[list[EngineEntry], Field(min_length=1)]
    batch_invariant: dict[str, bool]
    """For each precision: the builder found a sample's bits equal in every batch of 1 to 16."""
    accuracy: dict[str, Accuracy] = Field(default_factory=dict)
    """For each precision but fp32, as far as measured: its error against fp32."""
    latents: Latents | None = None
    """None: z is the picture itself, or points, or it is not known."""
    quality: dict[str, Any] = Field(default_factory=dict)
    """What an evaluator measured for each step count, with its settings; empty: not measured."""
    method: str
    licence: str
    provenance: dict[str, Any] = Field(default_factory=dict)

    def grid(self, steps: int) -> Grid:
        """The grid for a supported number of steps; ValueError that says which are supported."""
        if steps not in self.steps:
            raise ValueError(f"steps={steps} is not supported; {self.name} supports {_listed(self.steps)}")
        return tuple(Step(*numbers) for numbers in self.grids[str(steps)])

    @property
    def default_steps(self) -> int:
        """The step count when none is asked for: the fewest, but for Euler steps, which need many, the most."""
        return self.steps[-1] if self.span == "velocity" else self.steps[0]

    @property
    def pixels(self) -> bool:
        """Whether z is the picture itself, scaled to [-1, 1]: then an image becomes z without an encoder."""
        if self.image_shape is None:
            return False
        height, width, _ = self.image_shape
        return self.z_shape in ((1, height, width), (3, height, width))

    @property
    def encodes(self) -> bool:
        """Whether the bundle has a graph that makes z of an image."""
        return encode_file("fp32") in self.files

    def label_name(self, label: int) -> str:
        """The name of a label index; `none` for the null label."""
        return "none" if label == self.null_label else self.labels[label]

    def find_label(self, label: str | int) -> int:
        """The index of a label given by index, name, or `none`; ValueError that lists the names.

        A name wins over an index written the same way (a class called "7"). Names compare exactly.
        """
        if isinstance(label, str) and label in self.labels:
            return self.labels.index(label)
        if label == "none":
            return self.null_label
        digits = isinstance(label, int) or (label.isascii() and label.isdecimal() and len(label) < 10)
        index = int(label) if digits else -1
        if 0 <= index < len(self.labels):
            return index
        shown = repr(label if isinstance(label, int) else label[:80])
        if not self.labels:
            raise ValueError(f"unknown label {shown}; {self.name} has no labels (only none)")
        names = ", ".join(self.labels[:100]) + (", ..." if len(self.labels) > 100 else "")
        raise ValueError(f"unknown label {shown}; labels are {names} (0 to {len(self.labels) - 1}) or none")

    def check_guidance(self, guidance: float | None) -> float | None:
        """The guidance to run with: the default for None, None for a graph without the input.

        Raises ValueError for a scale outside the range, and for one other than 1 when there is no such input.
        """
        if self.guidance is None:
            if guidance is not None and guidance != 1.0:
                raise ValueError(
                    f"guidance={exact(guidance)}: {self.name} has no guidance input; leave it out or give 1"
                )
            return None
        if guidance is None:
            return self.guidance.default
        if not self.guidance.min <= guidance <= self.guidance.max:
            raise ValueError(
                f"guidance={exact(guidance)} is outside {self.guidance.min:g} to {self.guidance.max:g}, "
                f"the range of {self.name}"
            )
        return float(guidance)

    def computed_digest(self) -> str:
        """The digest that this manifest's content has, to be compared with the one it states."""
        return canonical_digest(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_name(self.name)
        for file in self.files:
            check_name(file, what="file name")
            if file == MANIFEST_FILE:
                raise ValueError(f"{MANIFEST_FILE} cannot list itself among its files")
        if self.null_label != len(self.labels):
            raise ValueError(f"null_label must be {len(self.labels)}, the number of labels, not {self.null_label}")
        for label in self.labels:
            if not label or not label.isprintable() or label != label.strip():
                raise ValueError(f"label name {label!r} must be printable text without outer blanks")
        if len(set(self.labels)) != len(self.labels) or "none" in self.labels:
            raise ValueError("label names must be distinct, and 'none' is reserved for the null label")
        if self.kind == "image" and (self.image_shape is None or len(self.z_shape) != 3):
            raise ValueError("an image bundle needs image_shape [H, W, 3] and z_shape [C, H, W]")
        if self.kind == "points" and (self.image_shape is not None or len(self.z_shape) != 1):
            raise ValueError("a points bundle needs image_shape null and z_shape [D]")
        if self.steps != sorted(set(self.steps)) or {str(n) for n in self.steps} != set(self.grids):
            raise ValueError("steps must be the rising list of the step counts that grids has")
        for steps in self.steps:
            grid = self.grid(steps)
            if len(grid) != steps:
                raise ValueError(f"the grid for {steps} steps has {len(grid)}")
            try:
                check_grid(grid, self.span, self.t_max)
            except ValueError as error:
                raise ValueError(f"the grid for {steps} steps: {error}") from None
        if "fp32" not in self.precisions or set(self.batch_invariant) != set(self.precisions):
            raise ValueError("precisions must contain fp32, and batch_invariant must name exactly the precisions")
        if not set(self.accuracy) <= set(self.precisions) - {"fp32"}:
            raise ValueError("accuracy must be of precisions of the bundle other than fp32")
        needed = {jump_file(precision) for precision in self.precisions} | {entry.file for entry in self.engines}
        if self.kind == "image":
            needed.add(decode_file("fp32"))
        if missing := sorted(needed - set(self.files)):
            raise ValueError(f"files must list {', '.join(missing)}")
        return self


def jump_file(precision: str) -> str:
    """The file name of the jump graph of a precision."""
    return f"jump.{precision}.onnx"


def decode_file(precision: str) -> str:
    """The file name of the decode graph of a precision."""
    return f"decode.{precision}.onnx"


def encode_file(precision: str) -> str:
    """The file name of the graph of a precision that makes z of an image."""
    return f"encode.{precision}.onnx"


def unrolled_file(steps: int) -> str:
    """The file name of the graph of all steps of a grid and the decoder in one."""
    return f"generate_{steps}.onnx"


def check_name(name: str, what: str = "name") -> str:
    """Return a plain name (letters, digits, '.', '_', '-', not starting with '.'), else raise ValueError.

    Such a name cannot leave the folder that it is joined to, nor break a header or a metric label.
    """
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise ValueError(
            f"{what} {name[:200]!r} must be plain: letters, digits, '.', '_' and '-', starting with a letter "
            "or digit, at most 100 characters"
        )
    return name


def exact(number: float) -> str:
    """A number as text that is read back as the same one; a whole one without a fraction."""
    return repr(float(number)).removesuffix(".0")


def canonical_digest(fields: dict[str, Any]) -> str:
    """The text `sha256:` and the hash of the canonical JSON of a manifest, its `digest` field left out."""
    content = {key: value for key, value in fields.items() if key != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def build_manifest(fields: dict[str, Any]) -> Manifest:
    """Check the fields of a manifest and give it its digest; ValueError in one line for wrong ones."""
    try:
        manifest = Manifest.model_validate({**fields, "digest": "sha256:" + "0" * 64})
    except ValidationError as error:
        raise ValueError(f"manifest: {one_line(error)}") from None
    try:
        digest = manifest.computed_digest()
    except ValueError as error:
        raise ValueError(f"manifest: quality and provenance must be plain JSON: {error}") from None
    return manifest.model_copy(update={"digest": digest})


def read_manifest(text: bytes, where: str) -> Manifest:
    """Read and check the bytes of a manifest; `where` names it in errors.

    Raises ValueError if it is not a manifest, is of a newer format, or does not match its digest.
    """
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON ({error}); the bundle is damaged, export or copy it again") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{where} holds no JSON object; it is not a bundle's manifest")
    try:
        _check_readable(fields)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None
    found = fields.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise ValueError(f"{where} has format {found}, this longjump reads up to {FORMAT}; update longjump")
    # The digest is taken over what the file says, before defaults are filled in. It does not see layout or a
    # repeated key, so the bytes must also be those that write_manifest makes: then every byte counts.
    try:
        stated, actual = fields.get("digest"), canonical_digest(fields)
    except ValueError:
        raise ValueError(f"{where} holds a number that is not finite, or broken text") from None
    if stated != actual or text != _text(fields):
        raise ValueError(
            f"{where} does not match its digest (says {stated}, is {actual}); it was changed after it was "
            "written, export or copy the bundle again"
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        raise ValueError(f"{where}: {one_line(error)}") from None


def _check_readable(value: Any, room: int = MAX_DEPTH) -> None:
    """Raise ValueError for JSON that not everyone who is told of it can read: too deep, or a number beyond float64."""
    if isinstance(value, dict | list):
        if room == 0:
            raise ValueError(f"is nested more than {MAX_DEPTH} deep")
        for part in value.values() if isinstance(value, dict) else value:
            _check_readable(part, room - 1)
    elif isinstance(value, int) and abs(value) > sys.float_info.max:
        raise ValueError(f"holds a whole number beyond {sys.float_info.max:.2g}")


def write_manifest(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`, for people to read too."""
    return _text(manifest.model_dump(mode="json"))


def _text(fields: dict[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()


def one_line(error: ValidationError) -> str:
    """A pydantic error as one line: each wrong field, what was wrong, and the value."""
    parts = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"])
        value = repr(item["input"])
        shown = f" (got {value})" if field and len(value) <= 80 else ""
        message = item["msg"].removeprefix("Value error, ")
        parts.append(f"{field}: {message}{shown}" if field else message)
    return "; ".join(parts)


def _listed(numbers: list[int]) -> str:
    """Numbers as text, runs shortened: 1, 2, 4 or 1 to 16."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers))
