"""A recipe that is wrong is refused with the key, the value, and what would be right; a right one survives the trip."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest
import yaml

from trainer.listing import description
from trainer.objectives import methods
from trainer.objectives.parts.times import LogitNormal
from trainer.recipe import Recipe, load_recipe, parse_recipe
from trainer.recipes import SHIPPED, shipped
from trainer.rundir import RunDirectory

MINIMAL = {"kind": "points", "model": {"network": "mlp"}, "objective": {"method": "meanflow"}}


def refusal(*overrides: str, name: str = "points/meanflow") -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - what it says is the test
        load_recipe(name, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipe_is_broken(name: str) -> None:
    """It loads, by its name and by its path, for the data and with the method that its name promises."""
    recipe = load_recipe(name)
    data, method = name.split("/")
    assert recipe.objective.method == method
    assert recipe.kind == ("points" if data == "points" else "image")
    assert load_recipe(str(SHIPPED / f"{name}.yaml")) == recipe
    assert recipe.run.steps % recipe.run.save_every == 0


RUN_HERE = ("points", "fashion-mnist", "facets")


def test_shipped_recipe_is_missing() -> None:
    """Every method has one for points, and two for pictures."""
    assert {f"{data}/{method}" for data in RUN_HERE for method in methods()} <= set(shipped())


@pytest.mark.parametrize("name", shipped())
def test_published_settings_pass_for_tried_ones(name: str) -> None:
    """Whoever looks at the list is told which recipes nobody here has run."""
    untried = name.partition("/")[0] not in RUN_HERE
    assert description(name).startswith("Not run here: ") == untried


@pytest.mark.parametrize("name", shipped())
def test_run_writes_another_recipe(tmp_path: Path, name: str) -> None:
    """recipe.yaml of a run is the whole recipe, and loads to the same: small rates and all."""
    recipe = load_recipe(name, ["optimiser.lr=1e-5", "run.ema=[0.031]", "optimiser.betas=[0.9, 0.999]"])
    RunDirectory(tmp_path / "run", 1).start(recipe.model_dump(mode="json"))
    assert load_recipe(str(tmp_path / "run" / "recipe.yaml")) == recipe
    written = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert set(written) == {"kind", "model", "objective", "data", "optimiser", "run"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lrr=1", "points/meanflow: optimiser.lrr: no such key; did you mean optimiser.lr?"),
        ("run.batchsize=8", "run.batchsize: no such key; did you mean run.batch?"),
        ("objective.label_droput=0.1", "objective.label_droput: no such key; did you mean objective.label_dropout?"),
        ("objective.times.jump=0.1", "objective.times.jump: no such key; did you mean objective.times.jumps?"),
        ("model.wdith=8", "model.wdith: no such key; did you mean model.width?"),
        ("optimizer.lr=1", "optimizer: no such key; did you mean optimiser?"),
        ("stepz=5", "stepz: no such key; did you mean run.steps?"),
        ("lr=1", "lr: no such key; did you mean optimiser.lr?"),
        ("learning_rate=1", "learning_rate: no such key; did you mean optimiser.lr?"),
        ("model.layers=3", "model.layers: no such key; did you mean model.depth?"),
        ("optimiser.shedule=cosine", "optimiser.shedule: no such key; did you mean optimiser.schedule?"),
        ("run.scores=3", "run.scores: no such key; did you mean run.score?"),
        ("data.augment.probabilty=1", "probabilty: no such key; did you mean data.augment.probability?"),
        ("run.qqqq=1", "run.qqqq: no such key"),
        ("model.patch=2", "model.patch: no such key with the other settings of this recipe"),
    ],
)
def test_typo_is_dropped(override: str, message: str) -> None:
    assert message in refusal(override)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("run.steps=0", "run.steps", "not 0"),
        ("run.steps=ten", "run.steps", "not 'ten'"),
        ("run.steps=2.5", "run.steps", "not 2.5"),
        ("run.batch=-4", "run.batch", "not -4"),
        ("run.seed=-1", "run.seed", "not -1"),
        ("run.seed=4294967296", "run.seed", "not 4294967296"),
        ("run.keep=0", "run.keep", "not 0"),
        ("run.score=-1", "run.score", "not -1"),
        ("run.score=yes", "run.score", "not True"),
        ("run.accumulate=0", "run.accumulate", "not 0"),
        ("optimiser.clip=off", "optimiser.clip", "or null, which clips nothing, not False"),
        ("optimiser.clip=on", "optimiser.clip", "a norm above 0, or null, which clips nothing, not True"),
        ("data.augment=true", "data.augment: a group of settings", "not True"),
        ("run.sample_steps=[]", "run.sample_steps", "not []"),
        ("run.sample_steps=[1, 0]", "run.sample_steps.1", "not 0"),
        ("run.ema=[]", "run.ema", "not []"),
        ("run.ema=[0.05, 0.3]", "run.ema.1", "not 0.3"),
        ("run.ema=[0]", "run.ema.0", "not 0"),
        ("run.ema=[0.05, 0.0501]", "run.ema", "differ in their first three decimals"),
        ("optimiser.lr=0", "optimiser.lr", "not 0"),
        ("optimiser.lr=.nan", "optimiser.lr", "not nan"),
        ("optimiser.lr=.inf", "optimiser.lr", "not inf"),
        ("optimiser.lr=fast", "optimiser.lr", "not 'fast'"),
        ("optimiser.clip=0", "optimiser.clip", "not 0"),
        ("optimiser.betas=[0.9]", "optimiser.betas.1", "required"),
        ("optimiser.betas=[0.9, 1.5]", "optimiser.betas.1", "not 1.5"),
        ("optimiser.weight_decay=-0.1", "optimiser.weight_decay", "not -0.1"),
        ("optimiser.name=lion", "optimiser.name", "not 'lion'"),
        ("objective.label_dropout=1", "objective.label_dropout", "not 1"),
        ("objective.times.jumps=1.1", "objective.times.jumps", "not 1.1"),
        ("objective.times.t={kind: logit-normal, std: -1}", "objective.times.t.std", "not -1"),
        ("objective.times.t={kind: cauchy}", "objective.times.t.kind", "'cauchy' is not one of"),
        ("objective.guidance.omega=0", "objective.guidance.omega", "not 0"),
        ("model.parametrisation=vp", "model.parametrisation", "not 'vp'"),
        ("model.sigma_data=0", "model.sigma_data", "not 0"),
        ("kind=video", "kind", "not 'video'"),
    ],
)
def test_bad_value_is_taken(override: str, key: str, value: str) -> None:
    message = refusal(override)
    assert message.startswith("points/meanflow: ")
    assert f"{key}" in message
    assert value in message


def test_wrong_item_is_told_twice() -> None:
    """Without its wrong items a list is too short for pydantic; the person is told of the item alone."""
    assert refusal("run.ema=[2]") == "points/meanflow: run.ema.0: Input should be less than 0.28, not 2"
    assert "at least 1 item" in refusal("run.ema=[]")


def test_unknown_method_or_network_is_taken() -> None:
    method = refusal("objective={method: meanflwo}")
    assert "objective.method: 'meanflwo' is not one of " in method
    assert "'meanflow'" in method
    assert "'flow-matching'" in method
    network = refusal("model.network=resnet")
    assert "model.network: 'resnet' is not one of " in network


def test_network_of_the_other_kind_is_taken() -> None:
    assert refusal("model={network: dit}") == "points/meanflow: network dit does not take data of kind points"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["objective.guidance={t_start: 0.8, t_end: 0.2}"],
            "objective.guidance: t_start is 0.8, after t_end 0.2: no time would be guided",
        ),
        (
            ["objective.guidance={omega: 2}", "objective.label_dropout=0"],
            "objective: guidance mixes in the null label, which only label_dropout above 0 trains",
        ),
    ],
)
def test_guidance_without_effect_is_taken(overrides: list[str], message: str) -> None:
    assert refusal(*overrides) == f"points/meanflow: {message}"
    load_recipe("points/meanflow", ["objective.label_dropout=0"])


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("points/meanflow", ["run.batch=1"], "run.batch is 1: of 1 rows the share objective.times.jumps=0.5 is none"),
        ("points/imf", ["objective.times.jumps=0.1", "run.batch=5"], "it takes run.batch=6 or more"),
        ("points/alpha-flow", ["objective.times.jumps=0"], "so no jump would be learned; that is flow-matching"),
    ],
)
def test_run_without_a_jump_is_taken(name: str, overrides: list[str], message: str) -> None:
    """It would save a map of every span whose jumps nothing has trained."""
    assert message in refusal(*overrides, name=name)
    assert load_recipe(name, ["run.batch=6"])  # negative control


@pytest.mark.parametrize("name", ["points/ctm", "points/scd", "points/sct", "points/ect"])
def test_data_have_two_standard_deviations(name: str) -> None:
    """In the method and in the network that it trains. ECT's counts for one of its two weights only."""
    overrides = ["objective.sigma_data=3"]
    if name == "points/ect":
        load_recipe(name, overrides)
        overrides.append("objective.weight=edm")
    said = refusal(*overrides, name=name)
    assert said.startswith(f"{name}: objective.sigma_data is 3 and model.sigma_data 0.5; both are the data's")
    load_recipe(name, [*overrides, "model.sigma_data=3"])


