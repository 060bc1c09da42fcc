"""What the farm says when it refuses: the vendor's codes and words. Must not know who says it."""

from app.upstream.xmlrpc.codec import Fault

REASONS = {
    100: "Missing parameters",
    101: "Invalid parameters",
    103: "Privileges insufficient",
    104: "Invalid signature",
    300: "Session doesn't exist",
    301: "Session not attached yet",
    400: "Consumer key invalid",
}
ACCOUNT_REASONS = {
    200: "Mail format invalid",
    201: "Connection problem",
    202: "Stream error (success tag absent)",
    203: "Stream error (code tag absent)",
    204: "Account couldn't be created",
    205: "Account already existing",
    206: "Parameters not set correctly",
    207: "Permission denied",
    208: "Account creation failed, unknown reason",
    209: "User name already exists",
}


def refusal(code: int) -> Fault:
    """A documented fault, worded as a Java server words it: class name, colon, message."""
    reason = (REASONS | ACCOUNT_REASONS).get(code, "Unknown error")
    return Fault(code, f"fi.renderfarm.api.ApiException: {reason}")


def broken(message: str) -> Fault:
    """Fault -1: what the vendor's XML-RPC library says when it finds no one to ask."""
    return Fault(-1, f"redstone.xmlrpc.XmlRpcException: {message}")
