"""The pages in a real browser: they draw, they work, they ask nobody else, and report no error.

And a page of another origin, in the same browser: what its scripts can read of our answers.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import urlencode, urlsplit

import pytest
import uvicorn
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.gateway import Gateway
from app.edge.api_keys import new_key
from app.main import create_app
from app.sandbox.data import LIVES
from app.sandbox.server import create_farm, farm_server
from tests.conftest import Farm, StartGateway, settings_for
from tests.running import Wrapped, client_of, running, serving
from tests.test_sandbox_login import SiteClient

FLAGS = [
    "--no-sandbox",  # a container's root has none to be had
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHOTS = os.environ.get("TEST_SHOTS")
"""A folder for a picture of each page that is looked at; none are taken without."""

PATIENCE = 60_000.0
"""Milliseconds until something is seen on a page: a bound for what takes one or two seconds."""

PHONE, DESK = 390, 1280
LOOKS = [("light", DESK), ("dark", PHONE)]

DOCS = Path(__file__).parents[1] / "docs"
PICTURES = {
    "landing": ("/", "From TypeScript", 1900),
    "reference": ("/docs#/sessions/getSession", "Response body", 1800),
}
"""The README's pictures: what they are of, what has to be on them, and how tall they are."""

WORST_CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(element.parentElement) : colour;
  };
  const ratios = [...document.body.querySelectorAll("*")].map((element) => {
    const [dim, bright] = [light(getComputedStyle(element).color), light(behind(element))].sort(
      (a, b) => a - b,
    );
    return (bright + 0.05) / (dim + 0.05);
  });
  return Math.min(...ratios);
}"""
"""The least contrast of text and ground on the page, as WCAG 2 section 1.4.3 counts it."""


@dataclass
class Visit:
    """An opened page, and what its browser had to say against it."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def watch(self, origin: str) -> None:
        """Note console errors and warnings, crashes, and requests to other origins."""

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.complaints.append(message.text)

        def asked(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != origin:
                self.complaints.append(f"asked {request.url}")

        self.page.on("console", heard)
        self.page.on("request", asked)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def picture(self, name: str, *, whole: bool = True) -> None:
        """Take a picture of the whole page or of what is in view, if there is a folder for it."""
        if SHOTS:
            self.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=whole)


OpenPage = Callable[..., Visit]
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def gateway_url(_farm: Farm) -> Iterator[str]:
    """The base address of the gateway that is looked at."""
    with running(serving(create_app(settings_for(_farm.url)))) as url:
        yield url


@dataclass
class Wound:
    """A gateway whose time stands still, but for the seconds that a test lets pass."""

    passed: float = 0
    url: str = ""

    def monotonic(self) -> float:
        """The gateway's clock."""
        return 1000 + self.passed


@pytest.fixture
def wound(start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch) -> Wound:
    """A gateway of its own, on a clock wound by hand."""
    wound = Wound()
    monkeypatch.setattr("app.wiring.age_clock", wound.monotonic)
    wound.url = str(start_gateway().base_url).rstrip("/")
    return wound


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Where it is missing these tests are skipped, but never in CI.

    The shell without windows, if it is there, takes half of the whole browser's processor time.
    """
    path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if path is None:
        reason = "the pages were not looked at (apt-get install chromium-headless-shell)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address and waits until nothing more is fetched."""
    with ExitStack() as stack:

        def open_page(
            url: str, *, width: int = DESK, height: int = 900, scheme: Scheme = "light"
        ) -> Visit:
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": height}
            )
            stack.callback(context.close)
            visit = Visit(context.new_page())
            visit.watch("{0.scheme}://{0.netloc}".format(urlsplit(url)))
            visit.page.goto(url, wait_until="networkidle")
            return visit

        yield open_page


@pytest.fixture(scope="module")
def foreign_url() -> Iterator[str]:
    """A page of another origin, as a frontend is: a port of its own is an origin of its own."""

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("<!doctype html><title>Elsewhere</title>", media_type="text/html")(
            scope, receive, send
        )

    with running(uvicorn.Server(uvicorn.Config(page, log_config=None, lifespan="off"))) as url:
        yield f"{url}/"


