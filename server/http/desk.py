"""The desk: takes a Plan and a Visit, and gives the answer, from the cache, from work in flight, or from a line.

Every endpoint comes here and nothing else gives work to a line's dispatch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from server.backend.roads import Overtaken
from server.http import problem
from server.http.cache import ResponseCache
from server.http.flights import Flight, Flights, latest
from server.http.plan import Plan, Visit
from server.http.problem import Problem
from server.jobs import Expired, JobFailed, Part, Result, Stopped
from server.observe.account import Source
from server.schedule.admission import Admitted, Refused, Wanted

if TYPE_CHECKING:
    from server.backend.roads import Road, Roads
    from server.http.departure import Watch
    from server.observe.metrics import Metrics

StreamMode = Literal["first", "every"]
"""first: the picture of the fewest steps, then the one asked for. every: the picture as seen after each step."""


class Disconnected(Exception):
    """The client went away; nobody is there to be answered."""


@dataclass(frozen=True)
class Answer:
    """What a plan came to."""

    result: Result
    steps: int
    """Network evaluations per image; with `Auto`, those that were chosen."""
    source: Source


@dataclass(frozen=True)
class Shown:
    """One picture of a stream."""

    step: int
    """Network evaluations behind this picture."""
    steps: int
    """Network evaluations behind the last one of the stream."""
    blob: bytes
    """In the plan's format and layout."""
    last: bool
    answer: Answer | None = None
    """What the picture came with; None for what a step is heading for, which has no labels of its own."""


@dataclass(frozen=True)
class _Place:
    """What a request was given when it came: leave to work with `steps`, or somebody's work to wait for."""

    plan: Plan
    steps: int
    line: Road
    key: Hashable | None
    """Where the result is kept; None: nowhere."""
    goal: Admitted | Flight
    """Work of its own, or somebody's to join."""


_Pictures = asyncio.Queue[Answer | Part | tuple[int, BaseException]]
"""Of a stream, as they come; and what failed, with its steps (0: the stream itself)."""


