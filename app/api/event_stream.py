"""One watched call as an event stream: each event has its entity tag as id, its answer as data.

Knows answers and what a reader has seen of them. Must not know what is watched, nor how an event
stream is kept open.
"""

from fastapi import Request, Response
from starlette.types import Scope

from app.api.batch import cut
from app.api.conditional_request import matches
from app.api.prefer import KEPT_ONLY
from app.api.projection import Fields, prepare
from app.api.replies import wish_of_request
from app.api.sse import EventStreams, ServerSentEvents, no_more, one_line
from app.core.call import Call
from app.core.fetch_result import NO_DIRECTIVES
from app.core.subscriptions import Subscriber, Update


class EventStream(ServerSentEvents):
    """The events of one call. A change of what ``fields`` leave out is none."""

    def __init__(self, live: EventStreams, name: str, call: Call, fields: Fields) -> None:
        super().__init__(live)
        self._name = name
        self._call = call
        self._fields = fields
        self._state = ""  # what the reader knows

    async def begin(self, request: Request, subscriber: Subscriber) -> Response | None:
        """A problem if there is no answer to begin with; 204 if the reader knows the last one."""
        kept_only = wish_of_request(request).only_if_cached
        wish = KEPT_ONLY if kept_only else NO_DIRECTIVES
        answer = await self._live.gateway.fetch(self._call, wish)
        if answer.error is not None:
            return self.refusal(answer, answer.error, request.scope)
        first = Update(answer.entry)
        await self.prepare(first)
        state = cut(first, self._fields).state
        last = request.headers.get("last-event-id", "").encode("latin-1")
        if last and matches(last, state):
            if answer.entry is not None and answer.entry.final:
                return no_more()
            self._state = state
        subscriber.begin(self._call.key, first)
        self._live.subscriptions.add(subscriber, self._call)
        return None

    async def prepare(self, update: Update) -> None:
        """Cut large answers beside the event loop."""
        await prepare(update.entry, self._fields)

    def frame(self, key: str, update: Update, scope: Scope) -> bytes:
        """``session`` or ``problem``, once for each state."""
        update = cut(update, self._fields)
        self.is_over = update.entry is not None and update.entry.final
        if update.state == self._state:
            return b""
        self._state = update.state
        if update.error is not None:
            return self.problem(update.error, scope)
        assert update.entry is not None  # noqa: S101 - no error, so there is an entry
        self._live.count(self._name)
        words = self._name.encode(), update.entry.digest.encode(), one_line(update.entry.body)
        return b'event: %b\nid: "%b"\ndata: %b\n\n' % words
