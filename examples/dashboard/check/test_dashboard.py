"""The built dashboard in a real browser, over a gateway and a farm that are real processes.

Knows what a reader sees and hears. Must not know how the page is made.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.programs import DEMO, RFGW, ROOT, Program, await_port, free_port, started
from tests.test_browser import DESK, LOOKS, WORST_CONTRAST, Scheme, Visit

BUILT = ROOT / "examples/dashboard/dist"
README = (ROOT / "README.md", ROOT / "docs/images/dashboard.png")
PICTURE = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 9"><path d="M0 0h16v9H0z"/></svg>'
)
HOST = "files.example.invalid"
"""Where the sandbox's pictures lie: nowhere."""
LATE = 709001
"""From here on, a thousand sessions that render, each answer 2 s late."""


@dataclass
class Site:
    """A farm that can be ended and begun anew, and a gateway over it that serves the page."""

    url: str
    farm: Program
    restart: Callable[[], Program]
    farm_port: int


StartSite = Callable[..., Site]


@pytest.fixture
def start_site(tmp_path: Path) -> Iterator[StartSite]:
    """Starts a farm at this speed, and a gateway that asks it every second."""
    with ExitStack() as stack:

        def start(speed: int = 1, **settings: str) -> Site:
            port, farm_port = free_port(), free_port()

            def start_farm() -> Program:
                command = (*RFGW, "sandbox", f"--port={farm_port}", f"--speed={speed}")
                farm = stack.enter_context(started(tmp_path, *command))
                await_port(farm_port, farm)
                return farm

            log = stack.enter_context((tmp_path / "gateway.log").open("w"))
            told = {
                **DEMO,
                "RFGW_UPSTREAM_URL": f"http://127.0.0.1:{farm_port}",
                "RFGW_PORT": str(port),
                "RFGW_FRESH_ACTIVE": "1",
                "RFGW_DEMO_DIR": str(BUILT),
                **(of_logins(f"http://127.0.0.1:{port}") if "RFGW_LOGIN" in settings else {}),
                **settings,
            }
            gateway = started(tmp_path, *RFGW, "serve", settings=told, log=log)
            await_port(port, stack.enter_context(gateway))
            # The farm last: its sessions' lives begin with it.
            return Site(f"http://127.0.0.1:{port}", start_farm(), start_farm, farm_port)

        yield start


def of_logins(url: str) -> dict[str, str]:
    """What logins need at a gateway at this address."""
    return {"RFGW_PUBLIC_URL": url, "RFGW_CORS_ORIGINS": url, "RFGW_COOKIE_KEY": "A" * 43}


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens the page for some sessions, with pictures that cannot be had unless told otherwise."""
    with ExitStack() as stack:

        def look(
            site: Site,
            ids: str = "1005",
            *,
            width: int = DESK,
            height: int = 900,
            scheme: Scheme = "light",
            prepare: Callable[[Page], None] = lambda page: None,
        ) -> Visit:
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": height}
            )
            stack.callback(context.close)
            visit = Visit(context.new_page())
            visit.watch(site.url)
            visit.page.route(f"https://{HOST}/**", lambda route: route.abort("namenotresolved"))
            prepare(visit.page)
            visit.page.goto(f"{site.url}/demo?ids={ids}")
            return visit

        yield look


Look = Callable[..., Visit]


def card(page: Page, number: int) -> Locator:
    """The card of one session."""
    return page.locator(f'.card[data-id="{number}"]')


def complaints(visit: Visit, *expected: str) -> list[str]:
    """What the browser complained of, but for the farm's pictures and what is expected."""
    known = (HOST, "ERR_NAME_NOT_RESOLVED", *expected)
    return [text for text in visit.complaints if not any(word in text for word in known)]


def test_a_session_renders_to_its_end_before_the_reader_s_eyes(
    start_site: StartSite, look: Look
) -> None:
    site = start_site(speed=20)
    visit = look(site)
    seen = card(visit.page, 1005)
    expect(seen.locator(".phase")).to_have_text("Rendering")
    expect(seen.locator(".link")).to_have_text("Live")
    begun = seen.get_by_role("progressbar").get_attribute("value")
    expect(seen.get_by_role("progressbar")).not_to_have_attribute("value", begun or "")
    expect(seen.locator(".phase")).to_have_text("Completed")
    expect(seen.locator(".percent")).to_have_text("100 %")
    expect(seen).to_contain_text("250 of 250 frames")
    expect(seen.locator(".link")).to_have_text("Final")
    expect(visit.page.get_by_role("status")).to_have_text("Sandbox session 1005: Completed")
    assert complaints(visit) == []


