"""Results for people and programs: a table, a section of a model card, a bundle's `quality`."""

from __future__ import annotations

from typing import Any

from models.card_section import HEADING, with_evaluation

COLUMNS = {
    "fid": "FID",
    "fd_enetlite0": "fd_enetlite0",
    "kid_enetlite0": "kid_enetlite0",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "class_accuracy": "right class",
    "copying": "nearer than fresh",
}
"""Figure -> the head of its column."""

KEPT = ("fid", "fd_enetlite0", "kid_enetlite0", "precision", "recall", "density", "coverage", "class_accuracy")
"""Figures that a manifest has for each step count, as far as they were measured."""


def rows(results: dict[str, Any]) -> list[list[str]]:
    """The table: a head, a line for each step count, and the floor."""
    lines = {**results["steps"], "real": results["floor"]}
    there = [name for name in COLUMNS if any(name in line for line in lines.values())]
    table = [["steps", *(COLUMNS[name] for name in there)]]
    for title, line in lines.items():
        table.append([title, *(_cell(name, line) for name in there)])
    return table


def terminal(results: dict[str, Any]) -> str:
    """The results for a terminal."""
    table = rows(results)
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in table]
    return "\n".join([about(results), "", *lines, "", *remarks(results)])


def section(results: dict[str, Any]) -> str:
    """The results as a section of a model card."""
    head, *body = rows(results)
    lines = [f"| {' | '.join(line)} |" for line in (head, ["---:"] * len(head), *body)]
    made = results["made"]
    return "\n".join(
        [
            HEADING,
            "",
            about(results),
            "",
            *lines,
            "",
            *(f"- {line}" for line in remarks(results)),
            f"- `neighbours.png`: samples at {next(iter(results['steps']))} step(s), and right of each the training "
            "pictures nearest to it; the left half has the first seeds, the right half the samples nearest to any",
            f"- measured on {made['date']} by `longjump eval` of longjump {made['longjump']}, torch {made['torch']} "
            f"({made['device']}); everything is in `evaluation.json`",
            "",
        ]
    )


def about(results: dict[str, Any]) -> str:
    """What was measured against what, in a sentence."""
    model, settings = results["model"], results["settings"]
    height, width = settings["resolution"]
    which = (
        f"bundle {model['digest'][:19]}, {model['engine']} {model['precision']}"
        if model["kind"] == "bundle"
        else f"weights {model['weights']}, SHA-256 {model['sha256'][:12]}"
    )
    scale = "" if settings["guidance"] is None else f", guidance {settings['guidance']:g}"
    data, reference = settings["data"], settings["reference"]
    return (
        f"{model['name']} ({which}): for each step count {settings['samples']:,} samples of {height}x{width}, seeds "
        f"{settings['seeds'][0]} to {settings['seeds'][1]}{scale}, against the {reference['pictures']:,} pictures of "
        f"the {reference['split']} split of {data['name']} (SHA-256 {data['sha256'][:12]})."
    )


def remarks(results: dict[str, Any]) -> list[str]:
    """What a reader must know of the figures."""
    settings, floor = results["settings"], results["floor"]
    lines = [
        results["note"],
        f"real: {settings['floor']}, as good as a model can be at that number"
        + ("; their right class is that of the test split" if "class_accuracy" in floor else ""),
    ]
    if floor["samples"] < settings["samples"]:
        lines.append(f"only {floor['samples']:,} real pictures are there for the floor: at more it would be lower")
    if settings["training"]["trained_on"] is False:
        lines.append(
            "the model was trained on another data set (by its hash): copies of what only that one has are not seen"
        )
    if settings["training"]["trained_on"] is None:
        lines.append("the model does not say what it was trained on: copies are seen if it was this data set only")
    for steps, found in results["steps"].items():
        copying = found["copying"]
        lines.append(
            f"copies at {steps}: a sample is nearer to a training picture than one of the test split is with a chance "
            f"of {copying['nearer']:.1%} (new pictures: 50 %); {copying['close']:.1%} of samples are as near as the "
            f"nearest 1 % of the test split, which are {copying['close_fresh']:.1%} of it"
        )
        if "worst_class" in found:
            lines.append(f"worst class at {steps}: {found['worst_class']}, {found['worst_class_accuracy']:.1%} right")
    return lines


def with_section(card: str, results: dict[str, Any]) -> str:
    """A model card with these results in the place of earlier ones, or at its end."""
    return with_evaluation(card, section(results))


def quality(results: dict[str, Any]) -> dict[str, Any]:
    """The field `quality` of a manifest: figures by step count, the floor, and the settings."""
    model = results["model"]
    return {
        "note": results["note"],
        "settings": {
            **results["settings"],
            "engine": model.get("engine"),
            "precision": model.get("precision"),
            "made": results["made"],
        },
        "floor": results["floor"],
        "steps": {
            steps: {name: found[name] for name in KEPT if name in found} for steps, found in results["steps"].items()
        },
    }


def _cell(name: str, line: dict[str, Any]) -> str:
    value = line.get(name)
    if value is None:
        return "-"
    if name == "copying":
        return f"{value['nearer']:.1%}"
    return (
        f"{value:.1%}"
        if name == "class_accuracy"
        else f"{value:.4g}"
        if name.startswith(("fd", "fid", "kid"))
        else f"{value:.3f}"
    )
