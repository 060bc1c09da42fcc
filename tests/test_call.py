"""A call as a value: what tells visitors and addresses apart, and tells nobody who they are."""

import subprocess
import sys

from app.core.call import Token, private_digest
from tests.programs import WITHIN


def test_a_token_with_another_secret_or_key_is_another() -> None:
    assert Token("key", "one").digest != Token("key", "two").digest
    assert Token("one", "").digest != Token("two", "").digest
    assert Token("key", "one").digest == Token("key", "one").digest


def test_no_other_process_can_work_out_a_digest() -> None:
    script = "from app.core.call import private_digest; print(private_digest('192.0.2.1'))"
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=WITHIN
    ).stdout.strip()
    assert len(elsewhere) == len(private_digest("192.0.2.1"))
    assert elsewhere != private_digest("192.0.2.1")
