"""The live panel shows what /metrics says."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
from playwright.sync_api import expect
from prometheus_client.parser import text_string_to_metric_families

from ..conftest import Start
from .conftest import Open, Window


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
    """Of any values, it lies in the bucket that is told; and of nothing, nothing is told."""
    bounds = [0.1, 0.2, 0.5, 1.0]
    values = np.random.Generator(np.random.PCG64(5)).uniform(0, 1, 4000)
    cumulative = [[bound, int((values <= bound).sum())] for bound in bounds]
    for q in (0.05, 0.15, 0.5, 0.99):
        found = module(window, "prometheus.bracket(values[0], values[1])", q, cumulative)
        assert isinstance(found, list)
        low, high = found
        assert low < np.quantile(values, q) <= high
        assert high == 0.1 or low == bounds[bounds.index(high) - 1]
    assert module(window, "prometheus.bracket(0.5, values[0])", [[0.1, 0], [0.2, 0]]) is None
    assert module(window, "prometheus.bracket(0.5, [])") is None
    assert module(window, "prometheus.bracket(0.99, [[1, 1], [Infinity, 100]])") == [1, math.inf]
    begun_again = module(window, "prometheus.grown(values[0], values[1])", [[1, 2], [2, 3]], [[1, 5], [2, 9]])
    assert begun_again == [[1, 2], [2, 3]]


def row(window: Window, steps: int) -> list[str]:
    """p50, p99 and the number of requests of a step count."""
    found = window["#live-latency tr"].filter(has=window.page.locator("th", has_text=str(steps)))
    return [text.strip() for text in found.locator("td").all_inner_texts()]


SPAN = re.compile(r"(?:under|over) [\d.]+ (?:ms|s)|[\d.]+–[\d.]+ (?:ms|s)")
"""A bucket, and not a time that was measured."""


def test_requests_are_not_counted(window: Window) -> None:
    expect(window["#live-models"]).to_be_hidden()  # there is one
    window.until(lambda: row(window, 4)[2:] == ["1"], "the page's own request is counted")
    for seed in range(1000, 1020):  # that no other test has asked for
        assert window.server.client.post(f"/generate?seed={seed}&steps=4").status_code == 200
    window.until(lambda: row(window, 4)[2:] == ["21"], "20 more are counted")
    assert SPAN.fullmatch(row(window, 4)[0])
    assert row(window, 2)[2:] == ["1"]
    window.until(lambda: float(window["#live-rate"].inner_text()) > 0, "the rate is not 0")
    label = window["#live-ticks"].get_attribute("aria-label") or ""
    assert re.search(r"\d+ of 1\b", label)


def test_tail_of_a_few_is_told(window: Window) -> None:
    """One in a hundred of fewer than a hundred is nobody."""
    ask = "/generate?steps=4"
    for _ in range(98):
        assert window.server.client.post(ask).status_code == 200
    window.until(lambda: row(window, 4)[2:] == ["99"], "99 are counted, the page's own with them")
    assert row(window, 4)[1] == "too few"
    assert window.server.client.post(ask).status_code == 200
    window.until(lambda: row(window, 4)[2:] == ["100"], "the hundredth is counted")
    assert SPAN.fullmatch(row(window, 4)[1])


def test_cached_replies_are_measured(window: Window) -> None:
    """What the cache answered, such as thumbnails, costs no network evaluation, and is told apart."""
    window.until(lambda: row(window, 1)[2:] == ["1"], "the page's own request is counted")
    before = int(re.findall(r"(\d+) from the cache|$", window["#live-kinds"].inner_text())[0] or 0)
    for _ in range(5):
        assert window.server.client.get("/generate?seed=4711&steps=1").status_code == 200
    assert window.server.client.get("/generate?seed=4711&steps=3000").status_code == 422
    kinds = window["#live-kinds"]
    window.until(lambda: row(window, 1)[2:] == ["2"], "the first one, which was made, is counted")
    expect(kinds).to_contain_text(re.compile(rf"\b{before + 4} from the cache, 1 refused"))
    assert row(window, 1)[2:] == ["2"]


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
