"""Carry out deploy/docker/cpu.Dockerfile without a container engine: its RUN lines in a root of their own, then its
server, as its user, on a root that cannot be written. Reports what the image would add to its base, and what it serves.

    deploy/clean_root.py                 in a root of this machine's system folders, bound read-only
    deploy/clean_root.py --base FOLDER   in a copy of a root file system, such as one of
                                         debootstrap --variant=minbase --include=python3,python3-venv bookworm FOLDER

Needs root on Linux (mount namespaces, chroot) and nothing but the standard library. Not the same as in an engine: the
base is another one, both stages share a root, and the server listens on 127.0.0.1 at a free port.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "deploy" / "docker" / "cpu.Dockerfile"
INSTALLED = "opt/longjump"

PATIENCE = 60.0
"""Seconds until the server must be ready."""

_INSIDE = "LONGJUMP_CLEAN_ROOT_INSIDE"
_BOUND = ("usr", "bin", "sbin", "lib", "lib64")
_MEBIBYTE = 2**20


class Instruction(NamedTuple):
    """One line of a Dockerfile, with those that continue it."""

    keyword: str
    rest: str


def instructions(path: Path = DOCKERFILE) -> Iterator[Instruction]:
    """The instructions of a Dockerfile, without comments."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield Instruction(keyword, " ".join(rest.split()))


def shipped(path: Path = DOCKERFILE) -> list[str]:
    """What `COPY . /source` copies: the exceptions of the ignore file, which ignores everything else."""
    lines = path.with_name(path.name + ".dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def environment(path: Path = DOCKERFILE) -> dict[str, str]:
    """What the image's processes find in their environment: its ENV, and a base's PATH."""
    base = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    for rest in (rest for keyword, rest in instructions(path) if keyword == "ENV"):
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            base[name] = value.replace("$PATH", base["PATH"])
    return base


def last(keyword: str, path: Path = DOCKERFILE) -> str:
    """What the image's last instruction of a kind says."""
    return [rest for found, rest in instructions(path) if found == keyword][-1]


class CleanRoot:
    """A root file system in `folder`, made in the mount namespace of this process."""

    def __init__(self, folder: Path, base: Path | None) -> None:
        self.folder = folder
        if base is not None:
            _call("cp", "--archive", f"{base}/.", str(folder))
        else:
            self._bind_system()
        for name in ("proc", "dev"):
            self._mount("--rbind", f"/{name}", name)
        self._install_sources()

    def _bind_system(self) -> None:
        """The machine's programs, bound; its settings, copied, since the image's RUN lines add a user to them."""
        for name in _BOUND:
            place = Path("/", name)
            if place.is_symlink():
                (self.folder / name).symlink_to(place.readlink())
            elif place.exists():
                self._lend(f"/{name}", name)
        _call("cp", "--archive", "/etc", str(self.folder / "etc"))
        for place in Path("/opt").iterdir() if Path("/opt").exists() else ():  # where some machines keep pip's packages
            if place.is_dir() and place.name != Path(INSTALLED).name:
                self._lend(str(place), f"opt/{place.name}")
        for name in ("tmp", "var/cache", "root"):
            (self.folder / name).mkdir(parents=True)

    def _lend(self, source: str, name: str) -> None:
        """Bind a folder of the machine's, to be read only."""
        self._mount("--bind", source, name)
        _call("mount", "-o", "remount,bind,ro", str(self.folder / name))

    def _mount(self, how: str, source: str, name: str) -> None:
        (self.folder / name).mkdir(parents=True, exist_ok=True)
        _call("mount", how, source, str(self.folder / name))

    def _install_sources(self) -> None:
        for name in shipped():
            target = self.folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, target)

    def build(self) -> None:
        """Run the image's RUN lines, and leave what its second stage would not have."""
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        for keyword, rest in instructions():
            if keyword == "RUN":
                print(f"RUN {rest}", flush=True)
                _call("chroot", str(self.folder), "/bin/sh", "-c", rest, env={**environment(), **pip})
        for name in ("source", "tmp/work"):
            shutil.rmtree(self.folder / name)

    def seal(self) -> None:
        """From now on nothing below the root can be written."""
        _call("mount", "--rbind", str(self.folder), str(self.folder))
        _call("mount", "-o", "remount,bind,ro", str(self.folder))

    def command(self, arguments: Sequence[str]) -> list[str]:
        """A command of the image's user, who can gain no rights."""
        user, group = last("USER").split(":")
        rights = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        # The mounts below the root go along; PATH is looked through inside.
        return ["chroot", str(self.folder), "setpriv", f"--reuid={user}", f"--regid={group}", *rights, *arguments]


