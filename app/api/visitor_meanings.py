"""What the codes of visitors' logins mean: a part of the status table.

Must not know our exceptions, requests or responses.
"""

from app.api.error_codes import Code, Meaning

VISITOR_MEANINGS: dict[Code, Meaning] = {
    Code.LOGIN_REQUIRED: Meaning(
        401,
        "Login required",
        "This path is for visitors who are logged in at the render farm.",
        "The request carries no login: its cookie is missing, expired, or not of this gateway.",
        "Send the browser to /login, and let fetch send its cookies: credentials: include.",
    ),
    Code.LOGIN_EXPIRED: Meaning(
        401,
        "Login not good any more",
        "The render farm does not take this login any more.",
        "The login has ended at the farm, or took too long, or was begun in another browser.",
        "Send the browser to /login again.",
    ),
    Code.LOGIN_DENIED: Meaning(
        403,
        "Login denied",
        "The visitor did not allow this site to act for them at the render farm.",
        "The visitor said no on the farm's page.",
        "Ask the visitor again only if they want to.",
    ),
    Code.CROSS_SITE_REQUEST: Meaning(
        403,
        "Request from a foreign page",
        "This request changes something, and does not come from a page that may do that.",
        "Its Origin is missing, null, or neither the gateway's own nor one of those it lists.",
        "Send it from a page of a listed origin, by fetch.",
    ),
    Code.SESSION_NOT_YOURS: Meaning(
        403,
        "Session of somebody else",
        "The render farm does not let this visitor attach session {sessionId}.",
        "The session belongs to somebody else, or does not exist.",
        "Log in as the session's owner, or check the id.",
    ),
    Code.UPSTREAM_CALLBACK_UNCONFIRMED: Meaning(
        502,
        "Login not safe",
        "The render farm does not confirm where it sends visitors back to.",
        "The farm speaks OAuth Core 1.0, whose logins others can take over, not RFC 5849.",
        "Report it to the operator of the gateway with the requestId.",
    ),
}
"""Rows of the status table."""
