"""Work that must not end goes on after an error that nobody foresaw, and the error is in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from server import steady


def test_work_begins_again_after_an_error(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "PAUSE_SECONDS", 0.0)
    tries = []

    async def work() -> None:
        tries.append(len(tries))
        if len(tries) < 4:
            raise ValueError(f"error {len(tries)}")

    with caplog.at_level(logging.ERROR, logger="longjump"):
        asyncio.run(steady.steady("counts", work))
    assert tries == [0, 1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == ["an error while this process counts; it goes on"] * 3
    assert "ValueError: error 2" in caplog.text


def test_work_that_is_cancelled_ends() -> None:
    async def whole() -> None:
        task = asyncio.create_task(steady.steady("waits", asyncio.Event().wait))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())
