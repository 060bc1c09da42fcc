"""``rfgw``, to which no answer of a shared cache is late: see ``patience``."""

import sys

import app.cluster.redis_connection
from app.cli import main as cli
from tests.programs import WITHIN

app.cluster.redis_connection.DEADLINE = (
    WITHIN  # in workers, too: each imports what the program was begun with
)

if __name__ == "__main__":
    sys.exit(cli.main())
