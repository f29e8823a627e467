"""What the networks have in common: a body, and the last layers that read its features."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn


class Network(nn.Module):
    """A network of z, two times and a condition.

    The last layers stand apart because a second set of them, a `Head`, may read the same features.
    """

    LAST: ClassVar[tuple[str, ...]]
    """Names of the layers that `read` uses, all zero at initialisation where they decide the output."""

    @abstractmethod
    def body(
        self,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """z [B, ...], the rest as `Conditioning` takes it -> features, and the conditioning vector [B, W]."""

    @abstractmethod
    def read(self, last: Any, features: Tensor, condition: Tensor, z: Tensor) -> Tensor:
        """The output [B, ...] that the layers of `last`, the network itself or a head, make of the features."""

    def forward(
        self,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> Tensor:
        """z [B, ...], the rest as `Conditioning` takes it -> [B, ...]."""
        features, condition = self.body(z, t, s, label, guidance, augment)
        return self.read(self, features, condition, z)

    def both(
        self,
        head: Head,
        z: Tensor,
        t: Tensor,
        s: Tensor,
        label: Tensor,
        guidance: Tensor | None = None,
        augment: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and what the head makes of the same features, each [B, ...]."""
        features, condition = self.body(z, t, s, label, guidance, augment)
        return self.read(self, features, condition, z), self.read(head, features, condition, z)


class Head(nn.Module):
    """A second set of a network's last layers, as they are now; no part of the network, and so not exported."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        for name in net.LAST:
            self.add_module(name, copy.deepcopy(getattr(net, name)))
