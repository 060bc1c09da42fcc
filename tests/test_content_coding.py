"""Answers in gzip: who gets them, and what is the same whether they are or not."""

import asyncio
import gzip
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from app.api.content_coding import LARGE, LEAST, ContentCoding, compressed
from app.cache.memory import OVERHEAD, MemoryStore
from app.core.cache_entry import CacheEntry, digest
from app.edge.representation import BODY, MAX_BYTES, START, Representations
from app.main import create_app
from app.resources.session_model import Session
from tests.conftest import Farm, StartGateway, settings_for
from tests.hostile_farm import member, session
from tests.programs import free_port
from tests.running import client_of, running, serving
from tests.test_http import Answer, listed, raw
from tests.test_nginx import nginx_with
from tests.test_upstream import body

pytestmark = pytest.mark.slow

GZIP = b"Accept-Encoding: gzip"
SESSION = "/sessions/1008"
TAKEN = [
    "gzip", "GZIP", "x-gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*",
    "gzip;q=0.001", "identity;q=0.5, gzip;q=0.5", "deflate, gzip", "*;q=0.5", " gzip ; q=1 ",
    "identity;q=0", "identity;q=0, *", "gzip;q=1, identity;q=0", "gzip, *;q=0",
]  # fmt: skip
NOT_TAKEN = [
    "", "identity", "br", "deflate, br, zstd", "gzip;q=0", "x-gzip;q=0", "gzip;q=0.0, *", "*;q=0",
    "identity, gzip;q=0.5", "gzip;q=0.5, *", "gzip;q=x", "gzipped", "identity;q=0, gzip;q=0",
]  # fmt: skip
ALL_FIELDS = ",".join(Session.model_fields)
TEXTS = [
    "/sessions?ids=1001,1008", f"{SESSION}?fields={ALL_FIELDS}", "/problems",
    "/openapi.json", "/openapi-3.0.json", "/metrics", "/",
    "/docs/pages.css", "/docs/swagger-ui-bundle.js", "/docs/init.js", "/docs/swagger-ui.css",
    f"/sessions?ids=0{',0' * 30}",
]  # fmt: skip
"""What else is long enough: a list, a part, pages, documents, numbers, files; a problem."""
CODED_FIELDS = ("content-encoding", "content-length", "etag")
ALWAYS_OTHER = ("date", "server-timing", "x-request-id", "age", "cache-status")


@pytest.fixture(scope="module")
def site(_farm: Farm) -> Iterator[httpx.Client]:
    """One gateway for all tests that only look. Its clock stands still: max-age counts down."""
    settings = settings_for(_farm.url, fresh_active=3600, fresh_terminal=3600)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.wiring.age_clock", lambda: 1000.0)
        app = create_app(settings)
    with running(serving(app)) as url, client_of(url) as client:
        yield client


def is_coded(answer: Answer) -> bool:
    """Whether the answer is in gzip, and says all that it then has to."""
    coded: bool = answer.headers.get("content-encoding") == "gzip"
    assert coded == (answer.body[:2] == b"\x1f\x8b")
    assert "accept-encoding" in listed(answer.headers["vary"])
    assert int(answer.headers["content-length"]) == len(answer.body)
    return coded


def same_fields(plain: Answer, coded: Answer) -> bool:
    """Whether two answers differ in nothing but what a coding changes, and in time."""
    without = (*CODED_FIELDS, *ALWAYS_OTHER)
    first, second = (
        [pair for pair in answer.headers.multi_items() if pair[0] not in without]
        for answer in (plain, coded)
    )
    return first == second


# --- Who gets what -----------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", TAKEN)
@pytest.mark.parametrize("query", ["", "?from=the-route"])
def test_who_takes_gzip_gets_it_from_the_fast_path_and_from_the_route(
    site: httpx.Client, accepted: str, query: str
) -> None:
    plain = raw(site, SESSION)
    coded = raw(site, SESSION + query, b"Accept-Encoding: " + accepted.encode())
    assert not is_coded(plain)
    assert is_coded(coded)
    assert gzip.decompress(coded.body) == plain.body
    assert len(coded.body) < len(plain.body) / 2
    assert coded.headers["etag"] == f'{plain.headers["etag"][:-1]}-gzip"'
    assert same_fields(plain, coded)


