"""`longjump simulate` runs the server's own decisions, shows what became of every request, and refuses nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import longjump
from server.schedule.costs import Costs
from server.schedule.policy import pick
from server.schedule.simulator import measured, simulate, traffic
from server.simulate import mix


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, dict[str, str]], str]:
    """The table by steps, and all of the output."""
    assert longjump.main(["simulate", "--seconds", "3", *arguments]) == 0
    text = capsys.readouterr().out
    _, table, _ = text.strip().split("\n\n")
    head, *rows = [line.replace(" ms", "_ms").split() for line in table.splitlines()]
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}, text


def test_every_request_is_accounted_for(capsys: pytest.CaptureFixture[str]) -> None:
    table, text = shown(capsys, "--load", "2", "--clients", "5", "--workers", "2")
    assert list(table) == ["1", "8"]
    for row in table.values():
        assert int(row["asked"]) == sum(int(row[fate]) for fate in ("answered", "refused", "expired"))
        assert int(row["refused"]) > 0
    assert "2.00 of capacity" in text


def test_light_traffic_sees_an_idle_server(capsys: pytest.CaptureFixture[str]) -> None:
    table, _ = shown(capsys, "--rate", "20", "--steps", "1:1", "--jitter", "0", "--alpha-ms", "2", "--beta-ms", "5")
    assert table["1"]["idle_ms"] == table["1"]["p50_ms"] == "7.0"


def test_costs_of_a_served_bundle_are_used(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    costs = Costs(8)
    for rows in (1, 2, 4):
        costs.observe(rows, 0.02 + 0.001 * rows)
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(costs.to_dict()))
    table, text = shown(capsys, "--costs", str(file), "--rate", "5")
    assert table["1"]["idle_ms"] == "21.0"
    assert "T(1) = 21.0 ms" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--steps", "1:0"], "is not a list like"),
        (["--steps", "0:1"], "is not a list like"),
        (["--steps", "1:1,1:2"], "names a step count twice"),
        (["--load", "nan"], "not a number above 0"),
        (["--workers", "0"], "not a whole number of at least 1"),
        (["--jitter", "2"], "not a number from 0 to 1"),
        (["--load", "1", "--rate", "2"], "not allowed with"),
    ],
)
def test_odd_arguments_are_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        longjump.main(["simulate", *arguments])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_files_without_costs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "costs.json"
    for text in ("", "{}", "[" * 100_000, json.dumps(Costs(4).to_dict())):
        file.write_text(text)
        assert longjump.main(["simulate", "--costs", str(file)]) == 2
        assert "holds no" in capsys.readouterr().err
    assert longjump.main(["simulate", "--costs", str(tmp_path / "missing")]) == 2
    assert longjump.main(["simulate", "--rate", "0.0001"]) == 2
    assert "made no request" in capsys.readouterr().err


def test_shares_are_scaled() -> None:
    assert mix("1:9,8:1") == [(1, 0.9), (8, 0.1)]


def test_a_lost_request_is_seen_as_lost() -> None:
    """Control for the account above: a policy that leaves a request lying."""
    requests = list(traffic([(2, 1.0)], 50.0, 1.0))

    def fates(forget: int | None) -> list[str | None]:
        seen = simulate(
            requests,
            measured(4, lambda rows: 0.001 * rows),
            lambda rows: 0.001 * rows,
            policy=lambda state, now: [row for row in pick(state, now) if row.request != forget],
        )
        return [one.fate for one in seen.outcomes]

    assert set(fates(None)) == {"answered"}
    assert fates(3)[3] is None
