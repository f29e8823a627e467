"""What a checkpoint shows a person: README.md, samples.png, curves.png, metrics.json."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.runtime.grids import Step
from export.runtime.images import encode, tile
from models.checkpoint import CheckpointConfig
from models.flow_map import FlowMap
from trainer.objectives import methods
from trainer.sampling import draw, to_images

SAMPLES_FILE = "samples.png"
COLUMNS = 12  # samples per class in the grid
ROWS = 20  # classes in the grid, at most: the first ones

ORIGINS = {
    "teacher": "distilled from",
    "weak_teacher": "autoguidance led away from",
    "init": "began with the weights of",
}


def checkpoint_files(config: CheckpointConfig, flow_map: FlowMap, log: list[dict[str, Any]]) -> dict[str, bytes]:
    """The files by name. `flow_map` has its averaged weights; seeds are 0, 1, 2, ...: nothing is picked."""
    last = log[-1] if log else {}
    return {
        SAMPLES_FILE: samples_of(config, flow_map),
        "curves.png": curves(log),
        "metrics.json": (json.dumps(last, indent=2) + "\n").encode(),
        "README.md": card(config, last).encode(),
    }


def steps_shown(config: CheckpointConfig) -> list[int]:
    """The fewest steps, 1, 2, 4 say; of a velocity, which one step takes to the mean, few, some and the most."""
    counts = sorted(map(int, config.grids))
    if config.span == "velocity" and len(counts) > 3:
        return [counts[0], counts[len(counts) // 2], counts[-1]]
    return counts[:3]


def grid_of(config: CheckpointConfig, steps: int) -> tuple[Step, ...]:
    """The checkpoint's own grid of that many steps."""
    return tuple(Step(*jump) for jump in config.grids[str(steps)])


def samples_of(config: CheckpointConfig, flow_map: FlowMap) -> bytes:
    """samples.png, by the checkpoint's own grids."""
    return (samples_image if config.kind == "image" else samples_plot)(config, flow_map)


def samples_image(config: CheckpointConfig, flow_map: FlowMap) -> bytes:
    """A PNG: a row per class (8 without classes), the same noise at several step counts side by side."""
    rows = min(len(config.labels), ROWS) or 8
    guidance = config.guidance.default if config.guidance else None
    labels = [row if config.labels else 0 for row in range(rows) for _ in range(COLUMNS)]
    panels: list[NDArray[np.uint8]] = []
    for steps in steps_shown(config):
        images = to_images(draw(flow_map, config.shape, grid_of(config, steps), labels, guidance=guidance))
        panels += [tile(images, columns=COLUMNS), np.full((rows * images.shape[1], 8, 3), 255, np.uint8)]
    return encode(np.concatenate(panels[:-1], axis=1), "png")


def samples_plot(config: CheckpointConfig, flow_map: FlowMap) -> bytes:
    """A PNG: histograms (one dimension) or scatter plots (the first two) at several step counts."""
    counts = steps_shown(config)
    figure, axes = _figure(len(counts))
    labels = np.arange(2000) % max(1, len(config.labels))
    guidance = config.guidance.default if config.guidance else None
    for axis, steps in zip(axes, counts, strict=True):
        points = draw(flow_map, config.shape, grid_of(config, steps), labels.tolist(), guidance=guidance)
        points = np.nan_to_num(points.astype(float)).clip(-1e6, 1e6)  # of divergence the next step's loss tells better
        if points.shape[1] == 1:
            axis.hist(points[:, 0], bins=80, density=True)
        else:
            axis.scatter(points[:, 0], points[:, 1], s=2, c=labels, cmap="tab10")
            axis.set_aspect("equal")
        axis.set_title(f"{steps} step" + "s" * (steps > 1))
    return _png(figure)


def curves(log: list[dict[str, Any]]) -> bytes:
    """A PNG of the raw (unweighted) terms, the gradient's norm and the score over the steps."""
    log = [numbers_of(row) for row in log]
    shown = ("derivative", "gradient", "score/energy_distance")
    names = sorted({name for row in log for name in row if name.startswith("loss/") or name in shown})
    figure, axes = _figure(max(1, len(names)))
    for axis, name in zip(axes, names, strict=False):
        points = [(row["step"], row[name]) for row in log if row.get(name, 0) > 0]  # the scale is logarithmic
        axis.plot([step for step, _ in points], [value for _, value in points], linewidth=1)
        if name == "score/energy_distance":
            axis.axhline(log[-1].get("score/floor", points[-1][1] if points else 1), linewidth=1, linestyle=":")
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.set_yscale("log" if points else "linear")
        axis.grid(alpha=0.3)
    return _png(figure)