def ask(page: Page, url: str, **options: object) -> dict[str, Any]:
    """What a script of ``page`` can read of an answer: status, headers and body, or an error."""
    script = """async ([url, options]) => {
      try {
        const answer = await fetch(url, { cache: "no-store", ...options });
        const headers = Object.fromEntries(answer.headers);
        return { status: answer.status, headers, text: await answer.text() };
      } catch (error) {
        return { error: error.name };
      }
    }"""
    told: dict[str, Any] = page.evaluate(script, [url, options])
    return {**told, "body": json.loads(told["text"])} if told.get("text") else told


def behind_a_prefix(app: ASGIApp, prefix: str) -> ASGIApp:
    """What a front server does that gives the gateway only what is below ``prefix``."""

    async def fast_path(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            inside = scope["path"].startswith(f"{prefix}/")
            path = scope["path"].removeprefix(prefix) if inside else "/outside"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    return fast_path


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_landing_page_draws_without_a_complaint(
    open_page: OpenPage, gateway_url: str, width: int, scheme: Scheme
) -> None:
    visit = open_page(f"{gateway_url}/", width=width, scheme=scheme)
    visit.picture(f"landing-{scheme}-{width}")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("Renderfarm gateway")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate(WORST_CONTRAST) >= 4.5
    assert visit.complaints == []


def test_the_landing_page_is_dark_where_the_reader_wants_it(
    open_page: OpenPage, gateway_url: str
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light, dark = (
        open_page(f"{gateway_url}/", scheme=scheme).page.evaluate(ground)
        for scheme in ("light", "dark")
    )
    assert light != dark


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_reference_lists_the_operations_without_a_complaint(
    open_page: OpenPage, gateway_url: str, width: int, scheme: Scheme
) -> None:
    visit = open_page(f"{gateway_url}/docs", width=width, scheme=scheme)
    names = visit.page.locator(".opblock-summary-operation-id")
    for name in ("getSession", "getReadiness"):
        expect(names.get_by_text(name, exact=True)).to_be_visible()
    visit.picture(f"docs-{scheme}-{width}")
    dark = visit.page.locator("html.dark-mode").count() == 1
    assert dark == (scheme == "dark")
    assert visit.complaints == []


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
@pytest.mark.parametrize(
    ("path", "heading"),
    [("/problems", "Problems"), ("/problems/session_not_found", "Session not found")],
)
def test_a_problem_page_reads_well(
    open_page: OpenPage, gateway_url: str, path: str, heading: str, width: int, scheme: Scheme
) -> None:
    visit = open_page(f"{gateway_url}{path}", width=width, scheme=scheme)
    visit.picture(f"{path[1:].replace('/', '-')}-{scheme}-{width}")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text(heading)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate(WORST_CONTRAST) >= 4.5
    assert visit.complaints == []


def test_every_problem_s_example_can_be_seen_in_the_reference(
    open_page: OpenPage, gateway_url: str
) -> None:
    page = open_page(f"{gateway_url}/docs#/sessions/getSession").page
    document = page.request.get(f"{gateway_url}/openapi.json").json()
    responses = document["paths"]["/sessions/{id}"]["get"]["responses"]
    for status in (status for status in responses if int(status) >= 400):
        examples = responses[status]["content"]["application/problem+json"]["examples"]
        shown = page.locator(f'tr.response[data-code="{status}"]')
        shown.locator("select.content-type").select_option("application/problem+json")
        for name, example in examples.items():
            if len(examples) > 1:
                shown.locator("select.examples-select-element").select_option(name)
            expect(shown.locator("pre.example")).to_contain_text(example["value"]["detail"])


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_try_it_out_works_on_the_first_click(
    open_page: OpenPage, gateway_url: str, scheme: Scheme, width: int
) -> None:
    visit = open_page(f"{gateway_url}/docs#/sessions/getSession", scheme=scheme, width=width)
    live = execute(visit.page)
    expect(live.locator(".response-col_status").first).to_contain_text("200")
    expect(live).to_contain_text("cache-status: rfgw")
    visit.picture(f"tried-{scheme}-{width}")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.complaints == []


def test_try_it_out_shows_a_problem(open_page: OpenPage, gateway_url: str) -> None:
    visit = open_page(f"{gateway_url}/docs#/sessions/getSession")
    examples = visit.page.locator(".parameters .examples-select-element").first
    examples.select_option("missing")
    live = execute(visit.page)
    expect(live.locator(".response-col_status").first).to_contain_text("404")
    expect(live).to_contain_text('"code": "session_not_found"')
    # The browser itself reports every answer that is an error.
    assert [text for text in visit.complaints if "status of 404" not in text] == []


def execute(page: Page) -> Locator:
    """Click Execute in the one operation that is open; what came is in the table's body."""
    operation = page.locator("#operations-sessions-getSession")
    operation.get_by_role("button", name="Execute").click()
    return operation.locator(".live-responses-table tbody")


@pytest.mark.parametrize("name", PICTURES)
def test_the_readme_shows_what_is_there(open_page: OpenPage, gateway_url: str, name: str) -> None:
    path, text, height = PICTURES[name]
    visit = open_page(f"{gateway_url}{path}", width=960, height=height)
    if path != "/":
        expect(execute(visit.page)).to_contain_text("cache-status")
        visit.page.locator("#operations-tag-sessions").evaluate("it => it.scrollIntoView()")
    expect(visit.page.get_by_text(text).first).to_be_in_viewport()
    visit.picture(name, whole=False)
    kept = (DOCS / "images" / f"{name}.png").read_bytes()
    assert kept.startswith(b"\x89PNG")
    assert len(kept) < 200_000
    assert f"docs/images/{name}.png" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def busy_url(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gateway whose status may be seen, after some traffic, twenty minutes of it by its clock."""
    moments = [time.time() - 1200]
    edge = create_app(settings_for(farm.url, status="loopback", log_requests=False))
    status = edge.app.state.services.status  # type: ignore[attr-defined]
    monkeypatch.setattr(status, "_now", lambda: moments[0])
    with running(serving(edge)) as url, client_of(url) as client:
        for turn in range(60):
            for _ in range(3 + turn % 7):
                client.get(f"/sessions/{1001 + turn % 12}")
            if turn in (20, 21, 45):
                client.get(f"/sessions/501{turn:03}")
            if turn == 30:
                client.get("/sessions/706001")
            moments[0] += 20
            status.sample()
        yield url


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_status_page_draws_what_has_happened(
    open_page: OpenPage, busy_url: str, scheme: Scheme, width: int
) -> None:
    visit = open_page(f"{busy_url}/status", width=width, scheme=scheme)
    page = visit.page
    expect(page.locator("#state")).to_contain_text("Version")
    expect(page.locator("#charts svg path").first).to_have_attribute("d", re.compile("M.*L"))
    expect(page.get_by_role("img", name=re.compile("^Requests: now .*, at most "))).to_be_visible()
    expect(page.locator("#tiles")).to_contain_text("closed")
    expect(page.locator("#failures tr").first).to_contain_text("http_status")
    expect(page.locator("#failures")).to_contain_text("misread")
    expect(page.get_by_label("API key")).to_be_hidden()
    visit.picture(f"status-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WORST_CONTRAST) >= 4.5
    assert visit.complaints == []


def test_the_operator_s_guide_shows_the_status_page(open_page: OpenPage, busy_url: str) -> None:
    visit = open_page(f"{busy_url}/status", width=960, height=1350)
    expect(visit.page.locator("#tiles")).to_contain_text("Workers")
    visit.picture("status", whole=False)
    kept = (DOCS / "images" / "status.png").read_bytes()
    assert kept.startswith(b"\x89PNG")
    assert len(kept) < 200_000
    assert "images/status.png" in (DOCS / "operating.md").read_text(encoding="utf-8")


def test_the_status_page_is_live_and_stops_by_the_keyboard(browser: Browser, busy_url: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.clock.install()
        asked: list[str] = []
        page.on("requestfinished", lambda it: asked.append(it.url) if ".json" in it.url else None)
        page.goto(f"{busy_url}/status")
        expect(page.locator("#numbers")).to_be_visible()
        with page.expect_response("**/status.json"):
            page.clock.fast_forward(10_000)
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Pause")).to_be_focused()
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="Resume")).to_be_visible()
        before = len(asked)
        page.clock.fast_forward(60_000)
        with page.expect_response("**/status.json"):
            page.keyboard.press("Space")
        assert len(asked) <= before + 1


def test_the_status_page_asks_for_a_key_and_says_what_is_wrong_with_it(
    open_page: OpenPage, start_gateway: StartGateway, tmp_path: Path
) -> None:
    (operator, one), (client, other) = new_key("ops", ["status"]), new_key("site-a")
    (tmp_path / "keys").write_text(f"{one}\n{other}\n")
    gateway = start_gateway(status="key", api_keys_file=tmp_path / "keys")
    visit = open_page(f"{gateway.base_url}/status")
    page, state = visit.page, visit.page.locator("#state")
    expect(state).to_have_text("The numbers are for operators.")
    for key, told in (("rfgw_no", "No such key."), (client, "This key's owner may not")):
        page.get_by_label("API key").fill(key)
        page.keyboard.press("Enter")
        expect(state).to_contain_text(told)
    page.get_by_label("API key").fill(operator)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#numbers")).to_be_visible()
    expect(page.get_by_label("API key")).to_be_hidden()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    # The browser itself reports every answer that is an error.
    assert [text for text in visit.complaints if "status of 40" not in text] == []


def test_the_landing_page_s_snippets_run_as_they_stand(
    open_page: OpenPage, gateway_url: str
) -> None:
    landing = open_page(f"{gateway_url}/").page
    shown = landing.locator("#curl").inner_text().removeprefix("curl ")
    base = shown.removesuffix("/sessions/1005")
    snippet = landing.locator("#fetch").inner_text().replace(base, gateway_url)
    said: list[str] = []
    page = open_page(f"{gateway_url}/docs").page  # a page whose policy lets it ask the gateway
    page.on("console", lambda message: said.append(message.text))
    page.evaluate(f"async () => {{ {snippet} }}")
    page.evaluate(f"async () => {{ {snippet.replace('1005', '300001')} }}")
    assert any(line.startswith("rendering ") for line in said)
    assert any(line.startswith("session_not_found No render session") for line in said)
    live = landing.locator("#events").inner_text().replace(base, gateway_url)
    with page.expect_console_message(lambda message: message.text == "1008 100"):
        page.evaluate(f"() => {{ {live} }}")


def guide_snippets(url: str) -> str:
    """The JavaScript of the frontend's guide, for the gateway at ``url``."""
    guide = (DOCS / "frontend.md").read_text(encoding="utf-8")
    snippets = "".join(re.findall(r"```js\n(.*?)```", guide, re.DOTALL))
    return snippets.replace("http://127.0.0.1:8000", url)


def test_the_frontend_guide_s_snippets_run_as_they_stand(
    open_page: OpenPage, gateway_url: str, foreign_url: str
) -> None:
    script = f"""async () => {{
      {guide_snippets(gateway_url)}
      const shown = [];
      const stop = new AbortController();
      await watch(1008, (session) => shown.push(session.progress.phase), stop.signal);
      const refused = await watch(300003, () => {{}}, stop.signal).catch((error) => error);
      const missing = await getSession(300003).catch((error) => explain(error.problem));
      return [(await getSession(1008)).id, shown, refused.problem.code, missing];
    }}"""
    told = open_page(foreign_url).page.evaluate(script)
    assert told == [1008, ["completed"], "session_not_found", "There is no such render."]


def test_the_frontend_guide_s_loop_asks_the_farm_once_while_the_answer_is_fresh(
    open_page: OpenPage, wound: Wound, farm: Farm, foreign_url: str
) -> None:
    page = open_page(foreign_url).page
    calls: list[tuple[float, int]] = []

    def rest(milliseconds: float) -> None:
        """Two seconds pass, however long the page wants to wait."""
        calls.append((milliseconds, farm.calls()))
        wound.passed += 2

    page.expose_function("rest", rest)
    page.evaluate(f"""async () => {{
      const setTimeout = (resolve, wait) => rest(wait).then(resolve);
      {guide_snippets(wound.url)}
      let shown = 0;
      const stop = new AbortController();
      await watch(1006, () => ++shown === 3 && stop.abort(), stop.signal);
    }}""")
    assert calls == [(5000, 1), (3000, 1), (1000, 1)]


@pytest.fixture
def forty(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One session that moves, and 39 that the sandbox knows for the time of a test."""
    ids = list(range(2001, 2040))
    for id in ids:
        monkeypatch.setitem(LIVES, id, ("active", 100))
    return [1005, *ids]


def test_the_frontend_guide_s_page_of_forty_is_live_and_a_fetch_beside_it_answers(
    open_page: OpenPage, start_gateway: StartGateway, foreign_url: str, forty: list[int]
) -> None:
    """Over HTTP/1.1, where seven streams would stand still; a refused first try is waited out."""
    gateway = start_gateway(fresh_active=0.2)
    url = str(gateway.base_url).rstrip("/")
    tried: list[str] = []
    page = open_page(foreign_url).page

    def route(route: Route) -> None:
        tried.append(route.request.url)
        route.fulfill(status=502) if len(tried) <= 2 else route.continue_()

    page.route(f"{url}/sessions/events?*", route)
    told = page.evaluate(f"""async () => {{
      const setTimeout = (act, milliseconds) => (waits.push(milliseconds), queueMicrotask(act));
      const waits = [];
      {guide_snippets(url)}
      const seen = new Map();
      const beside = await new Promise((resolve) => {{
        let moved = 0;
        const stop = watchPage({forty}, (id, session) => {{
          moved += seen.has(id) ? 1 : 0;
          seen.set(id, session.progress.phase);
          if (seen.size < 40 || moved < 2) return;
          Promise.all(Array.from({{ length: 5 }}, () => getSession(42))).then((sessions) => {{
            stop();
            resolve(sessions.map(({{ id }}) => id));
          }});
        }});
      }});
      return [[...seen.keys()].sort(), beside, waits];
    }}""")
    assert told[:2] == [forty, [42] * 5]
    first, second = told[2]
    assert 500 <= first <= 1000 <= second <= 2000, "it waits longer each time, spread by chance"


def test_a_tag_that_a_page_sets_itself_forces_no_refresh_with_max_age_0(
    open_page: OpenPage, wound: Wound, farm: Farm, foreign_url: str
) -> None:
    page = open_page(foreign_url).page
    url = f"{wound.url}/sessions/1006"
    tag = ask(page, url)["headers"]["etag"]
    wound.passed = 2
    pair = {"If-None-Match": tag, "Cache-Control": "max-age=0"}
    again = ask(page, url, cache="default", headers=pair)
    assert (again["status"], again["headers"]["cache-status"]) == (304, "rfgw; hit; ttl=3")
    assert farm.calls() == 1
    forced = ask(page, url, headers={"If-None-Match": tag, "Cache-Control": "no-cache"})
    assert forced["headers"]["cache-status"].startswith("rfgw; fwd=request")
    assert farm.calls() == 2


def test_the_pages_work_behind_a_path_prefix(open_page: OpenPage, farm: Farm) -> None:
    edge = create_app(settings_for(farm.url))
    with running(serving(Wrapped(behind_a_prefix(edge, "/farm"), edge))) as url:
        visit = open_page(f"{url}/farm/")
        visit.page.get_by_role("link", name="API reference").click()
        expect(visit.page.locator(".opblock-summary-path").first).to_be_visible()
        visit.page.get_by_role("link", name="Start page").click()
        visit.page.get_by_role("link", name="Problems").click()
        visit.page.get_by_role("link", name="session_not_found").click()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Session not found")
        assert visit.page.url == f"{url}/farm/problems/session_not_found"
        visit.page.get_by_role("link", name="Renderfarm gateway").click()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Renderfarm gateway")
        assert visit.page.url == f"{url}/farm/"
        assert visit.complaints == []
        visit.page.context.close()


def test_a_page_of_another_origin_reads_an_answer_and_whether_it_is_still_right(
    open_page: OpenPage, gateway_url: str, foreign_url: str
) -> None:
    page = open_page(foreign_url).page
    url = f"{gateway_url}/sessions/1008"
    first = ask(page, url, headers={"X-Request-ID": "page-1"})
    assert (first["status"], first["body"]["progress"]["phase"]) == (200, "completed")
    assert first["headers"]["x-request-id"] == "page-1"
    again = ask(page, url, headers={"If-None-Match": first["headers"]["etag"]})
    assert (again["status"], again["text"]) == (304, "")
    for answer in (first, again):
        assert answer["headers"]["etag"] == first["headers"]["etag"]
        assert answer["headers"]["cache-status"].startswith("rfgw; ")
        assert answer["headers"]["cache-control"].startswith("public, max-age=")
        assert answer["headers"]["age"].isdigit()
    assert again["headers"]["x-request-id"] not in ("", "page-1")


FAILING = [
    ("GET", "/sessions/300002", 404, "session_not_found"),
    ("GET", "/sessions/007", 422, "invalid_request"),
    ("POST", "/sessions/1001", 405, "method_not_allowed"),
    ("GET", "/sessions/999002", 502, "upstream_fault"),
    ("GET", "/nowhere", 404, "route_not_found"),
]


@pytest.mark.parametrize(("method", "path", "status", "code"), FAILING)
def test_a_page_of_another_origin_reads_every_problem(
    open_page: OpenPage,
    gateway_url: str,
    foreign_url: str,
    method: str,
    path: str,
    status: int,
    code: str,
) -> None:
    page = open_page(foreign_url).page
    answer = ask(page, gateway_url + path, method=method)
    assert (answer["status"], answer["body"]["code"]) == (status, code)
    assert answer["headers"]["x-request-id"] == answer["body"]["requestId"]
    meaning = ask(page, f"{gateway_url}{answer['body']['type']}")
    assert meaning["body"]["code"] == code, "what the type points at can be read as well"


def test_a_page_of_another_origin_reads_that_the_gateway_crashed(
    open_page: OpenPage, farm: Farm, foreign_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Gateway, "fetch", crash)
    with running(serving(create_app(settings_for(farm.url)))) as url:
        page = open_page(foreign_url).page
        answer = ask(page, f"{url}/sessions/1001", headers={"X-Request-ID": "page-2"})
        page.context.close()
    assert (answer["status"], answer["body"]["code"]) == (500, "internal_error")
    assert answer["headers"]["x-request-id"] == answer["body"]["requestId"] == "page-2"


def test_only_pages_of_the_listed_origins_can_read(
    open_page: OpenPage, farm: Farm, foreign_url: str
) -> None:
    listed = foreign_url.removesuffix("/")
    settings = settings_for(farm.url, cors_origins=f"https://site.example,{listed}")
    with running(serving(create_app(settings))) as url:
        page = open_page(foreign_url).page
        told = ask(page, f"{url}/sessions/1001", headers={"X-Request-ID": "page-3"})
        page.goto(foreign_url.replace("127.0.0.1", "localhost"))
        hidden = [ask(page, f"{url}{path}") for path in ("/sessions/1001", "/sessions/007")]
        page.context.close()
    assert (told["status"], told["headers"]["x-request-id"]) == (200, "page-3")
    assert hidden == [{"error": "TypeError"}] * 2


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A valid key; ``tmp_path / "keys"`` is its file."""
    key, line = new_key("site-a")
    (tmp_path / "keys").write_text(line)
    return key


def test_a_page_of_a_listed_origin_reads_by_its_key_and_others_read_nothing(
    open_page: OpenPage, farm: Farm, foreign_url: str, key: str, tmp_path: Path
) -> None:
    settings = settings_for(
        farm.url,
        cors_origins=foreign_url.removesuffix("/"),
        api_keys_file=tmp_path / "keys",
        rate_limit="4/9999",
    )
    bearer, field = {"Authorization": f"Bearer {key}"}, {"X-API-Key": key}
    with running(serving(create_app(settings))) as url:
        page = open_page(foreign_url).page
        session = f"{url}/sessions/1008"
        keyless = ask(page, session)
        assert (keyless["status"], keyless["body"]["code"]) == (401, "unauthorized")
        assert keyless["headers"]["x-request-id"] == keyless["body"]["requestId"]
        wrong = ask(page, session, headers={"X-API-Key": "wrong"})
        assert wrong["body"]["code"] == "unauthorized"
        answers = [ask(page, session, headers=headers) for headers in (bearer, field)]
        assert [answer["status"] for answer in answers] == [200, 200]
        assert answers[1]["headers"]["ratelimit"].startswith('"default";r=2;')
        assert answers[1]["headers"]["cache-control"].startswith("private, max-age=")
        problem = ask(page, f"{url}/sessions/300002", headers=bearer)
        assert (problem["status"], problem["body"]["code"]) == (404, "session_not_found")
        assert problem["headers"]["cache-status"].startswith("rfgw; ")
        ask(page, session, headers=field)
        spent = ask(page, session, headers=field)
        assert (spent["status"], spent["body"]["code"]) == (429, "rate_limited")
        assert int(spent["headers"]["retry-after"]) > 1
        assert spent["headers"]["ratelimit-policy"] == '"default";q=4;w=9999'
        page.goto(foreign_url.replace("127.0.0.1", "localhost"))
        hidden = [ask(page, session, headers=headers) for headers in ({}, bearer, field)]
        page.context.close()
    assert hidden == [{"error": "TypeError"}] * 3


def test_the_reference_sends_the_key_that_a_reader_authorizes_with(
    open_page: OpenPage, farm: Farm, key: str, tmp_path: Path
) -> None:
    settings = settings_for(farm.url, api_keys_file=tmp_path / "keys")
    with running(serving(create_app(settings))) as url:
        visit = open_page(f"{url}/docs#/sessions/getSession")
        page = visit.page
        page.locator(".auth-wrapper .authorize").first.click()
        form = page.locator(".auth-container").filter(has_text="X-API-Key")
        form.locator("input").fill(key)
        form.get_by_role("button", name="Apply credentials").click()
        expect(form.get_by_role("button", name="Remove authorization")).to_be_visible()
        visit.picture("authorizing", whole=False)
        page.locator(".modal-ux .close-modal").click()
        expect(execute(page).locator(".response-col_status").first).to_contain_text("200")
        visit.picture("authorized")
        assert visit.complaints == []
        page.context.close()


@pytest.fixture(params=[False, True], ids=["rfc-5849", "core-1.0"])
def authorize_url(request: pytest.FixtureRequest, foreign_url: str) -> Iterator[str]:
    """The farm's page for a login that began at a site of another origin."""
    core_1_0: bool = request.param
    with (
        running(farm_server(create_farm(core_1_0=core_1_0))) as url,
        client_of(url) as http,
    ):
        callback = {} if core_1_0 else {"callback_uri": foreign_url}
        token = SiteClient(url, http).step("requestToken", **callback)["oauth_token"]
        asked = {"oauth_token": token} | ({"oauth_callback": foreign_url} if core_1_0 else {})
        yield f"{url}/oauth.authorize?{urlencode(asked)}"


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_farms_page_draws_without_a_complaint(
    open_page: OpenPage, authorize_url: str, width: int
) -> None:
    visit = open_page(authorize_url, width=width)
    visit.picture(f"authorize-{width}")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("Log in at the sandbox farm")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate(WORST_CONTRAST) >= 4.5
    assert visit.complaints == []


@pytest.mark.parametrize(
    ("decision", "told"), [("Allow", "oauth_token="), ("Deny", "oauth_problem=user_refused")]
)
def test_the_farms_page_leads_back_to_the_site(
    open_page: OpenPage, authorize_url: str, foreign_url: str, decision: str, told: str
) -> None:
    page = open_page(authorize_url).page
    page.get_by_label("Nobody").check()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_role("alert")).to_contain_text("Nobody has no account here")
    page.get_by_label("Grace").check()
    page.get_by_role("button", name=decision).click()
    page.wait_for_url(re.compile(re.escape(foreign_url) + r"\?.*" + told), timeout=PATIENCE)
    expect(page).to_have_title("Elsewhere")


def test_what_libraries_add_to_a_request_keeps_no_page_from_its_answer(
    open_page: OpenPage, foreign_url: str, gateway_url: str
) -> None:
    fields = {
        "Content-Type": "application/json", "Pragma": "no-cache", "baggage": "a=1",
        "X-Requested-With": "XMLHttpRequest", "sentry-trace": "0-0-0", "tracestate": "a=1",
        "If-Modified-Since": "Mon, 26 Jul 1997 05:00:00 GMT", "X-Request-ID": "of-a-page",
    }  # fmt: skip
    page = open_page(foreign_url).page
    answer = ask(page, f"{gateway_url}/sessions/1008", headers=fields)
    assert answer["status"] == 200, answer
    assert answer["headers"]["x-request-id"] == "of-a-page"
    assert ask(page, f"{gateway_url}/sessions/1008", headers={"X-Unheard-Of": "1"}).get("error")
