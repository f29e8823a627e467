"""A result of the methods table is kept while the code that made it is the same; what is missing says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.methods import cells, code, table
from tests.methods.cells import Cell
from tests.methods.problems import GAUSSIAN, MIXTURES

FILES = {
    "models/net.py": '"""A network."""\n\nWIDTH = 3\n',
    "trainer/loop.py": "from models.net import WIDTH\n\n\ndef train():\n    return WIDTH\n",
    "trainer/mine.py": "from trainer.loop import train\n",
    "trainer/other.py": "ANSWER = 1\n",
}


def _forget() -> None:
    for kept in (code.code_digest, code._content, code._file):
        kept.cache_clear()


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`digest(**{"models/net.py": new})`: of a small tree, one of whose files may be another."""

    def of(changed: dict[str, str]) -> str:
        for name, text in {**FILES, **changed}.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        monkeypatch.setattr(code, "ROOT", tmp_path)
        monkeypatch.setattr(code, "ROOTS", ("trainer.loop",))
        _forget()
        return code.code_digest("trainer.mine")

    yield of
    _forget()


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("models/net.py", '"""Another sentence."""\n\nWIDTH = 3  # and a comment\n', True),
        ("models/net.py", '"""A network."""\n\nWIDTH = 3\nif not WIDTH:\n    raise ValueError("wide")\n', False),
        ("trainer/other.py", "ANSWER = 2\n", True),
        ("models/net.py", '"""A network."""\n\nWIDTH = 4\n', False),
        ("trainer/mine.py", "from trainer.loop import train\n\nP = 1\n", False),
    ],
)
def test_code_that_matters_is_missed(digest: Callable[..., str], name: str, text: str, same: bool) -> None:
    assert (digest({}) == digest({name: text})) is same


def test_key_forgets_a_part() -> None:
    """Method, data, settings and teacher each make another cell."""
    keys = [
        Cell("meanflow", GAUSSIAN.name).key,
        Cell("meanflow", MIXTURES[0].name).key,
        Cell("meanflow", GAUSSIAN.name, ("run.steps=7",)).key,
        Cell("flow-matching", GAUSSIAN.name).key,
    ]
    assert len(set(keys)) == len(keys)
    assert Cell("meanflow", GAUSSIAN.name).key == keys[0]
    assert Cell("ctm", GAUSSIAN.name).teacher == Cell("flow-matching", GAUSSIAN.name)


def test_missing_cell_shows_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is there is shown, with whether the target is met."""
    monkeypatch.setattr(cells, "CACHE", tmp_path)
    row = next(line for line in table.page().splitlines() if line.startswith("| meanflow") and "5 %" in line)
    assert row.count("not run") == len(MIXTURES) + 1
    for problem, error in zip(MIXTURES, (0.02, 0.03, 0.07), strict=True):
        cell = Cell("meanflow", problem.name)
        cell.folder.mkdir(parents=True)
        steps = {"1": {"map": error, "distribution": error, "slope": 0.4, "offset": 0.7}}
        (cell.folder / "result.json").write_text(json.dumps({"steps": steps, "seconds": 60, "date": "2026-11-24"}))
    row = next(line for line in table.page().splitlines() if line.startswith("| meanflow") and "5 %" in line)
    assert "| 2.0 % | 3.0 % | 7.0 % | 5 %, **not met on 1** | 60 s |" in row


def test_cell_is_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny one, whole: trained, measured, kept; the second time nothing is trained."""
    monkeypatch.setattr(cells, "CACHE", tmp_path)
    cell = Cell("meanflow", GAUSSIAN.name, ("run.steps=2", "run.batch=8", "model.width=8", "model.depth=1"))
    found = cell.run()
    assert found["steps"]["1"].keys() == {"map", "distribution", "slope", "offset"}
    assert found["semigroup"] >= 0
    monkeypatch.setattr("trainer.loop.train", None)
    assert cell.run()["steps"] == found["steps"]
