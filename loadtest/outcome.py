"""How a request ends: with a status code, or one of these instead."""

from __future__ import annotations

OK = "200"
"""The status of a good reply: answered with 200, and of the right size and kind."""

FAILURES: dict[str, str] = {
    "wrong": "answered with 200, but not what was asked for: the wrong size or kind, or it could not be decoded",
    "malformed": "not HTTP",
    "closed": "the server closed the connection before the whole reply was there",
    "refused": "no connection could be made",
    "timeout": "no whole reply within --timeout",
}
"""What stands in the place of a status code where there was no good one, and what it means."""
