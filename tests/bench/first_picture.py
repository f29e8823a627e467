"""How long a visitor of the playground waits for the first picture: `python -m tests.bench.first_picture`.

The demo, served as `longjump serve` does, and a fresh browser context each time (no cache), on one machine that both
share. From the beginning of the navigation, by the page's own clock, to the frame after the first picture is there
whole; beside it when the page first painted anything, and how long the server alone takes for one picture, so that a
slow machine is not taken for a slow page.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request

from playwright.sync_api import Browser, sync_playwright

SIZE = {"width": 1280, "height": 900}
WATCH = """(function look() {
    const picture = document.querySelector("#columns img");
    if (picture && picture.complete && picture.naturalWidth) {
        requestAnimationFrame(() => { window.firstPicture = performance.now(); });
    } else {
        requestAnimationFrame(look);
    }
})();"""
SHOWN = """() => new Promise((tell) => {
    (function look() {
        if (window.firstPicture) tell(window.firstPicture);
        else requestAnimationFrame(look);
    })();
})"""
PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"


def visit(browser: Browser, url: str) -> tuple[float, float]:
    """Milliseconds to the first picture and to the first paint."""
    context = browser.new_context(viewport=SIZE)  # type: ignore[arg-type]
    try:
        context.add_init_script(WATCH)
        page = context.new_page()
        page.goto(url)
        return page.evaluate(SHOWN), page.evaluate(PAINTED)
    finally:
        context.close()


def one_step(url: str, seed: int) -> float:
    """Milliseconds of one request for a picture that is in no cache."""
    begun = time.perf_counter()
    request = urllib.request.Request(f"{url}/generate?steps=1&seed={seed}", method="POST")
    with urllib.request.urlopen(request) as reply:
        reply.read()
    return 1000 * (time.perf_counter() - begun)


def main() -> None:
    """Serve, visit, and print medians with the spread."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.first_picture", description=__doc__)
    parser.add_argument("--visits", type=int, default=15, help="after one that warms up (default: 15)")
    args = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("first_picture: no chromium here; on Debian: apt install chromium")
    with subprocess.Popen(
        [sys.executable, "-m", "longjump", "serve", "--port", "0"], stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            url = next(found[1] for line in server.stderr if (found := re.search(r"ready on (\S+) in", line)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium)
                visits = [visit(browser, url) for _ in range(args.visits + 1)][1:]
                browser.close()
            alone = [one_step(url, 10**6 + number) for number in range(args.visits)]
        finally:
            server.terminate()
    for name, values in (
        ("first picture", [first for first, _ in visits]),
        ("first paint", [paint for _, paint in visits if paint == paint]),  # the browser does not always note it
        ("one request, one step", alone),
    ):
        low, middle, high = statistics.quantiles(values, n=4)
        print(f"{name}: median {middle:.0f} ms, quartiles {low:.0f} to {high:.0f}, of {len(values)}")


if __name__ == "__main__":
    main()