@pytest.mark.parametrize("accepted", NOT_TAKEN)
@pytest.mark.parametrize("query", ["", "?from=the-route"])
def test_who_does_not_take_gzip_gets_none(site: httpx.Client, accepted: str, query: str) -> None:
    answer = raw(site, SESSION + query, b"Accept-Encoding: " + accepted.encode())
    assert not is_coded(answer)
    assert answer.body == raw(site, SESSION).body


def test_a_field_in_several_lines_is_one(site: httpx.Client) -> None:
    assert is_coded(raw(site, SESSION, b"Accept-Encoding: br", b"Accept-Encoding: gzip"))
    assert not is_coded(raw(site, SESSION, b"Accept-Encoding: gzip;q=0", GZIP))


@pytest.mark.parametrize("control", ["no-transform", "max-age=0, No-Transform"])
@pytest.mark.parametrize("path", [SESSION, f"{SESSION}?x", "/problems", "/docs/pages.css"])
def test_who_forbids_to_transform_gets_the_plain_answer(
    site: httpx.Client, control: str, path: str
) -> None:
    assert not is_coded(raw(site, path, GZIP, f"Cache-Control: {control}".encode()))


@pytest.mark.parametrize("path", TEXTS)
def test_all_long_texts_go_in_gzip(site: httpx.Client, path: str) -> None:
    plain, coded = raw(site, path), raw(site, path, GZIP)
    assert not is_coded(plain)
    assert is_coded(coded)
    assert coded.status == plain.status
    if path != "/metrics" and plain.status == 200:  # the others are never the same twice
        assert gzip.decompress(coded.body) == plain.body
    assert len(coded.body) < len(plain.body)
    assert same_fields(plain, coded)


@pytest.mark.parametrize("path", ["/health/live", "/sessions/0", f"{SESSION}?fields=title"])
def test_a_short_answer_is_compressed_only_for_who_takes_nothing_else(
    site: httpx.Client, path: str
) -> None:
    plain = raw(site, path, GZIP)
    assert not is_coded(plain)
    assert len(plain.body) < LEAST
    assert is_coded(raw(site, path, b"Accept-Encoding: gzip, identity;q=0"))


def test_a_picture_is_small_already(site: httpx.Client) -> None:
    answer = raw(site, "/docs/favicon-32x32.png", GZIP, b"Accept-Encoding: identity;q=0")
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


def test_a_stream_goes_plain(site: httpx.Client) -> None:
    with site.stream("GET", f"{SESSION}/events", headers={"Accept-Encoding": "gzip"}) as stream:
        assert "content-encoding" not in stream.headers
        assert next(stream.iter_lines()).startswith("retry: ")


@pytest.mark.parametrize("query", ["", "?from=the-route"])
def test_with_compression_off_nothing_is_compressed_or_says_so(
    start_gateway: StartGateway, query: str
) -> None:
    gateway = start_gateway(compress=False)
    for path in (f"{SESSION}{query}", "/sessions?ids=1001,1008", "/problems", "/docs/pages.css"):
        for _ in range(2):
            answer = raw(gateway, path, b"Accept-Encoding: gzip, identity;q=0")
            assert answer.status == 200
            assert "content-encoding" not in answer.headers
            assert "accept-encoding" not in listed(answer.headers.get("vary", ""))


# --- Conditional requests, and HEAD --------------------------------------------------------------

TAGGED = [
    SESSION, f"{SESSION}?x", "/sessions?ids=1001,1008", "/problems", "/openapi.json",
    "/docs/pages.css",
]  # fmt: skip