def test_the_farm_goes_down_and_comes_back_and_the_page_says_so(
    start_site: StartSite, look: Look
) -> None:
    site = start_site(speed=1, RFGW_UPSTREAM_CONNECT_TIMEOUT="0.5")
    visit = look(site, "1005,1004")
    page = visit.page
    expect(card(page, 1005).locator(".link")).to_have_text("Live")
    trouble = page.get_by_role("region", name=re.compile("farm", re.IGNORECASE))
    expect(trouble).to_be_hidden()
    site.farm.kill()
    expect(trouble).to_be_visible()
    expect(trouble).to_contain_text(re.compile(r"again|later|back|wait", re.IGNORECASE))
    expect(page.locator("#summary")).to_have_text(re.compile("^[0-9]+ held up$"))
    expect(card(page, 1005).locator(".phase")).to_have_text("Rendering")
    expect(card(page, 1005).locator(".link")).to_have_text("Trying again")
    expect(card(page, 1005).locator(".age")).to_contain_text("as of")
    visit.picture("dashboard-trouble")
    site.restart()
    expect(trouble).to_be_hidden()
    expect(card(page, 1005).locator(".link")).to_have_text("Live")
    assert complaints(visit) == []


def test_where_streams_do_not_come_through_it_polls(start_site: StartSite, look: Look) -> None:
    site = start_site(speed=5)

    def block(page: Page) -> None:
        page.route("**/sessions/events?*", lambda route: route.abort())

    visit = look(site, prepare=block)
    seen = card(visit.page, 1005)
    expect(seen.locator(".link")).to_have_text("Polling")
    expect(seen.locator(".age")).to_contain_text("checked")
    begun = seen.get_by_role("progressbar").get_attribute("value")
    expect(seen.get_by_role("progressbar")).not_to_have_attribute("value", begun or "")
    assert complaints(visit, "ERR_FAILED") == []


def test_forty_sessions_are_live_over_one_connection_and_a_fetch_beside_them_answers(
    start_site: StartSite, look: Look
) -> None:
    site = start_site(RFGW_UPSTREAM_DEADLINE="60")
    asked: list[str] = []

    def listen(page: Page) -> None:
        page.on("request", lambda request: asked.append(request.url))

    ids = [*range(1001, 1013), *range(LATE, LATE + 28)]
    visit = look(site, ",".join(map(str, ids)), prepare=listen, height=2000)
    page = visit.page
    expect(page.locator('.card[data-connection="live"]')).to_have_count(37)
    expect(page.locator('.card[data-connection="final"]')).to_have_count(3)
    seen = card(page, 1005)
    begun = seen.get_by_role("progressbar").get_attribute("value")
    expect(seen.get_by_role("progressbar")).not_to_have_attribute("value", begun or "")
    beside = page.evaluate(
        """() => Promise.all(
          [1, 2, 3, 4, 5].map(async () => (await fetch("../sessions/1008")).status),
        )"""
    )
    assert beside == [200] * 5
    paths = [urlsplit(url).path for url in asked if url.startswith(f"{site.url}/sessions")]
    assert paths == ["/sessions/events", *["/sessions/1008"] * 5]
    page.get_by_role("button", name="Remove session 1001").click()
    page.get_by_label("Session number").fill("42")
    page.keyboard.press("Enter")
    expect(card(page, 42).locator(".phase")).to_have_text("Completed")
    expect(page.locator('.card[data-connection="live"]')).to_have_count(36)
    assert complaints(visit) == []


def test_what_cannot_be_had_says_why_and_the_others_go_on(
    start_site: StartSite, look: Look
) -> None:
    visit = look(start_site(), "300001,1005,301001")
    lost = card(visit.page, 300001)
    expect(lost).to_contain_text("Session not found")
    expect(lost).to_contain_text("Check the id.")
    expect(card(visit.page, 1005).locator(".phase")).to_have_text("Rendering")
    expect(card(visit.page, 301001)).to_contain_text("not attached", ignore_case=True)
    lost.get_by_role("button", name="Try session 300001 again").click()
    expect(lost).to_contain_text("Session not found")
    assert complaints(visit) == []


