"""Workers ask glibc for huge pages, unless the person who starts the server tunes glibc."""

from __future__ import annotations

import pytest

from server.backend.supervisor import HUGE_PAGES, worker_environment


def test_users_tuning_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert worker_environment()["GLIBC_TUNABLES"] == HUGE_PAGES
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    assert worker_environment()["GLIBC_TUNABLES"] == "glibc.malloc.arena_max=1"