def test_missing_key_is_guessed(tmp_path: Path) -> None:
    """Defaults fill the rest, but never what decides the run."""
    assert parse_recipe(MINIMAL, "mine").run.batch == 64
    for key in MINIMAL:
        rest = {name: value for name, value in MINIMAL.items() if name != key}
        with pytest.raises(ValueError, match=f"mine: {key}: required"):
            parse_recipe(rest, "mine")


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("run.steps=7", 7),
        ("optimiser.lr=3e-3", 3e-3),
        ("optimiser.lr=1.5e-7", 1.5e-7),
        ("run.ema=[0.02]", (0.02,)),
        ("objective.times.jumps=0.123", 0.123),
        ("objective.times.t={kind: logit-normal, mean: 1, std: 2}", LogitNormal(mean=1, std=2)),
        ("objective.guidance.kappa=0.5", 0.5),
        ("model.sigma_data=0.123", 0.123),
    ],
)
def test_override_is_lost(override: str, value: object) -> None:
    keys = override.partition("=")[0].split(".")
    assert reduce(getattr, keys, load_recipe("points/meanflow")) != value
    assert reduce(getattr, keys, load_recipe("points/meanflow", [override])) == value


def test_earlier_override_wins() -> None:
    assert load_recipe("points/meanflow", ["run.steps=7", "run.seed=3", "run.steps=9"]).run.steps == 9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.steps", "--set run.steps: write a.b=value"),
        ("=3", "--set =3: write a.b=value"),
        ("run.steps.more=3", "--set run.steps.more=3: steps is a value, not a group"),
        ("kind.of=3", "--set kind.of=3: kind is a value, not a group"),
        ("run.ema=[0.1", "'[0.1' is not a YAML value"),
        ("run=3", "run: "),
    ],
)
def test_bad_override_is_taken(override: str, message: str) -> None:
    assert message in refusal(override)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("points/meanflwo", "did you mean points/meanflow? "),
        ("facet/meanflow", "did you mean facets/meanflow? "),
        ("zzz", ""),
        ("mine.yaml", ""),
        ("facets", f"facets/ has {', '.join(sorted(methods()))}; "),
    ],
)
def test_unknown_name_is_a_riddle(name: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_recipe(name)
    assert str(caught.value) == (f"no recipe '{name}'; {near}'longjump train --list' shows them, or give a .yaml file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"kind: [points", "mine.yaml: not YAML"),
        (b"\xff\xfe\x00", "mine.yaml: not YAML"),
        (b"- kind", "mine.yaml: a recipe is a mapping with kind, model, objective"),
        (b"", "mine.yaml: a recipe is a mapping"),
        (b"!!python/object/apply:os.system ['false']", "mine.yaml: not YAML"),
    ],
)
def test_bad_file_is_a_traceback(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert message in refusal(name=str(path))


def test_own_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    assert load_recipe(str(path), ["run.steps=5"]).run.steps == 5
    assert isinstance(load_recipe(str(path)), Recipe)


def test_typo_is_hidden_by_what_it_leaves_missing() -> None:
    with pytest.raises(ValueError, match=r"^mine: run\.stepps: no such key; did you mean run\.steps\?; kind: required"):
        parse_recipe({"run": {"stepps": 3}}, "mine")


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("points/shortcut", "run.sample_steps=[1, 3]", "; it does 1, 2, 4, ..., 128 steps, with objective.sam"),
        ("points/shortcut", "run.sample_steps=[256]", "run.sample_steps has 256, which shortcut cannot do: "),
        (
            "points/shortcut",
            "objective.sampler={kind: renoise, times: {2: [0.3]}}",
            "has 2, which shortcut cannot do: ",
        ),
        ("points/ct", "objective.sampler={kind: flow}", "run.sample_steps has 2, which ct cannot do: step 1 of 2"),
        (
            "points/ect",
            "objective.sampler={kind: flow}",
            "it jumps to the data only, so take objective.sampler={kind: r",
        ),
        ("points/ect", "run.sample_steps=[256]", "; even steps are at most 21"),
        ("points/scd", "objective.sampler={kind: gamma, gamma: 0.5}", "has 2, which scd cannot do: step 1 of 2"),
        ("points/cd", "objective.sampler={kind: renoise, times: {2: [0.999]}}", "knows no time between t_max=0.987"),
        (
            "points/cd",
            "objective.sampler={kind: renoise, times: {4: [0.5, 0.2]}}",
            "4 steps have 3 times between 1 and 0",
        ),
        ("points/cd", "objective.sampler={kind: renoise, times: {4: [0.5, 0.2, 0.3]}}", "re-noising times must fall"),
        ("points/ctm", "objective.sampler={kind: gamma, gamma: 1.5}", "objective.sampler.gamma"),
        ("points/meanflow", "objective.sampler={kind: ddim}", "objective.sampler.kind: 'ddim' is not one of"),
    ],
)
def test_grid_beyond_the_span_is_taken(name: str, override: str, message: str) -> None:
    said = refusal(override, name=name)
    assert said.startswith(f"{name}: ")
    assert message in said


def test_grid_within_the_span_is_refused() -> None:
    """Negative control."""
    assert load_recipe("points/shortcut", ["run.sample_steps=[1, 2, 64, 128]"])
    assert load_recipe("points/ctm", ["objective.sampler={kind: gamma, gamma: 0.5, times: {2: [0.4]}}"])
    assert load_recipe("points/ct", ["run.sample_steps=[1, 3, 5]"])
