"""A training that is watched with TensorBoard or Weights & Biases. The log in the run directory stays what counts."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from trainer.card import numbers_of

TRACKERS = ("tensorboard", "wandb")


class Tracker(Protocol):
    """What is told to whoever watches."""

    def row(self, row: Mapping[str, Any]) -> None:
        """A row of the log."""

    def picture(self, step: int, png: bytes) -> None:
        """samples.png of a checkpoint."""

    def close(self) -> None:
        """The run has ended or stopped."""


class Unwatched:
    """A tracker that nobody reads."""

    def row(self, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def picture(self, step: int, png: bytes) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class TensorBoard:
    """Scalars and samples in RUN/tensorboard; what an earlier process wrote of steps after `done` is not shown again.

    Raises ModuleNotFoundError where tensorboard is not installed.
    """

    def __init__(self, out: Path, done: int, rows: list[dict[str, Any]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = out / "tensorboard"
        new = not folder.exists()
        self.writer = SummaryWriter(str(folder), purge_step=done + 1)
        for row in rows if new else []:  # tracked from here on, but the log knows what came before
            self.row(row)

    def row(self, row: Mapping[str, Any]) -> None:
        """Each number by its name."""
        for name, value in numbers_of(dict(row)).items():
            if name != "step":
                self.writer.add_scalar(name, value, row["step"])
        self.writer.flush()

    def picture(self, step: int, png: bytes) -> None:
        """The picture as `samples`."""
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self.writer.add_image("samples", pixels, step, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self.writer.close()


class WeightsAndBiases:
    """A run of the project `longjump`, by Accelerate's tracker; a resumed run goes on under its own id."""

    def __init__(self, out: Path, config: Mapping[str, Any]) -> None:
        from accelerate.tracking import WandBTracker

        known = out / "wandb-id"
        before = known.read_text().strip() if known.is_file() else None
        self.tracker = WandBTracker("longjump", name=out.name, dir=str(out), id=before, resume="allow")
        self.tracker.start()
        known.write_text(f"{self.tracker.run.id}\n")
        self.tracker.store_init_configuration(dict(config))

    def row(self, row: Mapping[str, Any]) -> None:
        """Each number by its name; wandb itself drops steps that it has seen."""
        numbers = numbers_of(dict(row))
        self.tracker.log({name: value for name, value in numbers.items() if name != "step"}, step=int(row["step"]))

    def picture(self, step: int, png: bytes) -> None:
        """The picture as `samples`."""
        self.tracker.log_images({"samples": [Image.open(io.BytesIO(png))]}, step=step)

    def close(self) -> None:
        """Say goodbye to the server."""
        self.tracker.finish()


def check_tracker(name: str | None) -> None:
    """Raise ModuleNotFoundError or ValueError where `name` cannot be used, before anything is written."""
    if name == "tensorboard":
        import torch.utils.tensorboard  # noqa: F401
    elif name == "wandb":
        from accelerate.utils import is_wandb_available

        if not is_wandb_available():
            raise ValueError(
                "--track wandb needs the Python package 'wandb', which is not installed: pip install wandb"
            )


@contextmanager
def tracking(
    name: str | None, out: Path, done: int, rows: list[dict[str, Any]], config: Mapping[str, Any]
) -> Iterator[Tracker]:
    """The tracker `name`, one of `TRACKERS`, or None's.

    Args:
        out: the run directory.
        done: the step that the run goes on from.
        rows: its log so far.
        config: its recipe.
    """
    tracker: Tracker
    if name == "tensorboard":
        tracker = TensorBoard(out, done, rows)
    elif name == "wandb":
        tracker = WeightsAndBiases(out, config)
    else:
        tracker = Unwatched()
    try:
        yield tracker
    finally:
        tracker.close()
