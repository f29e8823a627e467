"""The live panel shows what /metrics says."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from ..conftest import Server, Start
from .conftest import Open, Window


@pytest.fixture
def window(open_window: Open, tiny: Server) -> Window:
    window = open_window(tiny)
    window.open()
    return window


def module(window: Window, expression: str, *values: object) -> object:
    """What an expression of `prometheus` (the module) and `values` gives in the page."""
    script = f"""async (values) => {{
        const prometheus = await import(new URL("playground/prometheus.js", document.baseURI));
        return {expression};
    }}"""
    return window.page.evaluate(script, list(values))


ODD = r"""# HELP a_b Text with "quotes" and a \n.
# TYPE a_b gauge
a_b{name="it\"s {a} \\ \n b",empty=""} 1.5e-07
a_b{name="x,y=\"z\""} +Inf
a_b -2
# TYPE h histogram
h_bucket{le="0.5"} 1
h_bucket{le="+Inf"} 3
h_count 3
h_sum 4.5
"""


def families(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, dict(sample.labels), sample.value


def test_text_is_read_otherwise(window: Window) -> None:
    """As Prometheus's own parser reads it."""
    text = ODD + window.server.client.get("/metrics").text
    found = module(
        window, "[...prometheus.parse(values[0])].flatMap(([name, all]) => all.map((one) => [name, one]))", text
    )
    assert isinstance(found, list)
    mine = [(name, one["labels"], float(one["value"])) for name, one in found]

    def order(entry: tuple[str, dict[str, str], float]) -> tuple[str, str]:
        return entry[0], repr(sorted(entry[1].items()))

    wanted = [entry for entry in families(text) if not entry[0].endswith("_created")]
    assert sorted(mine, key=order) == sorted(wanted, key=order)


def test_quantile_is_another(window: Window) -> None:
    """Of uniform values, within the width of a bucket; and where they fall into one bucket, by its length."""
    bounds = [0.1, 0.2, 0.5, 1.0]
    values = np.random.Generator(np.random.PCG64(5)).uniform(0, 1, 4000)
    cumulative = [[bound, int((values <= bound).sum())] for bound in bounds]
    for q in (0.05, 0.5, 0.99):
        found = module(window, "prometheus.quantile(values[0], values[1])", q, cumulative)
        assert isinstance(found, float)
        assert found == pytest.approx(np.quantile(values, q), abs=0.02)
    one = [[0.1, 0], [0.2, 10], [0.5, 10]]
    assert module(window, "prometheus.quantile(0.5, values[0])", one) == pytest.approx(0.15)
    nothing = module(window, "prometheus.quantile(0.5, values[0])", [[0.1, 0], [0.2, 0]])
    assert isinstance(nothing, float)
    assert math.isnan(nothing)
    beyond = module(window, "prometheus.quantile(0.99, [[1, 1], [Infinity, 100]])")
    assert beyond == 1  # what is beyond the last bound is at least that
    begun_again = module(window, "prometheus.grown(values[0], values[1])", [[1, 2], [2, 3]], [[1, 5], [2, 9]])
    assert begun_again == [[1, 2], [2, 3]]


def row(window: Window, steps: int) -> list[str]:
    found = window["#live-latency tr"].filter(has=window.page.locator("th", has_text=str(steps)))
    return [text.strip() for text in found.locator("td").all_inner_texts()]


def test_requests_are_not_counted(open_window: Open, start: Start, images: object) -> None:
    server = start(images)
    window = open_window(server)
    window.open()
    window.until(lambda: row(window, 4)[2:] == ["1"], "the page's own request is counted")
    for seed in range(20):
        assert server.client.post(f"/generate?seed={seed}&steps=4").status_code == 200
    window.until(lambda: row(window, 4)[2:] == ["21"], "20 more are counted")
    assert all(text != "–" for text in row(window, 4))
    window.until(lambda: float(window["#live-rate"].inner_text()) > 0, "the rate is not 0")
    label = window["#live-ticks"].get_attribute("aria-label") or ""
    assert "of up to 1" in label


def test_backlog_is_hidden(open_window: Open, start: Start, images: object) -> None:
    server = start(images, held=True)
    window = open_window(server)
    window.open(settled=False)
    asked = [server.send("/generate?n=4&steps=4&priority=batch") for _ in range(3)]
    window.until(lambda: int(window["#live-backlog"].inner_text().replace("–", "0")) >= 48, "3 x 4 x 4 row-steps wait")
    expect(window["#state-text"]).to_have_text("working")
    server.open_gate()
    for one in asked:
        assert one.result().status_code == 200
    expect(window["#live-backlog"]).to_have_text("0")
    window.settled("compare")
    expect(window["#state-text"]).to_have_text("ready")
