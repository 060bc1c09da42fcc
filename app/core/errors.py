"""What can go wrong, in our own words. Knows its own tree; must not know HTTP or the farm's codes.

    GatewayError
    ├── Refused                      the farm answered, and the answer is no
    │   ├── SessionNotFound
    │   ├── SessionNotAttached
    │   ├── SessionForbidden
    │   ├── SessionNotYours
    │   ├── LoginExpired
    │   ├── LoginDenied
    │   ├── AccountForbidden
    │   ├── AccountExists
    │   ├── AccountNotCreated
    │   ├── NameTaken
    │   ├── EmailRefused
    │   └── UpstreamRejectedParameters
    ├── UpstreamError                no usable answer: a kept one may stand in for it
    │   ├── UpstreamRejectedCall
    │   ├── UpstreamRefusedCredentials
    │   ├── UpstreamCallbackUnconfirmed
    │   ├── UpstreamFault
    │   ├── UpstreamUnreadable
    │   ├── UpstreamMismatch
    │   ├── UpstreamUnreachable
    │   ├── UpstreamNoAnswer
    │   ├── UpstreamUnavailable
    │   ├── UpstreamTimeout
    │   ├── Overloaded
    │   └── Crashed
    ├── Unauthorized                 no key of ours came with the request
    ├── LoginRequired                no login came with the request
    ├── CrossSiteRequest             a foreign page wants to change something
    ├── RateLimited                  the client has used up its share
    ├── TooManyStreams               the client watches as much as it may
    ├── ShuttingDown                 this process is about to end
    ├── NotCached                    the client wanted a kept answer only
    └── NotAcceptable                the client wanted a form that we do not send

An error is translated twice: where it enters (``upstream`` makes it one of these) and
where it leaves (``api.problems`` makes it a problem document). Nothing in between catches it,
except the gateway's own decision to answer with a kept entry instead.
"""

from collections.abc import Mapping
from types import MappingProxyType

NO_ARGUMENTS: Mapping[str, object] = MappingProxyType({})


class GatewayError(Exception):
    """The root of the tree.

    ``cause`` is one word for logs and metrics, from a closed list of the place that raised it.
    ``method`` and ``arguments`` tell which upstream call it was, ``fault_code`` what the farm
    called it, ``retry_after`` after how many seconds asking again makes sense, ``asked`` whether
    the farm was asked at all. No message text from outside is ever kept: what is not here cannot
    leak.
    """

    def __init__(
        self,
        cause: str = "",
        *,
        method: str | None = None,
        arguments: Mapping[str, object] = NO_ARGUMENTS,
        fault_code: int | None = None,
        retry_after: float | None = None,
        asked: bool = True,
    ) -> None:
        super().__init__(cause)
        self.cause = cause
        self.method = method
        self.arguments = arguments
        self.fault_code = fault_code
        self.retry_after = retry_after
        self.asked = asked


class Refused(GatewayError):
    """The farm answered, and the answer is no. An answer like any other: it may be kept."""


class SessionNotFound(Refused):
    """No session has this id."""


class SessionNotAttached(Refused):
    """The session exists, but its owner has not attached it to this site yet."""


class SessionForbidden(Refused):
    """The site may not read this session."""


class SessionNotYours(Refused):
    """The visitor may not attach this session."""


class LoginExpired(Refused):
    """The farm does not take the visitor's token, or the login that it is a step of."""


class LoginDenied(Refused):
    """The visitor did not allow the site to act for them."""


class AccountExists(Refused):
    """There is an account for this address."""


class NameTaken(Refused):
    """Somebody has the name that the farm would make of this address."""


class AccountNotCreated(Refused):
    """The farm cannot make this account, and does not say why."""


class EmailRefused(Refused):
    """The farm does not take this address."""


class AccountForbidden(Refused):
    """Neither everybody nor this site may make accounts."""


class UpstreamRejectedParameters(Refused):
    """The farm does not take these arguments."""


class UpstreamError(GatewayError):
    """The farm, or the way to it, gave no usable answer."""


class UpstreamRejectedCall(UpstreamError):
    """The farm says that the call lacks something: our mistake or its change."""


class UpstreamRefusedCredentials(UpstreamError):
    """The farm refused the gateway's own key or signature."""


class UpstreamCallbackUnconfirmed(UpstreamError):
    """The farm speaks OAuth Core 1.0: anybody may begin the login that a visitor ends."""


class UpstreamFault(UpstreamError):
    """The farm reported a fault that we have no better name for."""


class UpstreamUnreadable(UpstreamError):
    """The answer is not an XML-RPC answer that we can read; ``cause`` tells why."""


class UpstreamMismatch(UpstreamError):
    """The answer is about something that was not asked."""


class UpstreamUnreachable(UpstreamError):
    """No connection to the farm could be made."""


class UpstreamNoAnswer(UpstreamError):
    """The call was sent, and then the connection broke, or no HTTP 200 came back."""


class UpstreamUnavailable(UpstreamError):
    """The farm asked for a pause, or failed so often that we do not ask for a while."""


class UpstreamTimeout(UpstreamError):
    """The deadline of the call passed."""


class Overloaded(UpstreamError):
    """Too many calls are under way in this gateway."""


class Crashed(UpstreamError):
    """A bug of ours kept the call from an answer. Logged where it happened."""


class Unauthorized(GatewayError):
    """The gateway asks for a key, and the request brought none, or a wrong one."""


class LoginRequired(GatewayError):
    """The route is for visitors who are logged in, and the request brought no login."""


class CrossSiteRequest(GatewayError):
    """The request changes something, and no page that may do that has sent it."""


class RateLimited(GatewayError):
    """The client has used up its share for now."""


class TooManyStreams(GatewayError):
    """The client has as many streams open, or requests waiting for a change, as it may."""


class ShuttingDown(GatewayError):
    """This process is about to end and wants no new requests."""


class NotCached(GatewayError):
    """The request allowed a kept answer only, and none is kept."""


class NotAcceptable(GatewayError):
    """The request's Accept excludes everything that the route sends."""