def report(root: CleanRoot) -> dict[str, object]:
    """What is installed: bytes, packages, and whether torch is among them."""
    installed = root.folder / INSTALLED
    files = [path for path in installed.rglob("*") if path.is_file() and not path.is_symlink()]
    components = json.loads((installed / "sbom.json").read_text())["components"]
    packages = {one["name"]: one["version"] for one in components}
    torch = [str(path.relative_to(installed)) for path in files if re.search(r"/(torch/|libtorch)", str(path))]
    if torch or "torch" in packages:
        raise SystemExit(f"clean_root: torch is in the environment: {torch[:3]}")
    sizes: dict[str, int] = {}
    for path in files:
        parts = path.relative_to(installed).parts
        name = parts[3] if "site-packages" in parts and len(parts) > 4 else "the rest"
        sizes[name] = sizes.get(name, 0) + path.stat().st_size
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    total = sum(sizes.values())
    named = ", ".join(f"{name} {size / _MEBIBYTE:.0f}" for name, size in largest)
    print(
        f"/{INSTALLED}: {total / _MEBIBYTE:.0f} MiB in {len(files)} files ({named}); {len(packages)} packages; no torch"
    )
    return {"bytes": total, "packages": packages, "torch": False}


def serve(root: CleanRoot) -> dict[str, object]:
    """Start the image's server and ask it for a picture; SystemExit if it does not come."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])

    def local(text: str) -> list[str]:
        return json.loads(text.replace("0.0.0.0", "127.0.0.1").replace("8000", port))

    given = local(last("CMD"))
    command = root.command([*local(last("ENTRYPOINT")), *given, "--port", port])
    health = root.command(local(last("HEALTHCHECK").partition("CMD ")[2]))
    places = f"/ /{INSTALLED} /tmp /var/cache/longjump"
    tried = root.command(["sh", "-c", f"for place in {places}; do touch $place/x && exit; done; echo sealed"])
    print("USER " + last("USER") + " CMD " + " ".join(given), flush=True)
    said = subprocess.run(tried, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if said.stdout != b"sealed\n":
        raise SystemExit(f"clean_root: the image's user can write to one of {places}, or runs nothing")
    server = subprocess.Popen(command, env=environment())
    try:
        end = time.monotonic() + PATIENCE
        while subprocess.run(health, env=environment(), stderr=subprocess.DEVNULL, check=False).returncode:
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit("clean_root: the server is not healthy")
            time.sleep(0.5)
        uids = re.search(r"(?m)^Uid:\s+(.*)$", Path(f"/proc/{server.pid}/status").read_text())
        request = urllib.request.Request(f"http://127.0.0.1:{port}/generate?steps=1&seed=7", method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
            picture = reply.read()
    finally:
        server.terminate()
        status = server.wait(PATIENCE)
    if not picture.startswith(b"\x89PNG\r\n\x1a\n") or status != 0:
        raise SystemExit(f"clean_root: {picture[:20]!r} is no PNG, or the server ended with {status}")
    print(f"healthy; a PNG of {len(picture)} bytes; drained and ended with 0")
    return {"user": uids[1].split()[0] if uids else None, "png_bytes": len(picture), "exit": status}


def main() -> int:
    """Make the root, use it, and take it away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, metavar="FOLDER", help="a root file system to begin with (it is copied)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was found as JSON")
    args = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("clean_root: needs root, for mount namespaces and chroot")
    folder = os.environ.get(_INSIDE)
    if folder is None:
        # The mounts are made, and end, in a namespace of the second process: what is removed here has none of them.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with tempfile.TemporaryDirectory(prefix="longjump-root-") as fresh:
            Path(fresh).chmod(0o755)  # the image's user walks through it
            command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
            return subprocess.run(command, env={**os.environ, _INSIDE: fresh}, check=False).returncode
    root = CleanRoot(Path(folder), args.base)
    root.build()
    found = report(root)
    root.seal()
    found |= serve(root)
    if args.report is not None:
        temporary = args.report.with_name(args.report.name + ".tmp")
        temporary.write_text(json.dumps(found, indent=1) + "\n")
        temporary.replace(args.report)
    return 0


def _call(*command: str, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, check=False)
    if done.returncode:
        raise SystemExit(f"clean_root: {shlex.join(command)} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
