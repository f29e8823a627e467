"""The scripts that Redis runs for us: whatever must happen whole or not at all is one of them (`scripts/*.lua`).

Each says in its head which keys and arguments it takes and what it gives. All keys are passed, and all lie in one slot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

Argument = str | bytes | int | float
Command = tuple[Argument, ...]

_FOLDER = Path(__file__).with_name("scripts")
_LEDGER = (_FOLDER / "ledger.lua").read_bytes()

TEXTS: dict[str, bytes] = {
    path.stem: _LEDGER + b"\n" + path.read_bytes() for path in sorted(_FOLDER.glob("*.lua")) if path.stem != "ledger"
}
"""Script -> its whole text."""

_SHAS = {name: hashlib.sha1(text).hexdigest() for name, text in TEXTS.items()}

LOAD: list[Command] = [("SCRIPT", "LOAD", text) for text in TEXTS.values()]
"""What makes Redis know them; sent on every new connection."""


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as Redis reads them (RESP). redis-py's own takes several times as long for as many arguments as ours."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for argument in command:
            if not isinstance(argument, bytes):
                argument = str(argument).encode()
            parts += (b"$%d\r\n" % len(argument), argument, b"\r\n")
    return b"".join(parts)


def script(name: str, keys: Sequence[str], *arguments: Argument) -> Command:
    """The command that runs a script."""
    return ("EVALSHA", _SHAS[name], len(keys), *keys, *arguments)
