"""Classifier-free guidance by two evaluations, for a flow map that was trained with and without labels.

Ho & Salimans (arXiv 2207.12598), at the effective scale: v = v(no label) + guidance * (v(label) - v(no label)), so that
1 is the plain conditional model. Only a velocity may be combined so: an average velocity of the guided flow is not the
combination of average velocities, which is why the methods of longer jumps learn guidance as an input.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.flow_map import FlowMap, per_sample


class Guided(FlowMap):
    """A flow map of span `velocity` that takes a guidance scale for each sample and evaluates its network twice.

    Args:
        flow_map: one whose network takes no guidance; the network is shared.
        null_label: the label that stands for none.

    Raises:
        ValueError: a flow map of another span.
    """

    def __init__(self, flow_map: FlowMap, null_label: int) -> None:
        if flow_map.span != "velocity":
            raise ValueError(
                f"guidance by two evaluations is for models of span velocity, and this one's is {flow_map.span}: its "
                "jumps cannot be combined; train it with a guidance input"
            )
        super().__init__(flow_map.net, flow_map.parametrisation, flow_map.span, flow_map.sigma_data, flow_map.t_max)
        self.null_label = null_label

    def jump(self, z: Tensor, t: Tensor, s: Tensor, label: Tensor, guidance: Tensor | None = None) -> Tensor:
        """As FlowMap.jump, with guidance [B]. Both evaluations are one batch of 2 B.

        A jump is affine in its velocity, so combining the jumps combines the velocities.
        """
        if guidance is None:
            raise ValueError("a guided flow map needs the scale of each sample")
        z2, t2, s2 = (torch.cat([each, each]) for each in (z, t, s))
        labels = torch.cat([label, torch.full_like(label, self.null_label)])
        moved = super().jump(z2, t2, s2, labels)
        with_label, without = moved[: z.shape[0]], moved[z.shape[0] :]
        return without + per_sample(guidance, z) * (with_label - without)
