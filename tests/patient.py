"""``rfgw``, to which no answer of a shared cache is late: see ``patience``."""

import sys

from app.cli import main as cli
from app.cluster import handshake, redis_connection, redis_url
from tests.programs import WITHIN

# In workers, too: each imports what the program was begun with.
redis_connection.DEADLINE = redis_connection.QUIET = redis_url.CONNECT = WITHIN
handshake.CONNECT = WITHIN  # type: ignore[attr-defined]

if __name__ == "__main__":
    sys.exit(cli.main())
