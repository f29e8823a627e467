"""The label that comes back with an image is the label of that image when it is asked for again."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.runtime.bundle import open_bundle
from server.backend.model import Model
from server.http.reply import label_text

from .fake_line import ENGINE


@pytest.mark.parametrize(
    "labels", [["cat", "dog"], ["0", "1", "2"], ["7", "0", "1"], ["1", "0", "00", "000"], ["none of these", "01"], []]
)
def test_label_finds_itself(images: Path, labels: list[str]) -> None:
    manifest = open_bundle(images).manifest.model_copy(update={"labels": labels, "null_label": len(labels)})
    model = Model(manifest=manifest, fingerprint="print", threads=1, startup={}, engine=ENGINE)
    for index in range(len(labels) + 1):
        text = label_text(index, model)
        assert manifest.find_label(text) == index
        assert text.isascii()
        assert "," not in text
