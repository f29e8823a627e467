"""The playground is small, comes from its own server alone, and lets nothing else in."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from server.playground import pages
from server.playground.pages import MEDIA_TYPES, STATIC

from ..conftest import Server, Start
from .conftest import Open

MOST_BYTES = 300_000

URL = re.compile(rb"""(?:https?:)?//[\w-]+\.[\w.-]+""")
"""An address of somebody else."""

NAMESPACE = b"http://www.w3.org/2000/svg"


def served() -> list[Path]:
    """The pages' files, without what an editor may have left beside them."""
    return [path for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES and not path.name.startswith(".")]


def test_page_is_heavy(open_window: Open, demo: Server) -> None:
    """All that the first look takes, with the pictures and the thumbnails."""
    window = open_window(demo)
    sizes: dict[str, int] = {}

    def count(response: object) -> None:
        sizes[response.url] = sizes.get(response.url, 0) + len(response.body())  # type: ignore[attr-defined]

    responses = []
    window.page.on("response", lambda response: responses.append(response))
    window.open()
    expect(window[".tile img"].nth(11)).to_be_visible()
    for response in responses:
        if "/metrics" not in response.url and not response.url.startswith("blob:"):
            count(response)
    assert any("format=webp" in url for url in sizes)
    assert any(url.endswith("playground/main.js") for url in sizes)
    assert sum(sizes.values()) < MOST_BYTES, sizes


def test_file_names_another_server() -> None:
    for path in served():
        found = [match for match in URL.findall(path.read_bytes()) if not NAMESPACE.startswith(match)]
        assert not found, path.name


def test_text_becomes_code(tiny: Server) -> None:
    for path in ("/", "/playground/main.js", "/playground/style.css", "/playground/icon.svg"):
        answer = tiny.client.get(path)
        assert answer.status_code == 200
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["trusted-types"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


FORBIDDEN = """(body, kind) => {
    const element = document.createElement(kind === "style" ? "style" : kind === "script" ? "script" : "p");
    if (kind === "style") element.textContent = "body { display: none }";
    if (kind === "attribute") element.setAttribute("style", "position: fixed");
    try {
        if (kind === "script") element.src = "https://example.org/a.js";
    } catch { /* it is in the console */ }
    body.append(element);
}"""

REFUSAL = "Content Security Policy|This document requires 'TrustedScriptURL'"


def test_control_the_policy_holds(open_window: Open, tiny: Server) -> None:
    """What the policy forbids does not happen in this browser, so that a page without complaints is one without it."""
    window = open_window(tiny)
    window.open()
    for kind in ("script", "style", "attribute"):
        window.errors.clear()
        window["body"].evaluate(FORBIDDEN, kind)
        window.until(lambda: any(re.search(REFUSAL, text) for text in window.errors), f"the browser refuses a {kind}")
        expect(window["body"]).to_be_visible()
    window.allow(REFUSAL)


def test_page_is_sent_again(tiny: Server) -> None:
    for path in ("/", "/playground/main.js"):
        first = tiny.client.get(path)
        assert first.headers["cache-control"] == "no-cache"
        again = tiny.client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert tiny.client.get(path, headers={"if-none-match": '"another"'}).status_code == 200
        head = tiny.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(first.content)
        assert tiny.client.post(path).status_code == 405


def test_file_has_the_wrong_type(tiny: Server) -> None:
    for path in served():
        answer = tiny.client.get(f"/playground/{path.name}")
        if path.suffix == ".html":  # a page has its own path, to which its links are relative
            assert answer.status_code == 404
            continue
        assert answer.status_code == 200
        assert answer.content == path.read_bytes()
        assert answer.headers["content-type"] == f"{MEDIA_TYPES[path.suffix]}; charset=utf-8"


def test_editor_breaks_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the folder and is not of a page is not served, and harms no page."""
    folder = tmp_path / "static"
    shutil.copytree(STATIC, folder)
    before = set(pages.pages())
    for name in (".main.js.swp", "main.js~", "#main.js#", ".DS_Store", ".hidden.js"):
        (folder / name).write_bytes(b"\0")
    (folder / ".#main.js").symlink_to("somebody@somewhere.1")  # a lock of Emacs, which leads nowhere
    (folder / "old.js").mkdir()
    monkeypatch.setattr(pages, "STATIC", folder)
    assert set(pages.pages()) == before
    files = pages._files.__wrapped__()
    assert set(files) == {path.name for path in served()}
    assert files["main.js"].content == (STATIC / "main.js").read_bytes()


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", "%2e%2e/pages.py", "index.html", "", "main.js/"])
def test_path_leads_out_of_the_folder(tiny: Server, name: str) -> None:
    answer = tiny.client.get(f"/playground/{name}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:longjump:problem:not-found"


def test_switch_leaves_the_page_on(start: Start, images: object) -> None:
    server = start(images, "--no-playground")
    answer = server.client.get("/")
    assert answer.status_code == 307
    assert answer.headers["location"] == "/docs"
    assert server.client.get("/playground/main.js").status_code == 404
    assert server.client.get("/docs").status_code == 200
