"""The pages as a browser is served them: whole, locked down, kept."""

import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from app.docs.static_file import STATIC
from app.docs.swagger_ui import LOCAL
from app.main import create_app
from tests.conftest import Farm, StartGateway, settings_for
from tests.running import client_of, running, serving

PAGES = ["/", "/docs", "/problems", "/problems/not_cached"]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
OWN_FILES = sorted(path.name for path in STATIC.glob("*.*") if path.suffix != ".html")


EXPECTED = {"sessions/300001": 404, "sessions/301001": 409}


@pytest.fixture(scope="module")
def site(_farm: Farm) -> Iterator[httpx.Client]:
    """One gateway for all these tests: its pages never change."""
    with (
        running(serving(create_app(settings_for(_farm.url)))) as url,
        client_of(url, headers=BROWSER) as client,
    ):
        yield client


class Page(HTMLParser):
    """What a page asks for, and what it holds that a strict policy would not run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.loaded: list[str] = []
        self.attributes: list[str] = []
        self.inline: list[str] = []
        self._within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element's attributes and addresses."""
        self._within = tag
        self.attributes += [name for name, _ in attrs]
        found = [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self.addresses += found
        if tag in ("link", "script", "img"):
            self.loaded += found

    def handle_endtag(self, tag: str) -> None:
        """Nothing that follows is inside a script or style any more."""
        self._within = ""

    def handle_data(self, data: str) -> None:
        """Note code and style that stand in the page itself."""
        if self._within in ("script", "style") and data.strip():
            self.inline.append(data)


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    """The directives of the answer's Content-Security-Policy, with their sources."""
    parts = (part.split() for part in answer.headers["content-security-policy"].split(";"))
    return {name: sources for name, *sources in parts}


def test_the_vendored_files_are_those_of_the_list() -> None:
    folder = STATIC / "swagger-ui"
    lines = (line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    there = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert there == listed
    assert {"LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui.css"} <= there.keys()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_s_policy_allows_nothing_but_its_own_origin(site: httpx.Client, path: str) -> None:
    answer = site.get(path)
    directives = policy(answer)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert directives.pop(name) == ["'none'"]
    assert directives.pop("img-src") in (["'self'"], ["'self'", "data:"])
    assert "style-src" in directives
    assert all(sources == ["'self'"] for sources in directives.values())


@pytest.mark.parametrize("path", [path for path in PAGES if path != "/docs"])
def test_a_page_but_the_reference_may_run_no_code_at_all(site: httpx.Client, path: str) -> None:
    assert policy(site.get(path)).keys().isdisjoint({"script-src", "connect-src"})


def test_the_reference_may_also_ask_the_public_address(start_gateway: StartGateway) -> None:
    answer = start_gateway(public_url="https://gw.example/farm").get("/docs")
    assert policy(answer)["connect-src"] == ["'self'", "https://gw.example"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_holds_no_inline_code_or_style(site: httpx.Client, path: str) -> None:
    page = Page(site.get(path).text)
    assert page.inline == []
    assert [name for name in page.attributes if name == "style" or name.startswith("on")] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_s_addresses_are_relative_and_lead_somewhere(site: httpx.Client, path: str) -> None:
    page = Page(site.get(path).text)
    assert page.loaded
    for address in page.addresses:
        assert re.match(r"[a-z]+:|/", address) is None, "must hold behind a path prefix"
        assert site.get(urljoin(path, address)).status_code == EXPECTED.get(address, 200)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_its_files_with_the_version(site: httpx.Client, path: str) -> None:
    version = site.get("/openapi.json").json()["info"]["version"]
    assert {address.partition("?")[2] for address in Page(site.get(path).text).loaded} == {
        f"v={version}"
    }


@pytest.mark.parametrize("name", OWN_FILES)
def test_our_own_files_name_no_other_host(name: str) -> None:
    text = (STATIC / name).read_text()
    namespace = "http://www.w3.org/2000/svg"  # a name, never fetched
    assert re.findall(r"https?://|//\w", text.replace(namespace, "")) == []


@pytest.mark.parametrize(
    "path", [*PAGES, *(f"/docs/{name}" for name in [*OWN_FILES, "swagger-ui-bundle.js"])]
)
def test_a_client_that_has_the_bytes_is_told_so(site: httpx.Client, path: str) -> None:
    first = site.get(path)
    again = site.get(path, headers={"If-None-Match": f'"other", {first.headers["etag"]}'})
    changed = site.get(path, headers={"If-None-Match": '"other"'})
    assert first.headers["etag"].startswith('"')
    assert (again.status_code, again.content) == (304, b"")
    for name in ("etag", "cache-control"):
        assert again.headers[name] == first.headers[name]
    assert changed.content == first.content


@pytest.mark.parametrize(
    ("path", "media_type", "freshness"),
    [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/docs", "text/html; charset=utf-8", "no-cache"),
        ("/docs/pages.css", "text/css; charset=utf-8", "public, max-age=3600"),
        ("/docs/init.js", "text/javascript; charset=utf-8", "public, max-age=3600"),
        ("/docs/icon.svg", "image/svg+xml", "public, max-age=3600"),
        ("/docs/favicon-32x32.png", "image/png", "public, max-age=3600"),
    ],
)
def test_each_file_goes_out_with_its_media_type_and_how_long_to_keep_it(
    site: httpx.Client, path: str, media_type: str, freshness: str
) -> None:
    answer = site.get(path)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == freshness
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_vendored_file_goes_out_unchanged(site: httpx.Client) -> None:
    kept = (STATIC / "swagger-ui" / "swagger-ui-bundle.js").read_bytes()
    assert site.get("/docs/swagger-ui-bundle.js").content == kept


def test_head_tells_the_size_and_sends_nothing(site: httpx.Client) -> None:
    answer = site.head("/docs/swagger-ui.css")
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 100_000


@pytest.mark.parametrize(
    "name",
    ["nothing.js", "docs.html", "problem.html", "..%2Fdocs.py", "%2e%2e%2fdocs.py", "LICENSE"],
)
def test_what_is_not_a_file_of_the_pages_is_a_problem(site: httpx.Client, name: str) -> None:
    answer = site.get(f"/docs/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


def test_the_examples_show_the_public_address_and_never_the_host_header(
    start_gateway: StartGateway,
) -> None:
    shown = start_gateway(public_url="https://gw.example").get("/", headers={"Host": "evil.test"})
    unset = start_gateway().get("/", headers={"Host": "evil.test"})
    assert "curl https://gw.example/sessions/1005" in shown.text
    assert f"curl {LOCAL}/sessions/1005" in unset.text
    assert "evil.test" not in shown.text + unset.text


def test_the_public_address_is_text_and_never_markup(start_gateway: StartGateway) -> None:
    gateway = start_gateway(public_url="https://gw.example/<b>")
    landing, problem = (gateway.get(path, headers=BROWSER).text for path in ("/", PAGES[-1]))
    assert "curl https://gw.example/&lt;b&gt;/sessions/1005" in landing
    assert "https://gw.example/&lt;b&gt;/problems/not_cached" in problem
    assert "<b>" not in landing + problem


def test_the_typed_snippet_names_what_the_client_has(site: httpx.Client) -> None:
    client = Path(__file__).parents[1] / "clients" / "typescript"
    package = json.loads((client / "package.json").read_text(encoding="utf-8"))
    page = site.get("/").text
    assert f'from "{package["name"]}"' in page
    exported = (client / "src" / "index.ts").read_text(encoding="utf-8")
    functions = (client / "src" / "client.ts").read_text(encoding="utf-8")
    assert "createClient" in exported
    for name in re.findall(r"const \{ (\w+), (\w+) \} = createClient", page)[0]:
        assert f"{name}(id: number" in functions
