"""`make test-bundles`: the small picture bundles of this folder, which the server's tests serve: trained, exported.

One each of MeanFlow, of AYF-EMD with its strength of autoguidance as an input, and of CTM with half of the noise new
between steps: networks of about ten thousand weights, a few seconds of training, on generated 8x8 pictures of two
classes. They are checked in because these tests must do without torch. Pictures of them mean nothing; that every bundle
answers otherwise, and to every label and scale, is what counts. Run as a module from the repository's root.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np

import longjump

FOLDER = Path(__file__).parent
BUNDLES: dict[str, list[str]] = {
    "flow-matching": [],  # teaches the others, and is not kept
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
        teachers = ["--teacher", str(runs / "flow-matching"), "--weak-teacher", str(runs / "flow-matching")]
        for method, settings in BUNDLES.items():
            given = {"ayf-emd": teachers, "ctm": teachers[:2]}.get(method, [])
            words = [word for setting in (*TINY, *settings) for word in ("--set", setting)]
            train = ["train", f"facets/{method}", "--data", str(data), "--out", str(runs / method), "--threads", "1"]
            command(*train, "--device", "cpu", *words, *given)
            if method != "flow-matching":
                command("export", str(runs / method), "--out", str(FOLDER / method), "--licence", "CC0-1.0", "--force")


def command(*words: str) -> None:
    """`longjump ...`, whose cards come without pictures."""
    plots = ("samples_image", "curves")
    with mock.patch.multiple("trainer.card", **{plot: lambda *_: b"" for plot in plots}):
        if longjump.main(words):
            raise SystemExit(f"longjump {' '.join(words)} failed")


if __name__ == "__main__":
    main()