def test_the_address_decides_which_sessions_are_shown(start_site: StartSite, look: Look) -> None:
    page = look(start_site(), "1008,007,x,1008,,2147483648,%2042&gateway=javascript:0").page
    expect(card(page, 42).locator(".phase")).to_have_text("Completed")
    shown = page.locator(".card").evaluate_all("cards => cards.map((card) => card.dataset.id)")
    assert shown == ["1008", "42"]
    expect(page).to_have_url(re.compile(r"/demo/\?ids=1008,42&"))


def test_all_of_it_can_be_done_with_the_keyboard(start_site: StartSite, look: Look) -> None:
    visit = look(start_site(), "1008")
    page, keys = visit.page, visit.page.keyboard
    expect(card(page, 1008).locator(".phase")).to_have_text("Completed")
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the sessions")).to_be_focused()
    keys.press("Tab")
    expect(page.get_by_role("button", name="My sessions")).to_be_focused()
    keys.press("Tab")
    expect(page.get_by_label("Session number")).to_be_focused()
    for wrong, told in (("007", "whole number"), ("1008", "here already")):
        page.get_by_label("Session number").fill(wrong)
        keys.press("Enter")
        expect(page.get_by_label("Session number")).to_have_accessible_description(re.compile(told))
    page.get_by_label("Session number").fill("")
    keys.type("42")
    keys.press("Enter")
    expect(card(page, 42).locator(".phase")).to_have_text("Completed")
    expect(page).to_have_url(re.compile(r"ids=1008,42$"))
    keys.press("Tab")
    expect(page.get_by_role("button", name="Add")).to_be_focused()
    keys.press("Tab")
    remove = page.get_by_role("button", name="Remove session 1008")
    expect(remove).to_be_focused()
    keys.press("Enter")
    expect(card(page, 1008)).to_have_count(0)
    expect(page.get_by_role("button", name="Remove session 42")).to_be_focused()
    keys.press("Enter")
    expect(page.get_by_label("Session number")).to_be_focused()
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    page.get_by_role("link", name="Show the sandbox's sessions").click()
    expect(page.get_by_role("listitem")).to_have_count(12)


