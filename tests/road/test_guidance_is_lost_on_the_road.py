"""A network trained over a range of guidance scales: from the recipe to a scale asked for over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest

from tests.road.walk import command, serving

RANGE = "objective.guidance={range: [1, 4], default: 2.5}"
BRIEF = ["run.steps=40", "run.batch=16", "run.save_every=40", "model.width=16"]
# Moves the weights far in a few steps: a fresh network answers the same whatever it is told.
RATE = ["optimiser.lr=0.03", "optimiser.warmup_steps=0", "optimiser.decay_steps=0"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Points of two classes, trained in forty steps, exported."""
    folder = tmp_path_factory.mktemp("guided")
    data, run, bundle = (folder / name for name in ("data", "run", "bundle"))
    mixture = [*("--mean=-0.8", "--std", "0.5"), *("--mean", "0.7", "--std", "0.4")]
    command(
        "data", "build", "points", "--kind", "mixture", *mixture, "--train", "200", "--out", str(data), folder=folder
    )
    sets = [word for override in (RANGE, *BRIEF, *RATE) for word in ("--set", override)]
    command("train", "points/meanflow", "--data", str(data), "--out", str(run), *sets, folder=folder)
    command("export", str(run), "--out", str(bundle), folder=folder)
    return bundle


def test_command_ignores_the_scale(bundle: Path, tmp_path: Path) -> None:
    assert "1 to 4, 2.5 by default, 1 row(s) a step" in command("inspect", str(bundle), folder=tmp_path)
    made = {}
    for scale in ("1", "2.5", "4", "default"):
        asked = [] if scale == "default" else ["--guidance", scale]
        words = [str(bundle), "--seed", "3", "--label", "0", *asked, "-o", f"{scale}.npy"]
        command("generate", *words, folder=tmp_path)
        made[scale] = np.load(tmp_path / f"{scale}.npy")
    assert np.array_equal(made["default"], made["2.5"])
    assert np.abs(made["1"] - made["4"]).max() > 1e-3


def test_server_ignores_the_scale(bundle: Path, tmp_path: Path) -> None:
    with serving(bundle, tmp_path) as url:

        def ask(query: str) -> tuple[str, list[list[float]]]:
            with urlopen(Request(f"{url}/generate?seed=3&label=0{query}", method="POST"), timeout=30) as reply:
                return reply.headers["longjump-guidance"], json.load(reply)["points"]

        default, one, four = ask(""), ask("&guidance=1"), ask("&guidance=4")
        assert default == ask("&guidance=2.5")
        assert [scale for scale, _ in (default, one, four)] == ["2.5", "1", "4"]
        assert abs(one[1][0][0] - four[1][0][0]) > 1e-3
        for scale in ("0.5", "4.5"):
            with pytest.raises(HTTPError) as refused:
                ask(f"&guidance={scale}")
            assert refused.value.code == 422
            assert "a number from 1 to 4" in json.load(refused.value)["detail"]