@pytest.mark.parametrize("path", TAGGED)
@pytest.mark.parametrize("accepted", [b"gzip", b"identity"])
def test_either_tag_is_not_modified_and_the_answer_has_the_tag_of_its_200(
    site: httpx.Client, path: str, accepted: bytes
) -> None:
    field = b"Accept-Encoding: " + accepted
    answer = raw(site, path, field)
    for tag in (raw(site, path).headers["etag"], raw(site, path, GZIP).headers["etag"]):
        for form in (tag, f"W/{tag}", f'"other", {tag}'):
            known = raw(site, path, field, f"If-None-Match: {form}".encode())
            assert (known.status, known.body) == (304, b"")
            assert known.headers["etag"] == answer.headers["etag"]
            assert "accept-encoding" in listed(known.headers["vary"])
            assert "content-encoding" not in known.headers
            assert "content-length" not in known.headers
            assert known.headers.get("cache-control") == answer.headers.get("cache-control")


@pytest.mark.parametrize("path", [*TAGGED, *TEXTS])
def test_head_tells_the_same_as_get(site: httpx.Client, path: str) -> None:
    for _ in range(2):
        full, head = raw(site, path, GZIP), raw(site, path, GZIP, method="HEAD")
        assert head.body == b""
        assert head.headers.get("content-encoding") == "gzip"
        assert head.headers.get("etag") == full.headers.get("etag")
        assert head.headers["vary"] == full.headers["vary"]
        if "etag" in full.headers:
            assert head.headers["content-length"] == full.headers["content-length"]


def test_a_list_with_a_problem_keeps_its_weak_tag(site: httpx.Client) -> None:
    path = "/sessions?ids=1008,300001"
    answer = raw(site, path, GZIP)
    tag = answer.headers["etag"]
    assert tag.startswith('W/"')
    assert tag.endswith('-gzip"')
    assert raw(site, path, GZIP, f"If-None-Match: {tag}".encode()).status == 304


def test_a_compressed_list_with_a_problem_tells_its_own_request_s_id(site: httpx.Client) -> None:
    path = "/sessions?ids=1008,300001"
    for request_id in (b"first", b"other"):
        answer = raw(site, path, GZIP, b"X-Request-ID: " + request_id)
        assert b'"requestId":"%b"' % request_id in gzip.decompress(answer.body)


def test_a_client_that_waits_for_a_change_may_name_the_compressed_tag(site: httpx.Client) -> None:
    tag = raw(site, SESSION, GZIP).headers["etag"]
    fields = (GZIP, b"Prefer: wait=1", f"If-None-Match: {tag}".encode())
    assert raw(site, SESSION, *fields).status == 304


def test_a_stream_goes_on_from_a_compressed_tag(site: httpx.Client) -> None:
    tag = raw(site, "/sessions/42", GZIP).headers["etag"]
    assert tag.endswith('-gzip"')
    assert "event: session" in site.get("/sessions/42/events").text
    again = site.get("/sessions/42/events", headers={"Last-Event-ID": tag})
    assert again.status_code == 204, "nothing more is to come"


