"""Many askers, one question: whoever hangs up or fails harms nobody else."""

import asyncio

import pytest

from app.core.single_flight import SingleFlight


class Question:
    """A question whose answer the test gives by hand."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ask(self) -> int:
        self.asked += 1
        return await self.answer


async def test_a_thousand_askers_are_one_question() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    joins = [single_flight.join("k", question.ask) for _ in range(1000)]
    assert [joined for _, joined in joins] == [False] + [True] * 999
    question.answer.set_result(7)
    assert {await task for task, _ in joins} == {7}
    assert question.asked == 1
    assert len(single_flight) == 0


async def test_the_first_asker_hanging_up_harms_nobody() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()

    async def asker() -> int:
        task, _ = single_flight.join("k", question.ask)
        return await asyncio.shield(task)

    first, second = asyncio.create_task(asker()), asyncio.create_task(asker())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    question.answer.set_result(7)
    assert await second == 7
    assert first.cancelled()


async def test_a_failure_reaches_all_who_waited_and_is_not_kept() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    tasks = [single_flight.join("k", question.ask)[0] for _ in range(3)]
    question.answer.set_exception(LookupError("no"))
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3
    again = Question()
    again.answer.set_result(8)
    task, joined = single_flight.join("k", again.ask)
    assert (await task, joined) == (8, False)


async def test_keys_fly_apart() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    one, two = Question(), Question()
    first, _ = single_flight.join("1", one.ask)
    second, joined = single_flight.join("2", two.ask)
    assert not joined
    two.answer.set_result(2)
    assert await second == 2
    assert len(single_flight) == 1
    one.answer.set_result(1)
    assert await first == 1


async def test_a_failure_that_nobody_waits_for_is_no_warning() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    question = Question()
    task, _ = single_flight.join("k", question.ask)
    question.answer.set_exception(LookupError("no"))
    await asyncio.wait({task})
    del task  # an exception never looked at would be reported here, and warnings are errors


async def test_closing_ends_what_is_under_way() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    task, _ = single_flight.join("k", Question().ask)
    await asyncio.sleep(0)
    await single_flight.aclose()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(single_flight) == 0


async def test_after_the_end_no_question_is_under_way() -> None:
    single_flight: SingleFlight[int] = SingleFlight()
    ended = asyncio.Event()

    async def ask() -> int:
        try:
            return await asyncio.Future[int]()
        finally:
            await asyncio.sleep(0)  # as what closes a connection
            ended.set()

    single_flight.join("k", ask)
    await asyncio.sleep(0)
    await single_flight.aclose()
    assert ended.is_set()
