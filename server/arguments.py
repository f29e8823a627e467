"""Types of command-line arguments that several commands of the server take."""

from __future__ import annotations

import argparse
import re


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return number


def whole(text: str) -> int:
    """An argument that is a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def port(text: str) -> int:
    """An argument that is a port; 0 stands for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def gpus(text: str) -> tuple[str, ...]:
    """An argument that lists GPUs, each once, by what CUDA_VISIBLE_DEVICES takes."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(re.fullmatch(r"[0-9]+|(GPU|MIG)-[0-9A-Za-z/-]+", name) for name in names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of GPUs, such as 0,1 or GPU-8932f937")
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r} names a GPU twice")
    return names


def number(text: str) -> float:
    """An argument that is a finite number above 0."""
    value = _number(text)
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """An argument that is a number from 0 to 1."""
    value = _number(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
