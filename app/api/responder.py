"""What routes answer with: one call, many calls, or a stream of events."""

from collections.abc import Callable, Mapping

from fastapi import Request, Response

from app.api.batch import Lists
from app.api.content_coding import ContentCoding
from app.api.event_stream import EventStream
from app.api.item_stream import ItemStream
from app.api.problems import Problems
from app.api.projection import Fields
from app.api.replies import Replies
from app.api.sse import EventStreams
from app.core.call import Call
from app.core.gateway import Gateway
from app.core.subscriptions import Subscriptions


class Responders:
    """Makes a ``Responder`` for each request. ``private`` keeps shared caches downstream out of it.

    ``compress``: answers go out in gzip to those who take it.
    A list, and the first item of each id of a stream, come within ``patience`` seconds.
    ``count_event`` is called with the name of each event that is sent.
    """

    def __init__(
        self,
        gateway: Gateway,
        subscriptions: Subscriptions,
        problems: Problems,
        *,
        private: bool,
        compress: bool,
        patience: float,
        count_event: Callable[[str], None],
    ) -> None:
        coding = ContentCoding(enabled=compress)
        self.replies = Replies(gateway, subscriptions, problems, coding, private=private)
        self.lists = Lists(self.replies, patience)
        self.streams = EventStreams(
            gateway, subscriptions, problems, count_event, patience=patience
        )

    @property
    def open_streams(self) -> int:
        """Event streams under way."""
        return self.streams.streams


class Responder:
    """Answers one request: ``return await Responder(request).one(GetSession(id=id))``.

    Made by the route, and no dependency of it: each of those costs some 10 us for every request.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._responders: Responders = request.app.state.services.responders

    async def one(self, call: Call, fields: Fields = ()) -> Response:
        """The answer to one call: 200, 304 or a problem."""
        return await self._responders.replies.reply(self._request, call, fields)

    async def many(self, name: str, calls: Mapping[int, Call], fields: Fields = ()) -> Response:
        """The answers to several calls, each an item with its result under ``name``."""
        return await self._responders.lists.reply(self._request, name, calls, fields)

    def stream(self, event: str, call: Call, fields: Fields = ()) -> Response:
        """The answer to one call now and after each change, as events of this name."""
        return EventStream(self._responders.streams, event, call, fields)

    def stream_many(self, name: str, calls: Mapping[int, Call], fields: Fields = ()) -> Response:
        """The items of ``many``, each now and after each change, as events."""
        return ItemStream(self._responders.streams, name, calls, fields)
