"""Latents: what training sees is (latents - mean) * scale, and both are recorded for the decoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data import npy
from trainer.data.dataset import open_dataset

Command = Callable[[str], int]
Save = Callable[..., Path]

SHAPE = (60, 4, 4, 4)
MEAN, STD = np.array([0.0, 3.0, -200.0, 0.5]), np.array([1.0, 5.0, 0.25, 9.0])
LATENTS = (np.random.default_rng(0).normal(size=SHAPE) * STD[:, None, None] + MEAN[:, None, None]).astype(np.float32)
LABELS = np.arange(60) % 2


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("block", [2**24, 1000])
def test_a_channel_has_another_scale(
    dtype: type, block: int, save: Save, data_command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without being told, each channel gets the mean 0 and the standard deviation 0.5; undone, the latents are back."""
    monkeypatch.setattr("trainer.data.latents.BLOCK", block)
    monkeypatch.setattr(npy, "BLOCK", block)
    save("a.npz", latents=LATENTS[:25].astype(dtype), labels=LABELS[:25])
    save("b.npz", latents=LATENTS[25:].astype(dtype), labels=LABELS[25:])
    assert data_command("build latents --from a.npz b.npz --autoencoder sd-vae --out made") == 0
    found = open_dataset("made")
    assert (found.name, found.kind, found.shape, found.classes) == ("a", "image", SHAPE[1:], ["0", "1"])
    assert found.train.x.dtype == dtype
    assert found.train.labels is not None
    assert found.train.labels.tolist() == LABELS.tolist()
    z = found.train.x.astype(np.float64)
    tolerance = 1e-4 if dtype == np.float32 else 2e-2
    np.testing.assert_allclose(z.mean(axis=(0, 2, 3)), 0, atol=tolerance)
    np.testing.assert_allclose(z.std(axis=(0, 2, 3)), 0.5, atol=tolerance)
    told = found.info["latents"]
    assert told["autoencoder"] == "sd-vae"
    mean, scale = (np.array(told[key])[:, None, None] for key in ("mean", "scale"))
    np.testing.assert_allclose(z / scale + mean, LATENTS, rtol=1e-4 if dtype == np.float32 else 1e-2, atol=tolerance)
    np.testing.assert_allclose(np.array(told["scale"]), 0.5 / STD, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "arrays", "mean", "scale"),
    [
        ("--mean 0 --scale 1", {}, [0] * 4, [1] * 4),
        ("--mean 0 --scale 0.18215", {}, [0] * 4, [0.18215] * 4),
        ("--mean=-1,0,1,2 --scale 1,2,3,4", {}, [-1, 0, 1, 2], [1, 2, 3, 4]),
        ("", {"mean": np.float32(0.5), "scale": np.array([1, 2, 3, 4])}, [0.5] * 4, [1, 2, 3, 4]),
        ("--scale 7", {"mean": 1.0, "scale": 2.0}, [1] * 4, [7] * 4),
    ],
)
def test_the_given_scale_is_not_taken(
    options: str, arrays: dict[str, Any], mean: list[float], scale: list[float], save: Save, data_command: Command
) -> None:
    save("a.npz", latents=LATENTS, **arrays)
    save("t.npz", latents=LATENTS[:3], **arrays)
    data_command(f"build latents --from a.npz --test-from t.npz --out made {options}")
    found = open_dataset("made")
    assert (found.info["latents"]["mean"], found.info["latents"]["scale"]) == (mean, scale)
    expected = (LATENTS - np.array(mean)[:, None, None]) * np.array(scale)[:, None, None]
    np.testing.assert_allclose(found.train.x, expected, rtol=1e-5, atol=1e-4)
    assert found.test is not None
    np.testing.assert_array_equal(found.test.x, found.train.x[:3])
    if options == "--mean 0 --scale 1":
        np.testing.assert_array_equal(found.train.x, LATENTS)


NAN = LATENTS.copy()
NAN[7, 1, 2, 3] = np.nan

FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no latents": (
        {"images": LATENTS},
        "",
        "mine.npz holds images; it needs latents, and may have labels, mean, scale",
    ),
    "something more": ({"latents": LATENTS, "label": LABELS}, "", "mine.npz holds latents, label; it needs latents"),
    "integers": ({"latents": LATENTS.astype(int)}, "", "latents is int64 [60, 4, 4, 4]; it must be float16 or float32"),
    "flat": ({"latents": LATENTS.reshape(60, -1)}, "", "latents is float32 [60, 64]; it must have 4 dimensions"),
    "empty": ({"latents": LATENTS[:0]}, "", "it is empty"),
    "nan": ({"latents": NAN}, "", "mine.npz: latents[7] has numbers that are not finite"),
    "nan with a scale": ({"latents": NAN}, "--mean 0 --scale 1", "mine.npz: latents[7] has numbers that are not"),
    "labels too short": ({"latents": LATENTS, "labels": LABELS[:5]}, "", "but there are 60 samples"),
    "constant channel": ({"latents": LATENTS * 0 + 3}, "", "channel 0 of the latents is constant; give --scale"),
    "scale 0": ({"latents": LATENTS}, "--scale 0", "--scale is [0.0]; it must be finite numbers above 0"),
    "scale of two": ({"latents": LATENTS}, "--scale 1,2", "give one number, or one per channel (4)"),
    "mean of a file": ({"latents": LATENTS, "mean": np.nan}, "", "mine.npz: mean is nan; it must be finite"),
    "too large": ({"latents": LATENTS.astype(np.float16)}, "--mean 0 --scale 1e6", "z leaves the range of float16"),
    "objects": ({"latents": LATENTS, "labels": np.array([{}])}, "", "mine.npz is damaged, or not an npz file of plain"),
    "by columns": ({"latents": np.asfortranarray(LATENTS)}, "", "save np.ascontiguousarray(latents)"),
    "other test shape": ({"latents": LATENTS}, "--test-from other.npz", "other.npz holds float32 [3, 4, 4], but"),
    "labels in one": ({"latents": LATENTS, "labels": LABELS}, "--test-from same.npz", "has labels, the other has not"),
    "two scales": ({"latents": LATENTS, "scale": 2.0}, "--test-from same.npz", "have different arrays scale"),
    "absent": ({"latents": LATENTS}, "--test-from absent.npz", "absent.npz does not exist"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_not_named(fault: str, save: Save, data_command: Command) -> None:
    arrays, options, message = FAULTS[fault]
    save("other.npz", latents=LATENTS[:, :3])
    save("same.npz", latents=LATENTS)
    save("mine.npz", **arrays)
    with pytest.raises((ValueError, OSError), match=re.escape(message)) as raised:
        data_command(f"build latents --from mine.npz --out made {options}")
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in Path().iterdir()) == ["mine.npz", "other.npz", "same.npz"]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_byte_is_scaled(compressed: bool, data_command: Command) -> None:
    (np.savez_compressed if compressed else np.savez)("a.npz", latents=LATENTS)
    content = bytearray(Path("a.npz").read_bytes())
    content[len(content) // 2] ^= 1
    Path("a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npz"):
        data_command("build latents --from a.npz --out made")
    assert not Path("made").exists()


def test_bare_latents_are_trained_on_unscaled(save: Save) -> None:
    with pytest.raises(ValueError, match=r"holds latents, which need a scale: `longjump data build latents --from"):
        open_dataset(save("a.npz", latents=LATENTS))