def test_it_reads_well_to_those_who_hear_it(start_site: StartSite, look: Look) -> None:
    page = look(start_site(), "1008,300001").page
    expect(card(page, 1008).locator(".phase")).to_have_text("Completed")
    expect(card(page, 300001)).to_contain_text("Session not found")
    expect(page.get_by_role("banner")).to_match_aria_snapshot("""
      - banner:
        - heading "Render wall" [level=1]
        - text: Session number
        - textbox "Session number"
        - button "Add"
    """)
    expect(page.get_by_role("main")).to_match_aria_snapshot("""
      - main:
        - region "Sessions":
          - heading "Sessions" [level=2]
          - list:
            - listitem:
              - article "Sandbox session 1008":
                - paragraph: Completed
                - button "Remove session 1008"
                - link "CC by-nc-sa"
                - heading "Sandbox session 1008" [level=3]
                - progressbar "Progress of session 1008"
            - listitem:
              - article "Session 300001":
                - paragraph: Not available
                - button "Remove session 300001"
                - heading "Session 300001" [level=3]
                - button "Try session 300001 again"
    """)
    value = card(page, 1008).get_by_role("progressbar").get_attribute("aria-valuetext")
    assert value == "100 %, 250 of 250 frames"
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_can_be_read_in_both_schemes_and_fits_its_window(
    start_site: StartSite, look: Look, scheme: Scheme, width: int
) -> None:
    visit = look(start_site(), "1005,1008,1009,1011,1012,300001", scheme=scheme, width=width)
    page = visit.page
    expect(card(page, 300001)).to_contain_text("Session not found")
    expect(card(page, 1012).locator(".phase")).to_have_text("Unknown")
    expect(page.locator(".bone")).to_have_count(0)  # what is still to come has no text to read
    visit.picture(f"dashboard-{scheme}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(WORST_CONTRAST) >= 4.5
    assert complaints(visit) == []


def test_a_picture_is_shown_when_there_is_one_and_nothing_moves(
    start_site: StartSite, look: Look
) -> None:
    def serve(page: Page) -> None:
        def answer(route: Route) -> None:
            route.fulfill(body=PICTURE, content_type="image/svg+xml")

        page.route(f"https://{HOST}/**", answer)

    page = look(start_site(), "1008,1006,1007", prepare=serve).page
    expect(card(page, 1008).locator("img.thumbnail")).to_be_visible()
    moved = page.evaluate(
        """() => new Promise((resolve) => {
          let sum = 0;
          new PerformanceObserver((list) => {
            for (const { value } of list.getEntries()) sum += value;
          }).observe({ type: "layout-shift", buffered: true });
          requestAnimationFrame(() => setTimeout(() => resolve(sum), 100));
        })"""
    )
    assert moved < 0.02


def test_a_missing_picture_leaves_a_scene(start_site: StartSite, look: Look) -> None:
    page = look(start_site(), "1008").page
    expect(card(page, 1008).locator(".phase")).to_have_text("Completed")
    expect(card(page, 1008).locator("img.thumbnail")).to_be_hidden()
    expect(card(page, 1008).locator("svg.scene")).to_be_visible()


def test_who_wants_no_motion_gets_none(start_site: StartSite, look: Look) -> None:
    def still(page: Page) -> None:
        page.emulate_media(reduced_motion="reduce")
        page.route("**/sessions**", lambda route: None)  # never answered: bones all the time

    page = look(start_site(), prepare=still).page
    bones = card(page, 1005).locator(".bone")
    expect(bones).to_be_visible()
    assert bones.evaluate("it => getComputedStyle(it).animationName") == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_readme_shows_what_is_there(start_site: StartSite, look: Look, scheme: Scheme) -> None:
    readme, kept = README
    site = start_site(speed=3)
    visit = look(site, "1005,1004,1006,1008,1011,300001", scheme=scheme, width=960, height=860)
    expect(card(visit.page, 300001)).to_contain_text("Session not found")
    expect(card(visit.page, 1005).locator(".percent")).to_have_text(re.compile("^[1-9]. %$"))
    name = kept.stem if scheme == "light" else f"{kept.stem}-dark"
    visit.picture(name, whole=False)
    picture = kept.with_stem(name).read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 300_000
    assert f"docs/images/{name}.png" in readme.read_text(encoding="utf-8")


def test_a_visitor_logs_in_attaches_a_session_and_watches_it_render(
    start_site: StartSite, look: Look
) -> None:
    site = start_site(RFGW_LOGIN="true")
    visit = look(site, "1008")
    page, mine = visit.page, visit.page.locator("#mine")
    page.get_by_role("button", name="My sessions").click()
    mine.get_by_role("link", name="Log in at the farm").click()
    page.get_by_role("button", name="Deny").click()
    expect(mine).to_contain_text("You did not allow it.")
    mine.get_by_role("link", name="Log in at the farm").click()
    page.get_by_label("Ada").check()
    page.get_by_role("button", name="Allow").click()
    expect(mine.get_by_role("button", name="Attach")).to_have_count(3)
    mine.locator('[data-mine="301001"]').get_by_role("button", name="Attach").click()
    expect(card(page, 301001).locator(".link")).to_have_text("Live")
    expect(card(page, 301001).locator(".phase")).to_have_text("Rendering")
    expect(mine.locator('[data-mine="301001"]').get_by_role("button")).to_have_text("Watch")
    expect(mine.locator("img")).to_have_count(0)  # the sandbox's pictures are nowhere
    mine.get_by_role("button", name="Log out").click()
    expect(mine.get_by_role("link", name="Log in at the farm")).to_be_visible()
    assert complaints(visit, "401", f"127.0.0.1:{site.farm_port}", "favicon") == []


def test_a_gateway_without_logins_says_so(start_site: StartSite, look: Look) -> None:
    visit = look(start_site())
    visit.page.get_by_role("button", name="My sessions").click()
    expect(visit.page.locator("#mine")).to_contain_text("This gateway has no logins.")
    assert complaints(visit, "404") == []
