"""Every key that a fleet has in Redis, by name.

All of a fleet's keys have one hash tag, so they lie in one slot of a Redis Cluster and a script may touch several. A
load too great for one node is split by bundles: each group of bundles in a fleet of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from server.jobs import Priority

GROUP = "workers"
"""The consumer group of every work stream."""

OTHER: dict[Priority, Priority] = {"interactive": "batch", "batch": "interactive"}

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class Keys:
    """The keys of one fleet. ValueError for a name that could not stand in a key."""

    fleet: str = "default"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.fleet):
            raise ValueError(
                f"--fleet {self.fleet[:80]!r}: a fleet's name has 1 to 64 letters, digits, '_', '.' or '-'"
            )

    @property
    def epoch(self) -> str:
        """String: what this memory of Redis calls itself. Another one, or none: it has lost what it held."""
        return self.named("epoch")

    @property
    def agents(self) -> str:
        """Hash: `AGENT/FINGERPRINT` -> what the agent announced (`server.fleet.roster`)."""
        return self.named("agents")

    @property
    def until(self) -> str:
        """Sorted set: `AGENT/FINGERPRINT` by the millisecond until which the announcement holds."""
        return self.named("until")

    @property
    def dead(self) -> str:
        """Stream: the latest jobs that were given up, with the reason."""
        return self.named("dead")

    def work(self, fingerprint: str, priority: Priority) -> str:
        """Stream: the jobs of one engine and class that are not over, waiting or with an agent."""
        return self.named("work", fingerprint, priority)

    def load(self, fingerprint: str) -> str:
        """Hash: what the entries of both classes ask for together: interactive, batch (row-steps), bytes."""
        return self.named("load", fingerprint)

    def model(self, fingerprint: str) -> str:
        """String: the manifest of an engine that is served."""
        return self.named("model", fingerprint)

    def reply(self, api: str) -> str:
        """Stream: the answers for one API process, deleted as it reads them."""
        return self.named("reply", api)

    def control(self, agent: str) -> str:
        """Stream: the entries that an agent holds and nobody waits for any more, each by its stream and its id."""
        return self.named("control", agent)

    def queue(self, fingerprint: str, priority: Priority) -> tuple[str, str, str]:
        """The keys that scripts about one entry take: its stream, the other class's, and their load."""
        return (
            self.work(fingerprint, priority),
            self.work(fingerprint, OTHER[priority]),
            self.load(fingerprint),
        )

    @property
    def windows(self) -> tuple[str, str]:
        """Hash: client -> its requests in the windows of `--rate`; sorted set: clients by their last one."""
        return self.named("rate"), self.named("rate", "used")

    @property
    def errands(self) -> tuple[str, str, str, str]:
        """Hash: what is known of errands (`scripts/errand_add.lua`); sorted sets: those that are not over by the
        millisecond from which they may be taken, the others by that until which they are kept, messages by when they
        are due."""
        open_, over, due = (self.named("errands", what) for what in ("open", "over", "due"))
        return self.named("errands"), open_, over, due

    def shelf(self, name: str) -> tuple[str, str]:
        """Hash: values of one kind; sorted set: their names by the millisecond until which each is kept."""
        return self.named("shelf", name), self.named("shelf", name, "until")

    def named(self, *parts: str) -> str:
        """A key of this fleet."""
        return ":".join((f"{{longjump:{self.fleet}}}", *parts))