def card(config: CheckpointConfig, last: dict[str, Any]) -> str:
    """The model card."""
    data = config.data
    one_step = config.span != "velocity"
    objective = methods()[config.method].model_validate(config.recipe["objective"])
    guided = objective.guided if objective.guides_by(config.step) else None
    told = f", an input; {config.guidance.default:g} by default and in the pictures" if config.guidance else ""
    use = "One network evaluation makes a sample; more may refine it." if one_step else "Many steps make a sample."
    lines = [
        f"# {data.get('name', 'data')}: {config.method}",
        "",
        f"A flow map trained with longjump by {config.method} for {config.step:,} steps of batch "
        f"{config.recipe['run']['batch']}. {use}",
        "",
        f"- z: {' x '.join(map(str, config.shape))} ({config.kind}); span `{config.span}`; "
        f"{config.architecture.network}, parametrisation `{config.architecture.parametrisation}`",
        f"- classes ({len(config.labels)}): {', '.join(config.labels) or 'none'}",
        f"- data: {data.get('name')}, {_training_samples(data)}, "
        f"licence {data.get('licence', 'unknown')}, SHA-256 {data.get('sha256')}",
        *_latents(data),
        *_origins(config.origin),
        *_repeats(data),
        f"- averaged weights: {', '.join(config.emas)} (shares of the run's length); the first is the default",
        *([f"- guidance in the training target, effective scale {guided or 1}{told}"] if guided or told else []),
        *_score(last.get("score")),
        "",
        f"`samples.png`: {_listed(steps_shown(config))} from the same noise, seeds 0, 1, 2, ... in order, none picked. "
        "`curves.png`: raw loss terms; a MeanFlow loss is not a measure of quality. "
        "The whole recipe is in `config.json` (of a checkpoint) or `recipe.yaml` (of a bundle).",
        "",
        f"Last logged: {figures(last)}",
    ]
    credits = data.get("credits")
    if isinstance(credits, dict) and credits:  # data.json is the user's to write
        lines += ["", "## Credits", "", "| class | title | by | licence |", "|---|---|---|---|"]
        lines += [f"| {name} | {' | '.join(_credit(entry))} |" for name, entry in credits.items()]
    return "\n".join(lines) + "\n"


def numbers_of(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row of the log by name, those of its groups as GROUP/NAME."""
    flat = {name: value for name, value in row.items() if isinstance(value, int | float)}
    groups = {name: value for name, value in row.items() if isinstance(value, dict)}
    return flat | {
        f"{group}/{name}": value for group, inner in groups.items() for name, value in numbers_of(inner).items()
    }


def figures(row: dict[str, Any]) -> str:
    """A row of the log for people, without its score: step 580, lr 0.0015, ..."""
    return ", ".join(
        f"memory {value / 2**30:.2f} GiB"
        if name == "memory"
        else f"{name.replace('per_second', 'samples per second')} {_number(value)}"
        for name, value in row.items()
        if isinstance(value, int | float)
    )


def _score(score: dict[str, Any] | None) -> list[str]:
    """A line on the score, with what it is not."""
    if not score:
        return []
    count, first = score["samples"], score["seed"]
    return [
        f"- held-out data: energy distance {score['energy_distance']:.4g} between {count} samples ({score['steps']} "
        f"step{'s' * (score['steps'] > 1)}, seeds {first} to {first + count - 1}) and {count} real ones; two sets of "
        f"{count} real ones are {score['floor']:.4g} apart. It is taken between pixels (of points: coordinates), so it "
        "is no FID; it only tells the checkpoints of this run apart"
    ]


def _training_samples(data: dict[str, Any]) -> str:
    """How many were trained on, and how many of the split were not, where the score has taken a part of it."""
    count, held_out = data.get("counts", {}).get("train"), data.get("held_out", 0)
    if count is None or not held_out:
        return f"{'?' if count is None else count} training samples"
    return f"{count - held_out} training samples ({held_out} more were held out for the score)"


def _origins(origin: dict[str, dict[str, Any]], indent: str = "") -> list[str]:
    """A line on each checkpoint that it took something from, and on what that one was trained on and came from."""
    lines = []
    for role, words in ORIGINS.items():
        if role not in origin:
            continue
        lent = origin[role]
        data = lent.get("data", {})
        lines.append(
            f"{indent}- {words} a model by {lent['method']} (step {lent['step']:,}, weights {lent['weights']}, SHA-256 "
            f"{lent['sha256']}) that was trained on {data.get('name', 'unknown data')}, licence "
            f"{data.get('licence', 'unknown')}" + (f", guided by {lent['guided']}" if "guided" in lent else "")
        )
        lines += _origins(lent.get("origin", {}), indent + "  ")
    return lines


def _latents(data: dict[str, Any]) -> list[str]:
    """A line on what z is, for latents."""
    latents = data.get("latents")
    if not isinstance(latents, dict):
        return []
    made = f" of {latents['autoencoder']}" if latents.get("autoencoder") else ""
    return [
        f"- z is latents{made}: {latents.get('rule')}, mean {latents.get('mean')}, scale {latents.get('scale')}; "
        "`samples.png` shows three of their channels as colours, not decoded"
    ]


def _repeats(data: dict[str, Any]) -> list[str]:
    """A line on the classes whose pictures repeat, for a data set that counts its distinct ones."""
    distinct, counts = data.get("distinct"), data.get("counts")
    if not isinstance(distinct, dict) or not isinstance(counts, dict):
        return []
    again = {name: count for name, count in distinct.get("test_also_in_train", {}).items() if count}
    if not again:
        return []
    each = ", ".join(f"{name} {count} of {distinct['test'][name]}" for name, count in again.items())
    return [f"- distinct test pictures that also occur in training, because the class has so few: {each}"]


def _credit(entry: Any) -> tuple[str, str, str]:
    if not isinstance(entry, dict):
        return str(entry), "", ""
    return str(entry.get("title", "")), str(entry.get("creator", "")), str(entry.get("licence", ""))


def _listed(steps: list[int]) -> str:
    *most, last = map(str, steps)
    return f"{', '.join(most)} and {last} steps" if most else f"{last} step" + "s" * (last != "1")


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _figure(panels: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure  # a second of import that only saving pays

    figure = Figure(figsize=(4 * panels, 3), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
