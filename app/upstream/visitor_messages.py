"""The signed message of a call for a visitor: its OAuth parameters travel beside the call.

Knows which calls carry their parameters where. Must not know how a message travels.
"""

from dataclasses import replace
from typing import Literal

from app.core.call import OAuthStep, VisitorCall
from app.upstream.oauth import Signer, new_nonce
from app.upstream.transport import Message
from app.upstream.xmlrpc.codec import Value, dump_call

UserSigning = Literal["header", "query", "struct"]
"""Where calls for a visitor carry their parameters; steps of a login have no struct."""


def visitor_message(
    call: VisitorCall | OAuthStep,
    signer: Signer,
    base: str,
    user_signing: UserSigning,
    timestamp: int,
) -> Message:
    """The message for ``call`` to the farm at ``base``, signed at ``timestamp`` (Unix seconds)."""
    nonce = new_nonce()
    if isinstance(call, OAuthStep):
        url, fields = signer.sign_request(
            f"{base}/{call.method}",
            call.token,
            place="query" if user_signing == "query" else "header",
            timestamp=timestamp,
            nonce=nonce,
            callback=call.callback,
            verifier=call.verifier,
        )
        return Message(url, b"", fields)
    url, arguments = signer.url(base, call.method), call.arguments
    if user_signing == "struct":
        signer = replace(signer, token=call.token.key, token_secret=call.token.secret)
        sign = signer.sign(base, call.method, arguments, timestamp=timestamp, nonce=nonce)
        struct: dict[str, Value] = {**sign}
        return Message(url, dump_call(call.method, [struct, *arguments.values()]))
    body = dump_call(call.method, list(arguments.values()))
    url, fields = signer.sign_request(
        url, call.token, place=user_signing, timestamp=timestamp, nonce=nonce
    )
    return Message(url, body, fields)
