"""Optimisers over a model's parameters, as one object whatever their number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.muon import SingleMuon
from trainer.recipe import Optimiser

HIDDEN = (".blocks.", ".resample.")
"""In the names of the weights between a DiT's or a U-Net's first and last layer."""


class Optimisers:
    """AdamW or RAdam on all parameters of a model and its companion, or Muon on the matrices inside the blocks.

    AdamW then moves the rest.

    A U-Net holds the kernel of a convolution as the matrix [outputs, inputs * kernel * kernel], which is how Muon's
    author (Jordan, 2024) orthogonalises it.

    Raises:
        ValueError: Muon is asked for, and the model has no blocks.
    """

    def __init__(self, model: nn.Module, settings: Optimiser, companion: nn.Module | None = None) -> None:
        self.settings = settings
        matrices = [
            (name, value)
            for name, value in model.named_parameters()
            # Muon is for hidden matrices: not embeddings, not the last layer, not adaLN's zero-initialised ones.
            if settings.name == "muon"
            and value.dim() == 2
            and any(part in name for part in HIDDEN)
            and "modulation" not in name
        ]
        if settings.name == "muon" and not matrices:
            raise ValueError("optimiser.name muon is for a network with blocks (dit, unet); use adamw with this one")
        chosen = {name for name, _ in matrices}
        rest = [(name, value) for name, value in model.named_parameters() if name not in chosen]
        if companion is not None:
            rest += [(f"companion.{name}", value) for name, value in companion.named_parameters()]
        decay = settings.weight_decay
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.RAdam(
                rest, lr=settings.lr, betas=settings.betas, weight_decay=decay, decoupled_weight_decay=True
            )
            if settings.name == "radam"
            else torch.optim.AdamW(rest, lr=settings.lr, betas=settings.betas, weight_decay=decay)
        ]
        if matrices:
            on_cpu = matrices[0][1].device.type == "cpu"
            self.parts.append(
                SingleMuon(matrices, lr=settings.lr, weight_decay=decay)
                if on_cpu
                else torch.optim.Muon(matrices, lr=settings.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            )
        self.parameters = [value for _, value in rest + matrices]
        self.others: list[torch.optim.Optimizer] = []
        """Those that others step, whose state is kept with these."""

    def step(self, rate: float) -> Tensor:
        """Clip the gradients, move the weights, clear the gradients.

        Args:
            rate: learning rate of this step.

        Returns:
            Norm of the whole gradient before clipping, a scalar. Where it is not finite nothing moves.
        """
        norm = torch.nn.utils.get_total_norm([each.grad for each in self.parameters if each.grad is not None])
        if self.settings.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.settings.clip, norm)
        if torch.isfinite(norm):
            for part in self.parts:
                for group in part.param_groups:
                    group["lr"] = rate
                part.step()
        for part in self.parts:
            part.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state as PART/PARAMETER-INDEX/KEY; the rate and the like come from the recipe."""
        return {
            f"{number}/{index}/{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for number, part in enumerate([*self.parts, *self.others])
            for index, values in part.state_dict()["state"].items()
            for key, value in values.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        parts = [*self.parts, *self.others]
        found: list[dict[int, dict[str, Any]]] = [{} for _ in parts]
        for name, value in state.items():
            number, index, key = name.split("/")
            found[int(number)].setdefault(int(index), {})[key] = value
        for part, values in zip(parts, found, strict=True):
            part.load_state_dict({**part.state_dict(), "state": values})
