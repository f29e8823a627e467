"""The recipes that come with longjump: DATA/METHOD.yaml. Imports no torch, so that `--help` may list them."""

from pathlib import Path

SHIPPED = Path(__file__).parent


def shipped() -> list[str]:
    """Names of the recipes, such as points/meanflow."""
    return sorted(file.relative_to(SHIPPED).with_suffix("").as_posix() for file in SHIPPED.glob("*/*.yaml"))
