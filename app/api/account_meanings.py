"""What the codes of new accounts mean: a part of the status table.

Must not know our exceptions, requests or responses.
"""

from app.api.error_codes import Code, Meaning

ACCOUNT_MEANINGS: dict[Code, Meaning] = {
    Code.ACCOUNT_FORBIDDEN: Meaning(
        403,
        "No right to make accounts",
        "Accounts cannot be made with this key.",
        "The API key has no scope accounts, or the render farm does not let this site make any.",
        "Ask the operator of the gateway for a key that may.",
    ),
    Code.ACCOUNT_EXISTS: Meaning(
        409,
        "Account exists already",
        "The render farm has an account for this address.",
        "Its owner has made one, or it was made for them.",
        "Let its owner log in at the farm.",
    ),
    Code.NAME_TAKEN: Meaning(
        409,
        "Name taken",
        "The render farm has another user with the name that this address leads to.",
        "The farm makes a user's name of the address, and somebody has it.",
        "Use another address.",
    ),
    Code.EMAIL_REFUSED: Meaning(
        422,
        "Address refused",
        "The render farm takes no such address.",
        "The address is well-formed, but not to the farm's liking.",
        "Check the address.",
    ),
    Code.ACCOUNT_NOT_CREATED: Meaning(
        502,
        "Account not made",
        "The render farm could not make the account, and does not say why.",
        "Something is wrong at the farm. To ask again does not help.",
        "Report it to the operator of the gateway with the requestId.",
    ),
}
"""Rows of the status table."""
