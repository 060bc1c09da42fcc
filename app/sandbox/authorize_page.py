"""``oauth.authorize``: the page on which a user allows a site to act for them, or does not.

Knows HTML. No script, no cookie: who the user is, they say in the same form. Its policy has no
``form-action``: browsers apply it to the redirect behind the form too, which leads to the site.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.sandbox.authorization import check_callback
from app.sandbox.bodies import read_body
from app.sandbox.outcomes import ReportedProblem
from app.sandbox.tokens import IssuedRequestToken, Tokens

MAX_FORM = 16 * 1024
NOBODY = "nobody"
STYLE = """
html { background: #fff; color: #222; padding: 0 1rem }
body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 32rem }
button { font: inherit; margin: 1rem 1rem 0 0; padding: .4rem 1.2rem }
label { display: block; padding: .2rem 0 }
[role=alert] { border-left: .3rem solid #b00; padding-left: .7rem }
"""
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>{style}</style>
<h1>{title}</h1>
{content}
</html>
"""
QUESTION = """{alert}<p>The site <strong>{site}</strong> wants to</p>
<ul>
<li>see the list of your sessions</li>
<li>attach sessions that you choose, so that its pages can show them</li>
</ul>
<form method="post">
<input type="hidden" name="oauth_token" value="{token}">
<input type="hidden" name="oauth_callback" value="{callback}">
<fieldset>
<legend>Who are you?</legend>
{users}
</fieldset>
<button name="decision" value="allow">Allow</button>
<button name="decision" value="deny">Deny</button>
</form>"""
CHOICE = '<label><input type="radio" name="user" value="{name}"{checked}> {label}</label>'
ALERT = '<p role="alert">Nobody has no account here: say who you are, or deny.</p>\n'
GONE = "<p>This login has ended, or was never begun. Go back to the site and begin it anew.</p>"
DONE = "<p>You can go back to the site now.</p>"
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class AuthorizePage:
    """Shows the page, and takes its form."""

    def __init__(
        self,
        tokens: Tokens,
        users: Callable[[], Iterable[str]],
        clock: Callable[[], float],
        *,
        core_1_0: bool,
    ) -> None:
        self._tokens = tokens
        self._users = users
        self._clock = clock
        self._core_1_0 = core_1_0

    async def show(self, request: Request) -> Response:
        """GET: the question. POST: the answer, and a redirect to the site."""
        is_answer = request.method == "POST"
        fields = request.url.query.encode()
        if is_answer:
            fields = await read_body(request, MAX_FORM)
        sent = dict(parse_qsl(fields.decode("latin-1"), keep_blank_values=True))
        try:
            issued = self._tokens.undecided(sent.get("oauth_token", ""), self._clock())
            callback = self._callback(issued, sent)
        except ReportedProblem:
            return _page("Log in at the sandbox farm", GONE, 400)
        if is_answer:
            return self._decide(issued, callback, sent)
        return self._question(issued, callback)

    def _callback(self, issued: IssuedRequestToken, sent: dict[str, str]) -> str:
        if not self._core_1_0:
            return issued.callback
        callback = sent.get("oauth_callback", "")
        if callback:
            check_callback(callback)
        return callback

    def _decide(self, issued: IssuedRequestToken, callback: str, sent: dict[str, str]) -> Response:
        told = {"oauth_token": issued.token}
        user = sent.get("user", "")
        if sent.get("decision") != "allow":
            self._tokens.deny(issued)
            told["oauth_problem"] = "user_refused"
        elif user not in self._users():
            return self._question(issued, callback, alert=ALERT, status=403)
        else:
            self._tokens.allow(issued, user)
            if not self._core_1_0:
                told["oauth_verifier"] = issued.verifier
        if not callback:
            return _page("Thank you", DONE)
        mark = "&" if "?" in callback else "?"
        return RedirectResponse(callback + mark + urlencode(told), 303, HEADERS)

    def _question(
        self, issued: IssuedRequestToken, callback: str, *, alert: str = "", status: int = 200
    ) -> Response:
        names = [*self._users(), NOBODY]
        choices = [
            CHOICE.format(
                name=escape(name),
                label=escape(name.capitalize() if name == NOBODY else name),
                checked="" if number else " checked",
            )
            for number, name in enumerate(names)
        ]
        content = QUESTION.format(
            alert=alert,
            site=escape(urlsplit(callback).netloc or "that sent you here"),
            token=escape(issued.token),
            callback=escape(callback if self._core_1_0 else ""),
            users="\n".join(choices),
        )
        return _page("Log in at the sandbox farm", content, status)


def _page(title: str, content: str, status: int = 200) -> Response:
    return HTMLResponse(
        PAGE.format(title=title, style=STYLE, content=content), status, headers=HEADERS
    )
