"""`longjump methods` says of every method what its class says, to people within 100 columns and to programs as JSON."""

from __future__ import annotations

import json

import pytest

import longjump
from trainer.objectives import methods
from trainer.recipes import shipped


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert longjump.main(["methods", *words]) == 0
    return capsys.readouterr().out


def test_method_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    """By name, with its needs, span, sampler and reference on a line, and below it what it does."""
    lines = said(capsys).splitlines()
    assert max(map(len, lines)) <= 100
    for name, objective in methods().items():
        (at,) = [number for number, line in enumerate(lines) if line.startswith(f"{name} ")]
        facts = lines[at].split()
        assert objective.span in facts
        assert objective().sampler.kind in facts  # type: ignore[call-arg]
        assert ("teacher" in facts or "teacher," in facts) == (objective.teacher == "required")
        assert ("(teacher)" in facts) == (objective.teacher == "optional")
        assert ("JVP" in lines[at]) == objective.jvp
        text = "".join(lines[at:]).replace(" ", "")
        assert objective.reference.replace(" ", "") in text
        assert (objective.__doc__ or "").partition("\n")[0].replace(" ", "") in text


@pytest.mark.parametrize("name", methods())
def test_method_says_nothing_of_itself(name: str) -> None:
    """The first line of the docstring is a sentence, and the reference is one that can be looked up."""
    objective = methods()[name]
    first = (objective.__doc__ or "").partition("\n")[0]
    assert len(first) > 30
    assert first.endswith(".")
    assert objective.reference.startswith("arXiv ")


def test_program_reads_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    found = {each["name"]: each for each in json.loads(said(capsys, "--json"))}
    assert sorted(found) == sorted(methods())
    for name, objective in methods().items():
        each, usual = found[name], objective()  # type: ignore[call-arg]
        assert each["teacher"] == (objective.teacher == "required")
        assert each["optional_teacher"] == (objective.teacher == "optional")
        assert each["jvp"] == objective.jvp
        assert each["span"] == objective.span
        assert each["sampler"] == usual.sampler.model_dump(mode="json")
        assert each["target_ema"] == (objective.no_average is None)
        assert each["recipes"] == [recipe for recipe in shipped() if recipe.endswith(f"/{name}")]
