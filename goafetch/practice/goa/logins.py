"""Answers to what concerns the user: logging in and out, who am I, and the page for suspected robots."""

from __future__ import annotations

import html
from datetime import timedelta
from email.utils import format_datetime

from goafetch.practice.goa.accounts import COOKIE
from goafetch.practice.goa.asking import (
    HTML,
    PLAIN,
    Answer,
    Archive,
    Ask,
    gateway_page,
    redirect,
    refusal,
    text,
)

# Features that stay open to those whom the archive takes for robots.
ALWAYS_OPEN = frozenset({"login", "logout", "orcid", "noirlabsso"})
_ROBOT_PAGE = (
    "\nLogin Required. Please visit https://archive.gemini.edu/login\n\n"
    "Your IP address range or ISP has been the source of excessive or malicious requests\n"
    "to this server and anonymous access has been denied.\n"
    "To get access to the archive, simply log in at https://archive.gemini.edu/login.\n"
)
_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Gemini Archive {title}</title></head>\n"
    "<body>\n{body}\n</body></html>"
)
# How the page calls the identifier of an account that has no user name.
_IDENTIFIERS = {"orcid": "ORCID iD", "noirlab": "NOIRlab ID"}
_WELCOME = "Welcome, you are logged in to the Gemini Archive."
_FORM = (
    '<form action="/login/" method="POST"><input name="username"><input name="password" type="password">'
    '<input type="submit"></form>'
)


def robot_page() -> Answer:
    """Refuse an anonymous client that is taken for a robot: a page that any URL but the login may give."""
    return refusal(403, _ROBOT_PAGE, PLAIN)


def log_in(archive: Archive, ask: Ask) -> Answer:
    """/login: the form or the token (GET); name and password make a session, wrong ones none (POST)."""
    if ask.method != "POST":
        token = f"<p>Your session token: <code>{html.escape(ask.token)}</code></p>" if ask.user else _FORM
        return _page("Login", token)
    if not ask.form:
        # A password in the URL's query, as some clients send it, crashes the archive's handler.
        return gateway_page(502)
    name, password, target = (ask.form.get(key, [""])[-1] for key in ("username", "password", "redirect"))
    token_made = archive.accounts.log_in(name, password)
    if token_made is None:
        return _page("Login", "<p>Log-in did not succeed: user name and password do not match.</p>" + _FORM)
    expires = format_datetime(archive.clock() + timedelta(days=365), usegmt=True)
    cookie = {"Set-Cookie": f'{COOKIE}="{token_made}"; expires={expires}; HttpOnly; Path=/'}
    answer = redirect(target) if target else _page("Login", _WELCOME)
    return Answer(answer.status, HTML, answer.body, headers={**answer.headers, **cookie})


def log_out(archive: Archive, ask: Ask) -> Answer:
    """/logout: the token dies for every client."""
    archive.accounts.log_out(ask.token)
    return _page("Logout", "You are logged out of the Gemini Archive.")


def who_am_i(archive: Archive, ask: Ask) -> Answer:
    """/whoami: the user's name as HTML, or that nobody is logged in."""
    if ask.user is None:
        return _page("Who Am I", '<span id="whoami">Not logged in</span>')
    name, kind = html.escape(ask.user.name), ask.user.kind
    items = [
        f"Username: {name if kind == 'archive' else ''}",
        *([f"{_IDENTIFIERS[kind]}: {name}"] if kind in _IDENTIFIERS else []),
        '<a href="/logout">Log Out</a>',
    ]
    listed = "".join(f'\n  <li class="whoami">{item}</li>' for item in items)
    return _page("Who Am I", f'<span id="whoami">\n {name}\n <ul class="whoami">{listed}\n </ul>\n</span>')


def _page(title: str, body: str) -> Answer:
    return text(_PAGE.format(title=title, body=body), HTML)