class Desk:
    """Answers plans."""

    def __init__(self, lines: Roads, cache: ResponseCache, metrics: Metrics) -> None:
        self._lines = lines
        self._cache = cache
        self._metrics = metrics
        self._flights = Flights(cache)

    async def answer(self, plan: Plan, visit: Visit, departures: Watch) -> Answer:
        """The answer to a plan, or Problem (422 for a deadline that no idle server meets, 429 at once, 500, 503, 504).

        A client that leaves while it waits takes its work with it, unless others have joined it or `visit.finish` is
        set. Raises Disconnected then.
        """
        await self._fetch(plan, visit)
        fewer: int | None = None
        while True:
            place = self._settle(plan, visit, fewer=fewer)
            if isinstance(place, Answer):
                return self._given(place, plan, visit)
            joined = isinstance(place.goal, Flight)
            try:
                flight = await self._board(place, visit)
            except Overtaken as error:
                fewer = place.steps
                if not plan.choices(fewer):
                    raise problem.refused(error.refused, visit.deadline) from None
                continue
            waiter = flight.join()

            def left(waiter: asyncio.Future[Result] = waiter) -> None:
                if not waiter.done():
                    waiter.set_exception(Disconnected())

            departures.add(left)
            try:
                answer = Answer(await waiter, place.steps, "joined" if joined else "run")
            except JobFailed as error:
                if joined and isinstance(error, Expired) and time.monotonic() < latest(visit, place.line):
                    continue  # the other client was in a hurry, this one is not
                raise _failed(error) from None
            finally:
                departures.discard(left)
                self._flights.leave(flight, waiter)
            return self._given(answer, plan, visit)

    async def open_stream(self, plan: Plan, visit: Visit, departures: Watch, mode: StreamMode) -> AsyncGenerator[Shown]:
        """The pictures of a plan with n = 1, the last one marked. Raises as `answer`, before the first or later.

        Close the iterator (`aclose`) if it is not read to its end: that frees the work. A stream's work is its own:
        its parts are wanted in their order. `first` reads the cache, and both fill it.
        """
        if mode == "first":
            await self._fetch(plan, visit)
        place = self._settle(plan, visit, join=False, read=mode == "first")
        if isinstance(place, Answer):
            self._given(place, plan, visit)
            yield Shown(place.steps, place.steps, place.result.blobs[0], True, place)
            return
        fewest = plan.model.manifest.steps[0]
        pictures: _Pictures = asyncio.Queue()
        waiting: list[tuple[Flight, asyncio.Future[Result]]] = []

        def left() -> None:
            pictures.put_nowait((0, Disconnected()))

        departures.add(left)
        try:
            # The quick picture goes first, so that it is in the first tick. It is a gift: no room for it, no picture.
            if quick := mode == "first" and fewest < place.steps:
                try:
                    first = self._settle(replace(plan, steps=fewest), visit, join=False, preview=True)
                    if isinstance(first, Answer):
                        pictures.put_nowait(first)
                    else:
                        waiting.append(await self._follow(first, visit, pictures))
                except (Problem, Overtaken):
                    quick = False
            every = pictures.put_nowait if mode == "every" else None
            while not (quick and place.steps == fewest):  # then its picture is the last one, too
                try:
                    waiting.append(await self._follow(place, visit, pictures, every))
                    break
                except Overtaken as error:
                    place = self._fewer(place, visit, error, fewest if quick else None)
            else:
                self._metrics.reduced(plan.choices()[0], place.steps)
            steps = place.steps
            while True:
                match await pictures.get():
                    case Part() as part:
                        yield Shown(part.step, steps, part.blob, False)
                    case Answer() as answer:
                        last = answer.steps == steps
                        if last:
                            self._given(answer, plan, visit)
                        yield Shown(answer.steps, steps, answer.result.blobs[0], last, answer)
                        if last:
                            return
                    case (failed, why) if failed in (0, steps):
                        raise _failed(why) if isinstance(why, JobFailed) else why
        finally:
            departures.discard(left)
            for flight, waiter in waiting:
                self._flights.leave(flight, waiter)

    async def _follow(
        self, place: _Place, visit: Visit, pictures: _Pictures, on_part: Callable[[Part], None] | None = None
    ) -> tuple[Flight, asyncio.Future[Result]]:
        """Start work of a stream, whose pictures go into the queue. Raises as `_board`."""
        flight = await self._board(place, visit, on_part)
        waiter = flight.join()

        def finished(waiter: asyncio.Future[Result]) -> None:
            if waiter.cancelled():
                return
            error = waiter.exception()
            if error is None:
                pictures.put_nowait(Answer(waiter.result(), place.steps, "run"))
            else:
                pictures.put_nowait((place.steps, error))

        waiter.add_done_callback(finished)
        return flight, waiter

    def _fewer(self, place: _Place, visit: Visit, error: Overtaken, begun: int | None) -> _Place:
        """A place for a stream with fewer steps than others were quicker for; those `begun` do if no others fit.

        Raises Problem (429, 503).
        """
        choices = place.plan.choices(place.steps)
        if not choices:
            raise problem.refused(error.refused, visit.deadline)
        try:
            fewer = self._settle(place.plan, visit, join=False, read=False, fewer=place.steps)
        except Problem:
            if begun is None or begun not in choices:
                raise
            return replace(place, steps=begun)
        assert isinstance(fewer, _Place)
        return fewer

    def _settle(
        self,
        plan: Plan,
        visit: Visit,
        *,
        join: bool = True,
        read: bool = True,
        preview: bool = False,
        fewer: int | None = None,
    ) -> Answer | _Place:
        """The cached answer, or where its work is or may go. Raises Problem (422, 429, 503).

        `join`: somebody else's work will do. `read`: so will the cache. `preview`: the steps are not those asked for.
        `fewer`: for those and for more others were quicker.
        """
        choices = plan.choices(fewer)
        if not preview:
            visit.account.model, visit.account.steps = plan.model.name, choices[0]
        shared = not (plan.drawn_seed or visit.no_store)
        kept = None
        if shared and read and not visit.no_cache:
            kept = self._kept(plan, choices)
            if kept is not None and kept.steps == choices[0]:
                return kept
        try:
            line = self._lines.find(plan.model)
        except Stopped as error:
            raise problem.not_ready(str(error)) from None
        if plan.answer_size > line.max_reply:
            raise problem.answer_too_large(plan.n, plan.format, plan.answer_size, line.max_reply)
        rows = plan.rows_per_step
        wanted = Wanted(visit.client, visit.priority, rows, choices, visit.arrival, visit.deadline, plan.size)
        admitted = line.admit(wanted, time.monotonic())
        steps = min(choices) if isinstance(admitted, Refused) else admitted.steps
        if kept is not None and (isinstance(admitted, Refused) or choices.index(kept.steps) <= choices.index(steps)):
            return kept
        if not preview:
            visit.account.steps = steps
        key = plan.key(steps) if shared else None
        flight = self._flights.find(key, visit) if shared and join else None
        if flight is not None:
            return _Place(plan, steps, line, key, flight)
        if isinstance(admitted, Refused):
            raise problem.refused(admitted, visit.deadline)
        if not preview:
            visit.account.deadline = admitted.deadline - visit.arrival
        return _Place(plan, steps, line, key, admitted)

    async def _fetch(self, plan: Plan, visit: Visit) -> None:
        """Bring what other processes have of a plan into the cache, unless it is at work here already."""
        if self._cache.beyond is None or plan.drawn_seed or visit.no_store or visit.no_cache:
            return
        keys = [plan.key(steps) for steps in plan.choices()]
        if self._flights.find(keys[0], visit) is None:
            await self._cache.fetch(keys)

    def _kept(self, plan: Plan, choices: Sequence[int]) -> Answer | None:
        """The best answer that the cache has."""
        for steps in choices:
            result = self._cache.get(plan.key(steps))
            if result is not None:
                return Answer(result, steps, "cache")
        return None

    async def _board(self, place: _Place, visit: Visit, on_part: Callable[[Part], None] | None = None) -> Flight:
        """The flight of a place, launched now unless it is in flight already. Raises Overtaken, Problem (429, 503)."""
        if isinstance(place.goal, Flight):
            place.goal.keep |= visit.finish
            return place.goal
        flight = await self._flights.launch(place.line, place.plan, visit, place.goal, place.key, on_part)
        best = place.plan.choices()[0]
        if place.steps != best:
            self._metrics.reduced(best, place.steps)
        return flight

    def _given(self, answer: Answer, plan: Plan, visit: Visit) -> Answer:
        """Write down how a request was answered."""
        account = visit.account
        account.steps, account.source = answer.steps, answer.source
        account.stages = None if answer.source == "cache" else answer.result.stages
        if answer.source == "cache":
            self._metrics.looked_up("hit", sum(map(len, answer.result.blobs)))
        elif answer.source == "joined":
            self._metrics.looked_up("joined", 0)
        else:
            self._metrics.looked_up("bypass" if plan.drawn_seed or visit.no_store else "miss", 0)
        return answer


def _failed(error: JobFailed) -> Problem:
    """The problem of a job that has no result."""
    if isinstance(error, Expired):
        return problem.expired(str(error))
    if isinstance(error, Stopped):
        return problem.not_ready(str(error))
    return problem.failed(f"the worker could not run this request: {error}")
