"""README.md of a run directory: what lies here, what made it, and what may be done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.checkpoint import CheckpointConfig
from trainer.card import figures
from trainer.score import best_of

FILES = {
    "recipe.yaml": "the whole resolved recipe; `longjump train` takes it again",
    "log.jsonl": "a row of figures every `run.log_every` steps, as JSON",
    "step-NNNNNNNN/": "a checkpoint: weights, averaged weights, the state to go on from, samples, curves, a model card",
    "best": "a link to the checkpoint with the least energy distance to held-out data (`run.score`)",
    "tensorboard/": "the log and the samples for TensorBoard (`--track tensorboard`)",
    "wandb/, wandb-id": "the same for Weights & Biases (`--track wandb`)",
}


def run_readme(
    config: CheckpointConfig, out: Path, rows: list[dict[str, Any]], command: str | None, saved: Path | None
) -> str:
    """The text.

    Args:
        config: what the run's checkpoints say.
        out: the run directory, as it was given.
        rows: its log so far.
        command: the words that started this process, where it was a command.
        saved: the newest checkpoint.
    """
    steps, data = config.recipe["run"]["steps"], config.data.get("name", "data")
    best = best_of(rows)
    done = rows[-1]["step"] if saved is not None and rows else 0
    lines = [
        f"# {out.name}: {config.method} on {data}",
        "",
        f"A training run of longjump: {config.architecture.network}, {steps:,} steps of batch "
        f"{config.recipe['run']['batch']}. " + (f"{done:,} steps are saved." if done else "Nothing is saved yet."),
        "",
        "| here | what it is |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in _files(out, best is not None)),
        "",
        *(["Started by:", "", f"    {command}", ""] if command else []),
        "To go on after an interruption, the same command with `--resume`: the steps since the last checkpoint are",
        "done again, and the result is that of an uninterrupted run (bit for bit on a CPU).",
        "",
        *(_export(out, config, best is not None) if saved else []),
        f"To watch it: `tail -f {out / 'log.jsonl'}`, `{out}/step-*/samples.png`, `curves.png`; with",
        f"`--track tensorboard`: `tensorboard --logdir {out}`.",
        "",
    ]
    if rows:
        lines += [f"Last figures: {figures(rows[-1])}.", ""]
    if best is not None:
        score = best["score"]
        lines += [
            f"Best checkpoint: step {best['step']:,}, energy distance {score['energy_distance']:.4g} of "
            f"{score['samples']} samples at {score['steps']} step{'s' * (score['steps'] > 1)} to held-out data "
            f"(real to real {score['floor']:.4g}).",
            "The distance is between pixels or coordinates; it is no FID, and the loss measures no quality at all.",
            "",
        ]
    return "\n".join(lines)


def _files(out: Path, best: bool) -> list[tuple[str, str]]:
    """Those of FILES that this run has, or will have."""
    there = {
        "best": best,
        "tensorboard/": (out / "tensorboard").is_dir(),
        "wandb/, wandb-id": (out / "wandb-id").is_file(),
    }
    return [(name, what) for name, what in FILES.items() if there.get(name, True)]


def _export(out: Path, config: CheckpointConfig, best: bool) -> list[str]:
    decoded = " --autoencoder FOLDER" if config.data.get("latents") else ""
    lines = [f"    longjump export {out}{decoded} --out BUNDLE          # the newest checkpoint"]
    lines += [f"    longjump export {out}/best{decoded} --out BUNDLE     # the best one"] if best else []
    return ["To compile what is here, and serve it:", "", *lines, "    longjump serve BUNDLE", ""]
