"""The shared cache: can it be reached, written and read, and does it make room when it is full?

Knows the link and what a server tells of itself. Must not know entries, nor what is kept there.
"""

import asyncio
import re
import secrets
import time
from urllib.parse import urlsplit

from redis.exceptions import ResponseError

from app.cli.doctor.finding import Finding
from app.cli.doctor.way import Target, greet
from app.cluster.probe import probe_of
from app.cluster.redis_connection import RedisConnection, RedisReply, Unreachable
from app.cluster.redis_url import CONNECT
from app.cluster.shared_store import names_of

PORT = 6379
"""Where such a server listens if the address does not say."""
KEPT = 10_000
"""Milliseconds after which the server drops what was written, should this process end first."""

CERTIFICATE = "check port and scheme in RFGW_CACHE_URL, and the certificate's names and dates; its "
CERTIFICATE += "authority must be one of the system's, or in the file that SSL_CERT_FILE names"
NO_WRITES = (
    "the server refuses to write",
    "see whether its memory is full, its disk in trouble, or its replicas are gone",
)
REPLICA = ("the server is a replica, which takes no writes", "give the primary in RFGW_CACHE_URL")
RIGHTS = "allow it what docs/operating.md lists (~rfgw:* &rfgw:* +eval and more)"
DOWN: dict[str, tuple[str, str]] = {
    "refused": (
        "the server cannot be reached, or takes no more clients",
        "check RFGW_CACHE_URL (rediss:// for TLS), whether the server runs, and its maxclients",
    ),
    "tls": ("TLS fails", CERTIFICATE),
    "auth": (
        "the server lets nobody in with this name and password",
        "check those in RFGW_CACHE_URL, and that the user may use rfgw:* keys and channels",
    ),
    "denied": ("the user may not do all that the gateway does", RIGHTS),
    "unsupported": ("the server does not know all commands that the gateway needs", RIGHTS),
    "database": (
        "the server has no database of this number",
        "take the number at the end of RFGW_CACHE_URL away, or a lower one; a cluster has only 0",
    ),
    "cluster": (
        "the server is a cluster's, and another of its servers has the group's keys",
        "use a server that is no cluster",
    ),
    "replica": REPLICA,
    "full": NO_WRITES,
    "unwritable": NO_WRITES,
    "loading": ("the server still reads its data", "wait until it has"),
    "late": ("the server is too slow to be of use", "use one that is near and not busy"),
    "closed": ("the server ended the connection", "look into its log"),
    "moved": ("the server's name leads elsewhere now", "try again"),
    "odd": ("no Redis or Valkey speaks there", "check RFGW_CACHE_URL"),
}
"""Why there is no connection, in plain words, and what to do."""
LATE = Finding("cache", "FAIL", *DOWN["late"])
NO_EVICTION = "when it is full it refuses to write"
EVICT = "set its maxmemory, and maxmemory-policy to allkeys-lru"


class First:
    """Hears how the first try to connect ended: an empty text if well, else why not."""

    def __init__(self) -> None:
        self.told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_message(self, message: bytes) -> None:
        """Nobody is listened to."""

    def on_connected(self) -> None:
        """Both connections are there."""
        self.on_disconnected("")

    def on_disconnected(self, cause: str) -> None:
        """Only what comes first is of interest."""
        if not self.told.done():
            self.told.set_result(cause)


async def examine_cache(url: str, group: str = "doctor") -> Finding:
    """What the server at ``url`` is good for to this ``group``.

    Does what the gateway does, with keys of its own, and deletes them.
    """
    found = await _examined(url, group)
    # Once late is no habit: either side may have been busy with something else.
    return await _examined(url, group) if found == LATE else found


async def _examined(url: str, group: str) -> Finding:
    prefix, channel = names_of(group)
    connection, first = RedisConnection(url, channel, probe_of(prefix, channel)), First()
    running = asyncio.create_task(connection.run(first))
    try:
        async with asyncio.timeout(4 * CONNECT):
            cause = await first.told
        if cause:
            says, do = DOWN[cause]
            return Finding("cache", "FAIL", _handshake(url) if cause == "tls" else says, do)
        return await _used(connection, f"{prefix}:doctor:{secrets.token_hex(8)}".encode())
    except TimeoutError:
        return LATE
    except Unreachable as gone:
        return LATE if gone.outcome == "late" else Finding("cache", "FAIL", *DOWN["closed"])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _handshake(url: str) -> str:
    """What is wrong with it, by trying again: the link tells only that something is."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORT
    return greet(Target(host, port, True, None, CONNECT), (host, port)).says


async def _used(connection: RedisConnection, key: bytes) -> Finding:
    """Write, read and delete as the gateway does, then ask the server who it is."""
    value = secrets.token_bytes(16)
    began = time.monotonic()
    wrote, read, _ = await connection.ask(
        ("SET", key, value, "PX", KEPT), ("GET", key), ("DEL", key)
    )
    took = (time.monotonic() - began) * 1000
    told = await connection.ask(
        *(("INFO", section) for section in ("server", "replication", "memory"))
    )
    return judged(wrote, read == value, told, took)


def judged(wrote: RedisReply, same: bool, told: list[RedisReply], took: float) -> Finding:
    """By the answers to SET, GET and INFO, and how many milliseconds the first two took."""
    about = b"\n".join(reply for reply in told if isinstance(reply, bytes)).decode("latin-1")
    if _word("role", about) == "slave":
        return Finding("cache", "FAIL", *REPLICA)
    if isinstance(wrote, ResponseError) or not same:
        return Finding("cache", "FAIL", *NO_WRITES)
    names = {"valkey_version": "Valkey", "redis_version": "Redis"}
    which = [f"{name} {_word(key, about)}" for key, name in names.items() if _word(key, about)]
    policy = _word("maxmemory_policy", about)
    says = f"{(which or ['the server'])[0]}: written and read in {took:.1f} ms"
    if policy == "noeviction":
        return Finding("cache", "warn", f"{says}, but {NO_EVICTION} (noeviction)", EVICT)
    if not policy:
        return Finding("cache", "ok", f"{says}; it does not tell what it does when it is full")
    return Finding("cache", "ok", f"{says}, {policy}")


def _word(name: str, about: str) -> str:
    """One value of INFO; empty if it is not told, or is no plain word."""
    found = re.search(rf"^{name}:([\w.-]{{1,32}})\r?$", about, re.MULTILINE | re.ASCII)
    return found[1] if found else ""
