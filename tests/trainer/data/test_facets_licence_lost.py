"""Every class is CC0 by its own metadata and credited; a style that changed its licence is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer.data import facets
from trainer.data.facets import CLASSES, facets_info, read_definition


def test_every_class_is_cc0_and_credited(tiny_facets: dict[str, np.ndarray]) -> None:
    info = facets_info(tiny_facets, 32, 0)
    assert info["licence"] == "CC0-1.0"
    assert list(info["credits"]) == list(CLASSES)
    for credit in info["credits"].values():
        assert credit["licence"] == "CC0 1.0"
        assert credit["title"]
        assert credit["creator"]
        assert credit["source_url"].startswith("https://")
    assert info["generator"]["packages"].keys() == {"dicebear-core", "dicebear-styles", "resvg-py"}


@pytest.mark.parametrize("name", ["CC BY 4.0", None])
def test_another_licence_is_refused(name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = read_definition("clay")
    definition["meta"]["license"]["name"] = name
    (tmp_path / "clay.json").write_text(json.dumps(definition))
    monkeypatch.setattr(facets, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"style 'clay' .* has the licence .*facets takes 'CC0 1\.0'"):
        read_definition("clay")
