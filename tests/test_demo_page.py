"""The built demo page as it is served: whole, locked down, and nothing beside it."""

from pathlib import Path

import httpx
import pytest

from tests.conftest import StartGateway

PAGE = '<!doctype html><title>Demo</title><script type="module" src="./assets/a-1.js"></script>'


@pytest.fixture
def site(tmp_path: Path, start_gateway: StartGateway) -> httpx.Client:
    """A gateway with a small page, and a secret beside its folder."""
    built = tmp_path / "built"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text(PAGE)
    (built / "assets" / "a-1.js").write_text("export {};")
    (built / "notes.key").write_text("no page needs this")
    (tmp_path / "secret.txt").write_text("hush")
    return start_gateway(demo_dir=built)


def test_the_page_and_its_files_are_served_under_a_strict_policy(site: httpx.Client) -> None:
    page, script = site.get("/demo/"), site.get("/demo/assets/a-1.js")
    assert (page.text, script.text) == (PAGE, "export {};")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    for answer in (page, script):
        assert answer.headers["content-security-policy"] == (
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "script-src 'self'; style-src 'self'; img-src * data:; connect-src 'self'"
        )
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-cache"


def test_a_file_that_the_browser_has_is_a_304(site: httpx.Client) -> None:
    tag = site.get("/demo/").headers["etag"]
    again = site.get("/demo/", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)


@pytest.mark.parametrize(("asked", "led"), [("/demo", "demo/"), ("/demo?ids=1,2", "demo/?ids=1,2")])
def test_the_address_without_a_slash_leads_to_the_page(
    site: httpx.Client, asked: str, led: str
) -> None:
    answer = site.get(asked)
    assert (answer.status_code, answer.headers["location"]) == (308, led)


@pytest.mark.parametrize(
    "path",
    [
        "/demo/none.js",
        "/demo/assets",
        "/demo/notes.key",
        "/demo/../secret.txt",
        "/demo/%2e%2e/secret.txt",
        "/demo/..%2fsecret.txt",
        "/demo/assets/../../../secret.txt",
        "/demo//etc/passwd",
    ],
)
def test_nothing_but_the_page_s_files_is_reached(site: httpx.Client, path: str) -> None:
    answer = site.get(httpx.URL(str(site.base_url), raw_path=path.encode()))
    assert (answer.status_code, answer.json()["code"]) == (404, "route_not_found")


def test_without_a_folder_there_is_no_demo(gateway: httpx.Client) -> None:
    for path in ("/demo", "/demo/"):
        assert gateway.get(path).json()["code"] == "route_not_found"
