"""A variation that the model cannot make is refused before any work, saying what would be right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.runtime.bundle import open_bundle
from server.backend.model import Model
from server.http.plan import Auto, Plan
from server.http.problem import Problem
from server.http.variations import plan_variations, read_variations

from .fake_line import ENGINE


@pytest.fixture(scope="module")
def model(images: Path) -> Model:
    return Model(open_bundle(images).manifest, "print", 1, {}, ENGINE)


def changed(model: Model, **fields: Any) -> Model:
    return replace(model, manifest=model.manifest.model_copy(update=fields))


def planned(model: Model, /, **fields: str) -> Plan:
    return plan_variations(read_variations([fields], [model], 8))[0]


def refusal(model: Model, /, **fields: str) -> list[dict[str, Any]]:
    with pytest.raises(Problem) as refused:
        planned(model, **fields)
    assert refused.value.status == 422
    errors: list[dict[str, Any]] = refused.value.document()["errors"]
    return errors


@pytest.mark.parametrize("span", ["any", "velocity", "endpoint"])
def test_any_strength_suits_these_spans(model: Model, span: str) -> None:
    for strength in ("1", "0.37", "1e-3"):
        for steps in ("1", "2", "4", "auto"):
            assert planned(changed(model, span=span), strength=strength, steps=steps).n == 1


def test_dyadic_span_takes_only_its_grid(model: Model) -> None:
    dyadic = changed(model, span="dyadic")
    assert planned(dyadic, strength="0.25", steps="4").steps == 4
    assert planned(dyadic, steps="4").steps == 4, "the default strength lies on the grid"
    (error,) = refusal(dyadic, strength="0.3", steps="2")
    assert (error["field"], error["value"]) == ("strength", "0.3")
    assert "strengths for steps=2 are 1, 0.5, 0.25" in error["detail"]


def test_auto_must_suit_whatever_it_may_choose(model: Model) -> None:
    dyadic = changed(model, span="dyadic")
    smallest = str(1 / 128)  # one step of the finest grid, but not two
    assert refusal(dyadic, strength=smallest, steps="auto")[0]["field"] == "strength"
    assert planned(dyadic, strength=smallest, steps="auto", max_steps="1").steps == Auto(1, 1)


def test_time_that_was_not_trained_is_refused(model: Model) -> None:
    clamped = changed(model, span="endpoint", t_max=0.9)
    assert planned(clamped, strength="0.9")
    assert planned(clamped, strength="1")
    assert planned(changed(model, span="endpoint", t_max=0.6)), "the default strength is a time that it knows"
    (error,) = refusal(clamped, strength="0.95")
    assert "between t_max=0.9 and 1" in error["detail"]


@pytest.mark.parametrize("strength", ["0", "-0.1", "1.01", "nan", "inf", "half", ""])
def test_strength_out_of_range_names_the_range(model: Model, strength: str) -> None:
    (error,) = refusal(model, strength=strength)
    assert error["field"] == "strength"
    assert "a number above 0 and up to 1" in error["detail"]
    assert error["allowed"] == {"exclusive_min": 0, "max": 1}


def test_model_without_a_way_from_pixels_is_refused(model: Model) -> None:
    latent = changed(model, z_shape=(4, 2, 2))
    assert "its bundle has no encoder" in refusal(latent)[0]["detail"]
    points = changed(model, kind="points", z_shape=(2,), image_shape=None)
    assert "makes points" in refusal(points)[0]["detail"]
    (error,) = refusal(points, model="tyni", format="npy")
    assert "this server has tiny" in error["detail"], "a wrong name is not taken for the default model's"


def test_every_fault_is_named_at_once(model: Model) -> None:
    errors = refusal(model, strength="2", n="9", steps="3", seed="-1", label="lynx", stream="first")
    assert {error["field"] for error in errors} == {"strength", "n", "steps", "seed", "label", "stream"}


def test_no_class_is_drawn_by_chance(model: Model) -> None:
    assert planned(model, seed="5").label == model.manifest.null_label
    assert planned(model, seed="5", label="dog").label == 1
