"""What a run leaves on disk: OUT/README.md, recipe.yaml, log.jsonl, step-*/ (the checkpoints), best (a link to one).

A checkpoint comes and goes by one rename, so it is whole or absent; older ones go only after the newer is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from models.checkpoint import CheckpointConfig, find_checkpoint, read_config, read_weights, write_weights
from models.flow_map import FlowMap
from trainer.ema import PowerEMA
from trainer.optimiser import Optimisers
from trainer.score import best_of


class RunDirectory:
    """The folder of one training run.

    Args:
        path: the folder.
        keep: how many checkpoints stay, beside the best.
        writes: whether this process may change it; of several one does.
    """

    def __init__(self, path: Path, keep: int, writes: bool = True) -> None:
        self.path, self.keep, self.writes = path, keep, writes

    def start(self, recipe: Mapping[str, Any]) -> None:
        """Make the folder and write the resolved recipe.

        Raises:
            FileExistsError: it is not empty.
            OSError: it cannot be made.
        """
        if self.path.exists() and any(self.path.iterdir()):
            raise FileExistsError(
                f"{self.path} is not empty; give another --out, or --resume to go on with the run in it"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"{self.path} cannot be made ({error.strerror}); give another --out") from error
        self.write_recipe(recipe)

    def write_recipe(self, recipe: Mapping[str, Any]) -> None:
        """Write recipe.yaml, which `longjump train` takes again."""
        replace_text(self.path / "recipe.yaml", yaml.safe_dump(dict(recipe), sort_keys=False))

    def write_readme(self, text: str) -> None:
        """Write README.md, which tells a person what lies here."""
        replace_text(self.path / "README.md", text)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to log.jsonl. Raises OSError."""
        with (self.path / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """The log so far; a line cut short by a crash is left out."""
        rows = []
        file = self.path / "log.jsonl"
        for line in file.read_text().splitlines() if file.exists() else []:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return rows

    def save(
        self,
        config: CheckpointConfig,
        flow_map: FlowMap,
        emas: list[PowerEMA],
        optimisers: Optimisers,
        beside: Mapping[str, nn.Module],
        extras: Mapping[str, bytes],
    ) -> Path:
        """Write the checkpoint of `config.step`, then remove all but the newest `keep` and the best.

        Args:
            beside: what else has weights that move (`trainer.training.Training.beside`).
            extras: more files of the folder by name: samples.png, curves.png, README.md, metrics.json.

        Returns:
            Its folder.

        Raises:
            OSError: the disk is full, say; nothing half-written is left and the last checkpoint stays.
        """
        final = self.path / f"step-{config.step:08d}"
        partial = self.path / f".{final.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            (partial / "resume").mkdir(parents=True)
            write_weights(partial, "model", flow_map.state_dict())
            for ema in emas:
                write_weights(partial, f"ema-{ema.name}", ema.state)
            write_weights(partial / "resume", "state", optimisers.state())
            for name, module in beside.items():
                write_weights(partial / "resume", name, module.state_dict())
            for name, content in extras.items():
                (partial / name).write_bytes(content)
            (partial / "config.json").write_text(config.model_dump_json(indent=2) + "\n", "utf-8")
            for file in (*partial.rglob("*"), partial):
                _sync(file)
            partial.rename(final)
            _sync(self.path)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise OSError(
                f"the checkpoint {final} could not be written ({error}); those before it are intact"
            ) from error
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self.mark_best()
        self._remove_old()
        return final

    def _remove_old(self) -> None:
        """Remove all checkpoints but the newest `keep` and the best."""
        best = self.best()
        for old in sorted(self.path.glob("step-*"))[: -self.keep]:
            if old != best:
                _remove(old)

    def mark_best(self) -> None:
        """Let `best` lead to the checkpoint with the best score in the log; without a score it stays as it is."""
        row = best_of([row for row in self.rows() if (self.path / f"step-{row['step']:08d}").is_dir()])
        if row is None:
            return
        name, link = f"step-{row['step']:08d}", self.path / "best"
        if link.is_symlink() and os.readlink(link) == name:
            return
        partial = self.path / ".best.partial"
        partial.unlink(missing_ok=True)
        partial.symlink_to(name)  # relative, so that the run may be moved
        partial.replace(link)
        _sync(self.path)

    def best(self) -> Path | None:
        """Folder of the best checkpoint, where one is marked."""
        link = self.path / "best"
        return self.path / os.readlink(link) if link.is_symlink() and link.is_dir() else None

    def restore(
        self,
        config: CheckpointConfig,
        flow_map: FlowMap,
        emas: list[PowerEMA],
        optimisers: Optimisers,
        beside: Mapping[str, nn.Module],
    ) -> int:
        """Load the newest checkpoint into the given parts, and drop from the run what came after it.

        Args:
            config: what this run would save; the recipe's lengths and rates may differ from the checkpoint's.

        Returns:
            The checkpoint's step; 0, with the parts as they are, where a run ended before its first checkpoint.

        Raises:
            FileNotFoundError: there is no run.
            ValueError: the run is another one (its data, model, method, ...), the path is a checkpoint's, or a file is
                damaged.
        """
        if (self.path / "config.json").is_file():
            raise ValueError(f"{self.path} is a checkpoint; --resume takes its run, --out {self.path.parent}")
        if self.writes:
            for leftover in self.path.glob(".step-*"):  # of a run that was killed while it saved
                _remove(leftover)
            for leftover in self.path.glob(".*.partial"):
                leftover.unlink(missing_ok=True)
        started = (self.path / "recipe.yaml").is_file()
        if started and not any(self.path.glob("step-*")):
            step = 0
        else:
            step = self._load(config, flow_map, emas, optimisers, beside)
        if not self.writes:
            return step
        kept = [row for row in self.rows() if row["step"] <= step]
        replace_text(self.path / "log.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
        self.write_recipe(config.recipe)
        self.mark_best()
        self._remove_old()  # killed between its last save and this, a run that is done would keep too many
        return step

    def _load(
        self,
        config: CheckpointConfig,
        flow_map: FlowMap,
        emas: list[PowerEMA],
        optimisers: Optimisers,
        beside: Mapping[str, nn.Module],
    ) -> int:
        folder = self.newest()
        found = read_config(folder)
        check_same_run(folder, found, config)
        device = str(next(flow_map.parameters()).device)
        state = read_weights(folder / "resume" / "state.safetensors")
        try:
            flow_map.load_state_dict(read_weights(folder / "model.safetensors", device))
            for ema in emas:
                ema.state = read_weights(folder / f"ema-{ema.name}.safetensors", device)
            optimisers.load(state)
            for name, module in beside.items():
                module.load_state_dict(read_weights(folder / "resume" / f"{name}.safetensors", device))
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]  # torch names every weight, a line each
            raise ValueError(f"{folder}: its files do not belong together ({reason})") from None
        return found.step

    def newest(self) -> Path:
        """Folder of the newest checkpoint. Raises FileNotFoundError where there is none."""
        return find_checkpoint(self.path)


def check_same_run(folder: Path, found: CheckpointConfig, now: CheckpointConfig) -> None:
    """Raise ValueError unless a checkpoint can be gone on with as `now` says."""
    pairs = {
        "data": (found.data.get("sha256"), now.data.get("sha256")),
        "classes": (", ".join(found.labels), ", ".join(now.labels)),
        "model": (found.architecture, now.architecture),
        "data.augment": (f"{found.augment} labels", f"{now.augment} labels"),
        "objective.guidance": (_told(found), _told(now)),
        "objective.method": (found.method, now.method),
        "--teacher": (_lent(found, "teacher"), _lent(now, "teacher")),
        "--weak-teacher": (_lent(found, "weak_teacher"), _lent(now, "weak_teacher")),
        "--init": (_lent(found, "init"), _lent(now, "init")),
        "objective.adversary": (_judged(found), _judged(now)),
        "optimiser.name": (found.recipe["optimiser"]["name"], now.recipe["optimiser"]["name"]),
        "run.ema": (", ".join(found.emas), ", ".join(now.emas)),
    }
    if "test" not in now.data.get("counts", {}):  # then the score decides what is trained on
        pairs["run.score"] = (str(found.recipe["run"].get("score", 0)), str(now.recipe["run"]["score"]))
    for key, (before, after) in pairs.items():
        if before != after:
            raise ValueError(
                f"{folder} cannot be resumed: {key} was [{before}] and is [{after}] now; keep it, or give another --out"
            )


def _told(config: CheckpointConfig) -> str:
    return "no input of the network" if config.guidance is None else "an input of the network"


def _judged(config: CheckpointConfig) -> str:
    return "on" if config.recipe["objective"].get("adversary") else "off"


def _lent(config: CheckpointConfig, role: str) -> str:
    origin = config.origin.get(role)
    if origin is None:
        return "none"
    return f"{origin['method']} after {origin['step']} steps, weights {origin['weights']} {origin['sha256'][:12]}"


def replace_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old or the new one, whole."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that the rename that follows never outruns its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(folder: Path) -> None:
    """Delete a checkpoint; killed half-way, what is left is hidden and goes with the next resume."""
    hidden = folder if folder.name.startswith(".") else folder.with_name(f".{folder.name}.old")
    with contextlib.suppress(OSError):
        folder.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
