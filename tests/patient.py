"""``rfgw``, to which no answer of a shared cache is late: see ``patience``."""

import sys

import app.cache.redis
from app import cli
from tests.programs import WITHIN

app.cache.redis.DEADLINE = WITHIN  # in workers, too: each imports what the program was begun with

if __name__ == "__main__":
    sys.exit(cli.main())
