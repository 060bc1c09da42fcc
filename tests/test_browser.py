"""The pages in a real browser: they draw, they work, they ask nobody else, and report no error."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import create_app
from tests.conftest import Farm, settings_for
from tests.running import running, serving

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

PHONE, DESK = 390, 1280

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

    def picture(self, name: str) -> None:
        """Take a picture of the whole page, if there is a folder for it."""
        if SHOTS:
            self.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


OpenPage = Callable[..., Visit]
Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def gateway_url(_farm: Farm) -> Iterator[str]:
    """The base address of the gateway that is looked at."""
    with running(serving(create_app(settings_for(_farm.url)))) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Where it is missing these tests are skipped, but never in CI."""
    path = shutil.which("chromium")
    if path is None:
        reason = "no chromium here: the pages were not looked at (apt-get install chromium)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens an address and waits until nothing more is fetched."""
    with ExitStack() as stack:

        def open_page(url: str, *, width: int = DESK, scheme: Scheme = "light") -> Visit:
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}
            )
            stack.callback(context.close)
            visit = Visit(context.new_page())
            visit.watch("{0.scheme}://{0.netloc}".format(urlsplit(url)))
            visit.page.goto(url, wait_until="networkidle")
            return visit

        yield open_page


def behind_a_prefix(app: ASGIApp, prefix: str) -> ASGIApp:
    """What a front server does that gives the gateway only what is below ``prefix``."""

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            inside = scope["path"].startswith(f"{prefix}/")
            path = scope["path"].removeprefix(prefix) if inside else "/outside"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    return front


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_the_reference_lists_the_operations_without_a_complaint(
    open_page: OpenPage, gateway_url: str, width: int, scheme: Scheme
) -> None:
    visit = open_page(f"{gateway_url}/docs", width=width, scheme=scheme)
    expect(visit.page.locator(".opblock-summary-path").first).to_be_visible()
    visit.picture(f"docs-{scheme}-{width}")
    names = visit.page.locator(".opblock-summary-operation-id").all_inner_texts()
    assert {"getSession", "getReadiness"} <= set(names)
    dark = visit.page.locator("html.dark-mode").count() == 1
    assert dark == (scheme == "dark")
    assert visit.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_try_it_out_works_on_the_first_click(
    open_page: OpenPage, gateway_url: str, scheme: Scheme
) -> None:
    visit = open_page(f"{gateway_url}/docs#/sessions/getSession", scheme=scheme)
    operation = visit.page.locator("#operations-sessions-getSession")
    operation.get_by_role("button", name="Execute").click()
    live = operation.locator(".live-responses-table tbody")
    expect(live.locator(".response-col_status").first).to_contain_text("200")
    expect(live).to_contain_text("cache-status: rfgw")
    visit.picture(f"tried-{scheme}")
    assert visit.complaints == []


def test_the_landing_page_s_snippet_runs_as_it_stands(
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


def test_the_pages_work_behind_a_path_prefix(open_page: OpenPage, farm: Farm) -> None:
    app = behind_a_prefix(create_app(settings_for(farm.url)), "/farm")
    with running(serving(app)) as url:
        visit = open_page(f"{url}/farm/")
        visit.page.get_by_role("link", name="API reference").click()
        expect(visit.page.locator(".opblock-summary-path").first).to_be_visible()
        visit.page.get_by_role("link", name="Start page").click()
        expect(visit.page.get_by_role("heading", level=1)).to_have_text("Renderfarm gateway")
        assert visit.page.url == f"{url}/farm/"
        assert visit.complaints == []
        visit.page.context.close()