# --- What it costs -------------------------------------------------------------------------------


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each body that is really compressed, whether that is done in an event loop."""
    done: list[bool] = []
    real = gzip.compress

    def noted(data: bytes, level: int, *, mtime: float) -> bytes:
        try:
            asyncio.get_running_loop()
            done.append(True)
        except RuntimeError:
            done.append(False)
        return real(data, level, mtime=mtime)

    monkeypatch.setattr(gzip, "compress", noted)
    return done


def test_a_kept_answer_is_compressed_once_and_only_if_somebody_asks(
    gateway: httpx.Client, jobs: list[bool]
) -> None:
    for _ in range(3):
        raw(gateway, SESSION)
    assert jobs == []
    for path in (SESSION, f"{SESSION}?x", SESSION, f"{SESSION}?y", SESSION):
        assert is_coded(raw(gateway, path, GZIP))
    assert len(jobs) == 1


def test_a_miss_that_is_compressed_is_a_compressed_hit_from_then_on(
    gateway: httpx.Client, jobs: list[bool]
) -> None:
    assert "fwd=uri-miss" in raw(gateway, SESSION, GZIP).headers["cache-status"] or jobs
    assert len(jobs) == 1
    assert "hit" in raw(gateway, SESSION, GZIP).headers["cache-status"]
    assert len(jobs) == 1


def test_the_same_answer_anew_is_not_compressed_anew(
    start_gateway: StartGateway, farm: Farm, jobs: list[bool]
) -> None:
    gateway = start_gateway(fresh_terminal=1, stale_while_revalidate=0)
    first = raw(gateway, "/sessions/42", GZIP)
    again = raw(gateway, "/sessions/42", GZIP, b"Cache-Control: no-cache")
    while farm.calls() < 2:  # an answer younger than a second is not asked for again
        again = raw(gateway, "/sessions/42", GZIP, b"Cache-Control: no-cache")
    assert again.headers["etag"] == first.headers["etag"]
    assert len(jobs) == 1


def test_a_large_answer_is_compressed_once_beside_the_event_loop(
    gateway: httpx.Client, farm: Farm, jobs: list[bool]
) -> None:
    more = "".join(member(str(i), f"http://farm.example/{i}") for i in range(2000))
    farm.next(body(session(member("thumbnails", f"<struct>{more}</struct>"), number=1008)))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: raw(gateway, SESSION, GZIP), range(16)))
    answers.append(raw(gateway, SESSION, GZIP))
    assert {len(gzip.decompress(answer.body)) > LARGE for answer in answers} == {True}
    assert farm.calls() == 1
    assert jobs == [False]


async def test_a_compressed_body_is_kept_before_anybody_has_it_even_if_all_have_left() -> None:
    coding, plain = ContentCoding(enabled=True), random.Random(1).randbytes(LARGE + 1)
    kept: list[bytes] = []
    first = asyncio.create_task(coding.compress_once(plain, "tag", kept.append))
    second = asyncio.create_task(coding.compress_once(plain, "tag", kept.append))
    await asyncio.sleep(0)
    (flight,) = coding._flights._tasks.values()
    first.cancel()
    await asyncio.wait([first, second])
    await flight
    assert first.cancelled()
    assert kept == [second.result()] == [compressed(plain)]


def gauge(gateway: httpx.Client, name: str) -> float:
    """A number of /metrics."""
    lines = gateway.get("/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name + " ")))


def test_kept_compressed_bodies_are_part_of_the_cache_and_go_with_their_entry(
    start_gateway: StartGateway, farm: Farm
) -> None:
    gateway = start_gateway(cache_max_entries=1)
    plain = raw(gateway, SESSION)
    before = gauge(gateway, "rfgw_cache_bytes")
    assert before == len(plain.body) + OVERHEAD
    coded = raw(gateway, SESSION, GZIP)
    assert gauge(gateway, "rfgw_cache_bytes") == before + len(coded.body)
    other = raw(gateway, "/sessions/1009")
    assert gauge(gateway, "rfgw_cache_bytes") == len(other.body) + OVERHEAD


KEPT = b'{"id":42,"title":"%b"}' % (b"a title " * 200)


def entry(body: bytes = KEPT) -> CacheEntry:
    """An answer that was just given."""
    return CacheEntry(body, digest(body), 0.0, 5.0, 5)


def test_the_store_counts_a_compressed_body_and_forgets_it_with_the_next_answer() -> None:
    store, coded = MemoryStore(max_entries=9, max_bytes=10_000), compressed(KEPT)
    store.put("a", entry())
    store.put_gzip("a", digest(KEPT), coded)
    assert store.get("a") == entry()._replace(gzip=coded)
    assert store.nbytes == len(KEPT) + len(coded) + OVERHEAD
    store.put("a", entry()._replace(asked_at=1.0))
    assert store.get("a") == entry()._replace(gzip=coded, asked_at=1.0)
    store.put("a", entry(b"another"))
    assert store.get("a") == entry(b"another")
    assert store.nbytes == len(b"another") + OVERHEAD


def test_the_store_keeps_no_compressed_body_of_what_it_has_not() -> None:
    store = MemoryStore(max_entries=9, max_bytes=10_000)
    store.put_gzip("a", digest(KEPT), b"compressed")
    store.put("b", entry())
    store.put_gzip("b", "another", b"compressed")
    assert store.items() == [("b", entry())]
    tight = MemoryStore(max_entries=9, max_bytes=len(KEPT) + OVERHEAD + 9)
    tight.put("a", entry())
    tight.put_gzip("a", digest(KEPT), b"ten bytes.")
    assert tight.get("a") == entry()
    tight.put_gzip("a", digest(KEPT), b"nine byte")
    assert tight.get("a") == entry()._replace(gzip=b"nine byte")


def test_a_compressed_body_pushes_the_oldest_answers_out() -> None:
    store = MemoryStore(max_entries=9, max_bytes=2 * (len(KEPT) + OVERHEAD) + 50)
    store.put("old", entry())
    store.put("new", entry())
    store.put_gzip("new", digest(KEPT), compressed(KEPT))
    assert [key for key, _ in store.items()] == ["new"]


async def test_an_answer_is_not_given_the_compressed_body_of_the_next(farm: Farm) -> None:
    gateway: Any = create_app(settings_for(farm.url))
    services = gateway.app.state.services
    replies, store = services.responders.replies, services.gateway.store
    store.put("a", entry(KEPT + b"\n")._replace(gzip=compressed(KEPT + b"\n")))
    given = await replies._compressed("a", entry())
    assert gzip.decompress(given.gzip) == KEPT
    store.put("a", entry()._replace(gzip=b"what another has made of it"))
    assert (await replies._compressed("a", entry())).gzip == b"what another has made of it"


def test_no_field_makes_it_cost_more_than_its_length() -> None:
    coding = ContentCoding(enabled=True)
    assert coding.least(b"gzip;q=0," * 4000, None) > LEAST
    assert coding.least(b"br," * 4000 + b"gzip", None) > LEAST  # beyond what is read


# --- Proxies -------------------------------------------------------------------------------------

PROXIES = """
gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
server {
    listen 127.0.0.1:%d;
    location /as-it-is/ { proxy_pass http://127.0.0.1:%d/; }
    location /stripped/ { proxy_set_header Accept-Encoding ""; proxy_pass http://127.0.0.1:%d/; }
}
"""


@pytest.mark.parametrize("way", ["as-it-is", "stripped"])
def test_a_proxy_that_compresses_and_one_that_strips_the_field_change_nothing(
    gateway: httpx.Client, tmp_path: Path, way: str
) -> None:
    port, ours = free_port(), gateway.base_url.port
    plain = raw(gateway, SESSION)
    with nginx_with(tmp_path, PROXIES % (port, ours, ours), port) as nginx:
        path = f"/{way}{SESSION}"
        answer = raw(nginx, path, GZIP)
        assert answer.headers.get_list("content-encoding") == ["gzip"]
        assert raw(nginx, path, b"Accept-Encoding: identity").body == plain.body
        assert nginx.get(path).content == plain.body
        tag = answer.headers["etag"]
        known = raw(nginx, path, GZIP, f"If-None-Match: {tag}".encode())
        assert known.status == 304


async def test_what_is_kept_of_other_answers_has_a_bound() -> None:
    representations = Representations(ContentCoding(enabled=True))
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    chance = random.Random(1)
    for number in range(64):
        body = chance.randbytes(MAX_BYTES // 32)
        told = [
            (b"content-type", b"application/json"), (b"etag", b'"%d"' % number),
            (b"content-length", b"%d" % len(body)),
        ]  # fmt: skip
        select = representations.selecting([(b"accept-encoding", b"gzip")], send)
        await select({"type": START, "status": 200, "headers": told})
        await select({"type": BODY, "body": body})
        assert gzip.decompress(sent[-1]["body"]) == body
    assert 0 < sum(len(kept) for kept in representations._kept.values()) <= MAX_BYTES
