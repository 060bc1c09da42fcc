"""Conditional requests: does the client have the answer already (RFC 9110 sections 8.8 and 13.1.2)?

Knows entity tags and what proxies make of them. Must not know answers.
"""

import re

from app.api.field_lists import MAX_MEMBERS

_CODING = re.compile(rb'(?:--?|;)(?:gzip|br)"\Z')
"""What Apache, nginx modules and others append to the tag of an answer that they compress."""
MAX_TAG = 64
"""Characters of a tag that is read. Ours are shorter, whatever is appended; a connection keeps what
its last request named."""
ANY = ""
"""Among digests: whatever there is, the client has it. No tag is empty."""


def matches(if_none_match: bytes, digest: str) -> bool:
    """Whether the field names this digest's tag, by weak comparison (RFC 9110 section 8.8.3.2)."""
    return is_known(digest, digests_in(if_none_match))


def is_known(digest: str, known: frozenset[str]) -> bool:
    """Whether a field with these digests names this one."""
    return digest in known or ANY in known


def digests_in(if_none_match: bytes) -> frozenset[str]:
    """What the field's tags may have been made of, whatever their coding; ``ANY`` for ``*``.

    Our tags hold no comma, so a list may be split at commas. Unquoted text is no tag.
    """
    found = set()
    for tag in if_none_match.split(b",", MAX_MEMBERS)[:MAX_MEMBERS]:
        strong = tag.strip().removeprefix(b"W/")
        for form in (strong, _CODING.sub(b'"', strong)):
            if 2 < len(form) <= MAX_TAG and form.startswith(b'"') and form.endswith(b'"'):
                found.add(form[1:-1].decode("latin-1"))
    return frozenset((ANY,)) if if_none_match.strip() == b"*" else frozenset(found)


def digest_in(tag: bytes) -> str:
    """What a tag of ours was made of, whatever the body's coding.

    Proxies that compress mark it as weak, or add the coding's name.
    """
    return _CODING.sub(b'"', tag.removeprefix(b"W/")).strip(b'"').decode()
