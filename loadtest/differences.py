"""What else differs between two results, in words: what makes a comparison doubtful, or is what it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loadtest.numbers import asked, asked_ms, count
from loadtest.result import Load, Run
from loadtest.sweep.result import Sweep

_ROUTES = {"generate": "/generate", "openai": "/v1/images/generations"}

_FACTS: dict[str, Callable[[Run], str]] = {
    "server's address": lambda run: run.load.url,
    "model": lambda run: _model(run),
    "client's machine": lambda run: f"{count(run.environment.host_cores, 'core')} of {run.environment.cpu}",
    "number of client processes": lambda run: str(run.load.processes),
    "route": lambda run: _ROUTES[run.load.route],
    "labels": lambda run: mixed(run.load.labels, "drawn from the seed"),
    "formats": lambda run: mixed(run.load.formats, "the server's own"),
    "further fields": lambda run: ", ".join(f"{name}={value}" for name, value in run.load.fields.items()) or "none",
}
"""Of a run, or of any of a sweep's. Addresses, fields and so on are as they were asked for."""

_OF_A_RUN: dict[str, Callable[[Run], str]] = {
    "load": lambda run: _how_much(run.load),
    "step counts": lambda run: mixed({f"{steps} NFE": share for steps, share in run.load.steps.items()}, "none"),
}

_OF_A_SWEEP: dict[str, Callable[[Sweep], str]] = {
    "share that has to meet a deadline": lambda sweep: f"{asked(100 * sweep.asked.share)} %",
    "deadlines": lambda sweep: ", ".join(map(asked_ms, sweep.asked.deadlines)),
    "step counts": lambda sweep: ", ".join(map(str, sweep.asked.steps)) + " NFE",
}


def differences(before: Run | Sweep, after: Run | Sweep) -> list[str]:
    """A sentence for each; A is before, B is after."""
    remarks = [text for name, one in (("A", before), ("B", after)) for text in _doubts(name, one)]
    told = []
    first, second = (one if isinstance(one, Run) else one.runs[0] if one.runs else None for one in (before, after))
    if first is not None and second is not None:
        told += [(name, say(first), say(second)) for name, say in _FACTS.items()]
    if isinstance(before, Run) and isinstance(after, Run):
        told += [(name, say(before), say(after)) for name, say in _OF_A_RUN.items()]
    if isinstance(before, Sweep) and isinstance(after, Sweep):
        told += [(name, of_sweep(before), of_sweep(after)) for name, of_sweep in _OF_A_SWEEP.items()]
    for name, one_says, other_says in told:
        if one_says != other_says:
            verb = "differ" if name.endswith("s") and not name.endswith("address") else "differs"
            remarks.append(f"the {name} {verb}: {one_says} in A, {other_says} in B")
    return remarks


def _doubts(name: str, one: Run | Sweep) -> list[str]:
    """What is wrong with one of them."""
    runs = one.runs if isinstance(one, Sweep) else (one,)
    found = []
    invalid = sum(not run.valid for run in runs)
    if invalid:
        found.append(f"{invalid} of {count(len(runs), 'run')} in {name} {_is(invalid)} invalid, and left out")
    if one.interrupted:
        found.append(f"{name} was interrupted, and is shorter than was asked for")
    if isinstance(one, Sweep) and one.aborted:
        found.append(f"{name} ended before its time: {one.aborted}")
    wrong = sum(run.checks.wrong for run in runs)
    if wrong:
        found.append(f"{count(wrong, 'reply', 'replies')} in {name} {_was(wrong)} not what was asked for")
    other = sum(run.checks.different for run in runs if run.checks.same_bytes == "no")
    if other:
        compared = count(sum(run.checks.compared for run in runs), "reply", "replies")
        found.append(f"{other:,} of {compared} that were compared in {name} had other bytes than from the idle server")
    return found


def _model(run: Run) -> str:
    model = run.server.model
    if not model:
        return "one that the server does not name"
    mark = model.get("fingerprint")
    return f"{model.get('id', 'without a name')} ({f'fingerprint {mark}' if mark else 'without a fingerprint'})"


def _how_much(load: Load) -> str:
    if load.loop == "closed":
        return f"{count(load.concurrency or 0, 'request')} in flight"
    if load.arrivals == "trace":
        return f"the trace {load.trace}"
    law = {"poisson": "Poisson", "constant": "constant"}.get(load.arrivals or "", f"bursty (cv {asked(load.cv or 0)})")
    return f"{asked(load.rate or 0)}/s with {law} arrivals"


def mixed(shares: Mapping[str, float], nothing: str) -> str:
    """Names with their shares in percent; without, where there is one or all are alike."""
    if not shares:
        return nothing
    if len({round(share, 6) for share in shares.values()}) == 1:
        return " and ".join(shares) if len(shares) < 3 else ", ".join(shares)
    return ", ".join(f"{name} {asked(round(100 * share, 2))} %" for name, share in shares.items())


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
