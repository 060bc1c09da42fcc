"""A client's deadlines, on a clock that is wound by hand."""

from app.server.deadlines import Deadlines, Limits

LIMITS = Limits(receive=10, send=30, keep_alive=75)


class Client:
    """A connection that began at 0, and what is known of it."""

    def __init__(self) -> None:
        self.deadlines = Deadlines(LIMITS, 0.0)
        self.known = {"received": 0, "begun": False, "unsent": 0, "answering": False}

    def at(self, now: float, **known: int) -> str | None:
        """Which deadline has passed at ``now``, by what has changed until then."""
        self.known |= known
        return self.deadlines.passed(now, **self.known)  # type: ignore[arg-type]


def test_a_connection_without_a_request_has_the_time_of_one() -> None:
    client = Client()
    assert client.at(9.9) is None
    assert client.at(10) == "receive"


def test_a_first_request_that_begins_late_has_no_more_time() -> None:
    client = Client()
    assert client.at(9, begun=True) is None
    assert client.at(10) == "receive"


def test_between_two_requests_a_connection_may_be_idle() -> None:
    client = Client()
    assert client.at(1, received=1) is None
    assert client.at(75.9) is None
    assert client.at(76) == "keep_alive"


def test_a_further_request_has_its_time_from_its_first_byte_on() -> None:
    client = Client()
    client.at(1, received=1)
    assert client.at(60, begun=True) is None
    assert client.at(69.9) is None
    assert client.at(70) == "receive"


def test_each_whole_request_begins_the_idle_time_anew() -> None:
    client = Client()
    client.at(1, received=1)
    client.at(60, begun=True)
    assert client.at(61, begun=False, received=2) is None
    assert client.at(135.9) is None
    assert client.at(136) == "keep_alive"


def test_an_answer_that_is_being_made_is_not_the_client_s_delay() -> None:
    client = Client()
    client.at(1, received=1, answering=True)
    assert client.at(500) is None
    assert client.at(501, answering=False) is None
    assert client.at(574.9) is None
    assert client.at(575) == "keep_alive"


def test_more_that_nobody_takes_is_no_progress() -> None:
    client = Client()
    client.at(1, received=1, answering=True, unsent=1000)
    assert client.at(30.9, unsent=2000) is None
    assert client.at(31, unsent=3000) == "send"


def test_what_nobody_takes_is_waited_for_30_seconds_after_the_last_of_it_was_taken() -> None:
    client = Client()
    client.at(1, received=1, answering=True, unsent=1000)
    assert client.at(20, unsent=900) is None
    assert client.at(49.9) is None
    assert client.at(50) == "send"
