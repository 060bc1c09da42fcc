"""What the OpenAPI document says as a whole, in plain words. Must not know any operation."""

from typing import Any

Node = dict[str, Any]

DESCRIPTION = """\
Render sessions of Renderfarm.fi as JSON: this gateway makes the signed XML-RPC calls, keeps the
answers as long as they are good, and tells clients in standard HTTP headers what it did.

* Every `GET` route answers `HEAD` too. Times are RFC 3339 in UTC, durations are seconds.
* Every answer outside 2xx and 304 is a problem document (RFC 9457). Branch on its `code`.
* `ETag`, `Cache-Control`, `Age` and `Cache-Status` tell how fresh an answer is. To watch a
  session, ask again after `max-age` seconds with `If-None-Match` and `Cache-Control: max-age=0`
  (without the latter, some browsers add `no-cache`, which asks the farm each time).
* The operator may want an API key with each request, and may limit how often a client asks: see
  `WWW-Authenticate`, `RateLimit` and `Retry-After`.
* Pages of every origin may read every answer, unless the operator names the origins.
* Answers of 1,000 bytes and more come in gzip for whoever takes it (`Accept-Encoding`, as browsers
  send it by themselves). Their `ETag` ends with `-gzip`; either form of a tag is known.

The examples are recorded from a gateway over the sandbox farm, and their ids work there.
"""
INFO = {
    "summary": "A REST/JSON gateway over the Renderfarm.fi XML-RPC API.",
    "description": DESCRIPTION,
    "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
}
TAGS = {
    "sessions": "Render sessions: what is rendered, and how far it is.",
    "login": "For visitors who log in at the farm. The operator switches it on: without, 404.",
    "me": "What is the visitor's own, with the cookie of a login.",
    "accounts": "For clients whose key allows it. The operator switches it on: without, 404.",
    "problems": "What can go wrong: a page for each code of a problem document.",
    "health": "For the machines of those who run the gateway.",
}
LOCAL = {
    "url": "http://127.0.0.1:8000",
    "description": "The gateway over the sandbox farm that `make run` starts.",
}
"""The server of the committed document: the one that everybody can have."""


STREAM = """\
Server-sent events (WHATWG HTML, section 9.2). `{event}`: the data is one line of JSON, a {schema}
as the plain answer has it; the id is its `ETag`. It comes at once, and after every change.
`problem`: a Problem, once, when the answer can no longer be had; the stream goes on, and the next
`{event}` says that it can be had again. `end`: a StreamEnd, the last one. A comment line comes in
times of silence."""
"""What a stream of one session is made of."""

ITEM_STREAM = """\
Server-sent events (WHATWG HTML, section 9.2). `{event}`: the data is one line of JSON, a {schema}
as the list has it. It comes for each id at once, and whenever that item changes: a new answer, a
failure, once, and its end. Its id, at most 1 kB, tells what you have of all ids. `problem`: a
Problem of the whole stream, which ends with it: the API key was taken back. `end`: a StreamEnd, the
last one, when no item will change any more. A comment line comes in times of silence."""
"""What a stream of several is made of."""

LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event that you have, as browsers send it when they come"
    " again: what you have is not repeated.",
    "schema": {"type": "string"},
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=20`, with `If-None-Match`: answer when there is a change, or with 304"
    " after so many seconds, 20 at most (RFC 7240). `Preference-Applied` tells that it was so.",
    "schema": {"type": "string"},
}


def _header(description: str, schema: Node, *, always: bool) -> Node:
    return {"description": description, "required": always, "schema": schema}


TEXT = {"type": "string"}
HEADERS = {
    "ETag": _header(
        "Strong entity tag of the body (RFC 9110): send it back in `If-None-Match`. Absent from"
        " answers that are not kept.",
        TEXT,
        always=False,
    ),
    "Cache-Control": _header(
        "`max-age`: seconds that the answer is fresh, counted from when the farm was asked for it."
        " `no-cache`: ask each time whether it is still right. `no-store`: keep nothing"
        " (RFC 9111).",
        TEXT,
        always=True,
    ),
    "Age": _header(
        "Seconds since the farm was asked for the answer. Absent from answers that are not kept.",
        {"type": "integer", "minimum": 0},
        always=False,
    ),
    "Cache-Status": _header(
        "How the gateway's cache took part (RFC 9211): `hit`, or `fwd` and why the farm was asked."
        " Absent if it took none.",
        TEXT,
        always=False,
    ),
    "Location": _header("Where the browser goes on.", TEXT, always=False),
    "Set-Cookie": _header(
        "The cookie of a login, sealed: it tells the browser nothing. `Max-Age=0` forgets it.",
        TEXT,
        always=False,
    ),
    "Vary": _header("Which request headers choose the form of the answer.", TEXT, always=True),
    "Preference-Applied": _header(
        "`wait=20`: the answer has waited for a change, for so many seconds at most (RFC 7240).",
        TEXT,
        always=False,
    ),
    "Retry-After": _header(
        "Seconds after which the same request may succeed.",
        {"type": "integer", "minimum": 1},
        always=False,
    ),
    "RateLimit": _header(
        "What is left to this client, if there is a limit: `r` requests, and `t` seconds until its"
        " whole share is back (draft-ietf-httpapi-ratelimit-headers).",
        TEXT,
        always=False,
    ),
    "RateLimit-Policy": _header(
        "A client's share, if there is a limit: `q` requests in `w` seconds.", TEXT, always=False
    ),
    "WWW-Authenticate": _header(
        "That an API key is wanted (RFC 6750); with `error`, that the one given is wrong.",
        TEXT,
        always=False,
    ),
    "Server-Timing": _header(
        "Where the time went, in milliseconds (W3C Server Timing): `cache;desc=` how the cache took"
        " part; of the call to the farm, if this request made one, `queue`, `sign`, `upstream` and"
        " `decode`; `total`. A fresh kept answer has nothing but `cache;desc=hit`.",
        TEXT,
        always=True,
    ),
    "X-Request-ID": _header(
        "The request's id, for reports: taken from the request if it is valid, else made.",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        always=True,
    ),
}
"""The header fields that clients are told about; recordings say which answer carries which."""

SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key of this gateway, if its operator wants one.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a field of its own.",
    },
}
"""How a request may carry a key; whether it has to is the operator's choice."""

LOGIN = {
    "login": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-rfgw_user",
        "description": "The cookie of a visitor's login, which `/login` brings: browsers send it by"
        ' themselves, pages of other origins with `credentials: "include"`. Without https, on'
        " the own machine, its name is `rfgw_user`.",
    },
}
"""How a request says which visitor it is of."""

PARAMETERS = {
    "304": {
        "name": "If-None-Match",
        "in": "header",
        "description": "The `ETag` of an answer that you have: 304 if it is still right. From"
        " `fetch`, send `Cache-Control: max-age=0` with it: some browsers else add `no-cache`.",
        "schema": TEXT,
    },
    "504": {
        "name": "Cache-Control",
        "in": "header",
        "description": "`no-cache`: ask the farm again. `only-if-cached`: never ask it."
        " `max-age=0`: as if it were not there.",
        "schema": TEXT,
    },
}
"""The request header fields of an operation, by the status that they may bring about."""
