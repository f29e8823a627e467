"""`make test-bundles`: the small picture bundles of this folder, which the server's tests serve: trained, exported.

One each of MeanFlow, of AYF-EMD with its strength of autoguidance as an input, of CTM with half of the noise new
between steps, and of flow matching, their teacher, guided by two evaluations: networks of about ten thousand weights, a
few seconds of training, on generated 8x8 pictures of two classes. They are checked in because these tests must do
without torch. Pictures of them mean nothing; that every bundle answers otherwise, and to every label and scale, is what
counts. Run as a module from the repository's root.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import longjump

FOLDER = Path(__file__).parent
BUNDLES: dict[str, list[str]] = {
    "meanflow": [],
    "ayf-emd": ["objective.autoguidance={range: [1, 3], default: 1.5}"],
    "ctm": [
        "objective.levels={kind: karras}",
        "objective.sampler={kind: gamma, gamma: 0.5}",
        "objective.solver_steps=2",
    ],
}
TINY = [
    *("model.network=dit", "model.patch=4", "model.width=16", "model.depth=1", "model.heads=2"),
    *("run.steps=200", "run.batch=32", "run.save_every=200", "run.score=0", "run.sample_steps=[1, 2, 4]"),
    *("optimiser.name=adamw", "optimiser.lr=0.01", "optimiser.decay_steps=0", "optimiser.warmup_steps=10"),
]


def pictures(path: Path) -> None:
    """Two classes of 8x8 pictures: a bright upper half, a bright left half, with some noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (256, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(256) % 2
    images[labels == 0, :4] += 160
    images[labels == 1, :, :4] += 160
    np.savez(path, images=images, labels=labels)


def main() -> None:
    """Train each and export it into this folder."""
    with tempfile.TemporaryDirectory() as scratch:
        runs, data = Path(scratch), Path(scratch) / "halves.npz"
        pictures(data)
        train("flow-matching", runs / "teacher", data)
        train("flow-matching", runs / "weak", data, "run.steps=50", "run.save_every=50")
        teacher = ["--teacher", str(runs / "teacher")]
        teachers = {"ayf-emd": [*teacher, "--weak-teacher", str(runs / "weak")], "ctm": teacher}
        for method, settings in BUNDLES.items():
            train(method, runs / method, data, *settings, given=teachers.get(method, []))
            export(runs / method, method)
        export(runs / "teacher", "flow-matching", "--guidance", "0:4:2")


def train(method: str, out: Path, data: Path, *settings: str, given: Sequence[str] = ()) -> None:
    """`longjump train` with the small settings and some more."""
    words = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
    place = ["--data", str(data), "--out", str(out), "--threads", "1", "--device", "cpu"]
    command("train", f"facets/{method}", *place, *words, *given)


def export(run: Path, name: str, *given: str) -> None:
    """`longjump export` into this folder."""
    command("export", str(run), "--out", str(FOLDER / name), "--licence", "CC0-1.0", "--force", *given)


def command(*words: str) -> None:
    """`longjump ...`."""
    if longjump.main(words):
        raise SystemExit(f"longjump {' '.join(words)} failed")


if __name__ == "__main__":
    main()
