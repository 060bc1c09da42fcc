"""Drain: a flag, and who hears of it."""

from app.server.drain import Drain


def test_everyone_hears_of_it_once_and_in_order() -> None:
    drain, heard = Drain(), list[str]()
    drain.listen(lambda: heard.append("first"))
    drain.listen(lambda: heard.append("second"))
    assert (drain.begun, heard) == (False, [])
    drain.begin()
    drain.begin()
    assert (drain.begun, heard) == (True, ["first", "second"])


def test_who_comes_late_hears_at_once() -> None:
    drain, heard = Drain(), list[str]()
    drain.begin()
    drain.listen(lambda: heard.append("late"))
    assert heard == ["late"]
