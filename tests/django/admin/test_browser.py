"""examples/django in a real browser, as its tutorial walks through it; and the preview against a hostile mail.

`SHOP_SCREENSHOTS=docs/assets/django` keeps the tutorial's pictures there.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from celery_mailproxy import Status
from celery_mailproxy.django.admin.preview import html_response, read_content
from celery_mailproxy.testing.ports import free_port
from tests.conftest import required_under_ci
from tests.harness.program import Program
from tests.harness.services import ServiceMissing
from tests.harness.waiting import wait_until

# The first time, the proxy is installed.
pytestmark = [pytest.mark.integration, pytest.mark.long(120), pytest.mark.timeout(900)]

START_TIMEOUT_SECONDS = 240
# A loaded machine is no finding.
expect.set_options(timeout=30_000)

ColorScheme = Literal["light", "dark"]
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}

#: The system's Chromium: without its sandbox, which needs what containers do not give, and without calls home.
_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    with required_under_ci():
        path = next(filter(None, map(shutil.which, names)), None)
        if path is None:
            raise ServiceMissing(f"Chromium is not installed (one of {', '.join(names)} on PATH)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_OPTIONS)
        yield browser
        browser.close()


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The running example."""

    program: Program
    url: str
    password: str

    @property
    def mails(self) -> list[str]:
        """What the SMTP server has taken, a line each."""
        return re.findall(r"^  ('.*' to .*)$", self.program.log, re.MULTILINE)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """`python -m examples.django`, ended by Ctrl-C."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "MAIL_PROXY_"))}
    environment |= {"PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with Program(["examples.django", "--port", str(free_port())], environment=environment) as program:
        text = program.wait_for("Ctrl-C", timeout_seconds=START_TIMEOUT_SECONDS)
        url, password = re.search(r"shop +(http\S+)", text), re.search(r"password (\S+)", text)
        assert url
        assert password
        yield Shop(program=program, url=url[1], password=password[1])
        assert program.end() == 0, program.log


@pytest.fixture(scope="module")
def state(browser: Browser, shop: Shop) -> str:
    """The cookies of somebody who is logged in to the admin, as a file."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{shop.url}admin/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", shop.password)
    page.click("[type=submit]")
    expect(page.locator("#site-name")).to_be_visible()
    path = str(shop.program.folder / "state.json")
    context.storage_state(path=path)
    context.close()
    return path


@contextmanager
def opened(
    browser: Browser,
    state: str,
    *,
    viewport: ViewportSize = DESKTOP,
    color_scheme: ColorScheme = "light",
    locale: str = "en-GB",
) -> Iterator[Page]:
    """A page of a fresh window. What goes wrong in it fails the test."""
    context = browser.new_context(
        storage_state=state, viewport=viewport, color_scheme=color_scheme, locale=locale, reduced_motion="reduce"
    )
    context.set_default_timeout(30_000)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert problems == []


@pytest.fixture
def page(browser: Browser, state: str) -> Iterator[Page]:
    with opened(browser, state) as page:
        yield page


def picture(page: Page, name: str) -> None:
    """Keep a picture for the tutorial, where that is asked for."""
    if folder := os.environ.get("SHOP_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder, f"{name}.png"), animations="disabled")


def sign_up(page: Page, shop: Shop, name: str, email: str) -> None:
    page.goto(shop.url)
    page.fill("[name=name]", name)
    page.fill("[name=email]", email)
    page.click("main button")
    expect(page.locator("h1")).to_have_text(f"Hello, {name}!")


def row_of(page: Page, subject: str) -> str:
    """The text of the newest mail's row in the admin's list, or "" where there is none."""
    row = page.locator("#result_list tbody tr", has_text=subject).first
    return row.inner_text() if row.count() else ""


def seen(page: Page, shop: Shop, subject: str, last: str) -> list[str]:
    """The statuses that the admin's list shows of a mail, one after another, until `last`."""
    found: list[str] = []

    def is_there() -> bool:
        page.goto(list_url(shop))
        statuses = re.findall(r"^\W*(new|queued|deferred|sent|error)\b", row_of(page, subject), re.MULTILINE)
        found.extend(status for status in statuses if status not in found)
        return last in found

    wait_until(is_there, lambda: f"{last} after {found}")
    return found


def list_url(shop: Shop) -> str:
    return f"{shop.url}admin/celery_mailproxy/emaillog/"


def open_mail(page: Page, shop: Shop, subject: str) -> None:
    page.goto(list_url(shop))
    page.locator("#result_list").get_by_role("link", name=subject).first.click()
    expect(page.locator(".mailproxy-head h2")).to_have_text(subject)


def timeline(page: Page) -> list[str]:
    return page.locator(".mailproxy-timeline .mailproxy-badge").all_inner_texts()


def test_a_sign_up_is_mailed_and_the_admin_shows_it_go_from_queued_to_sent(page: Page, shop: Shop) -> None:
    page.goto(shop.url)
    picture(page, "sign-up")
    sign_up(page, shop, "Ann", "ann@example.com")
    assert seen(page, shop, "Welcome, Ann!", "sent")[-2:] == ["queued", "sent"]
    open_mail(page, shop, "Welcome, Ann!")
    assert timeline(page) == ["new", "queued", "sent"]
    expect(page.frame_locator(".mailproxy-preview iframe").locator("h1")).to_have_text("Welcome, Ann!")
    expect(page.locator(".mailproxy-preview pre")).to_contain_text("The kettle is on.")
    page.get_by_role("link", name="Ann", exact=True).click()
    expect(page.locator("[name=email]")).to_have_value("ann@example.com")


def test_an_invoice_is_delivered_when_its_mail_is_sent(page: Page, shop: Shop) -> None:
    sign_up(page, shop, "Bob", "bob@example.com")
    page.click("text=Buy a teapot")
    # The page loads itself again.
    expect(page.locator("main li").first).to_contain_text("delivered at", timeout=45_000)
    picture(page, "customer")
    open_mail(page, shop, "Your invoice 1")
    expect(page.locator(".mailproxy-links").first).to_contain_text("invoice-1.pdf (application/pdf")
    assert any("'Your invoice 1' to bob@example.com, with invoice-1.pdf" in mail for mail in shop.mails)


def test_a_mail_that_is_refused_is_shown_as_an_error(page: Page, shop: Shop) -> None:
    sign_up(page, shop, "Sam", "spam@example.com")
    assert seen(page, shop, "Welcome, Sam!", "error")[-1] == "error"
    open_mail(page, shop, "Welcome, Sam!")
    assert timeline(page) == ["new", "queued", "error"]
    expect(page.locator(".mailproxy-timeline")).to_contain_text("5.7.1 message refused")
    picture(page, "error")
    # The shop's own handler has been told.
    page.goto(f"{shop.url}admin/shop/customer/")
    expect(page.locator("tr", has_text="spam@example.com").locator("img")).to_have_attribute("alt", "False")


def test_a_mail_that_has_to_wait_is_shown_as_deferred(page: Page, shop: Shop) -> None:
    sign_up(page, shop, "Lia", "later@example.com")
    assert seen(page, shop, "Welcome, Lia!", "deferred")[-1] == "deferred"
    open_mail(page, shop, "Welcome, Lia!")
    assert timeline(page) == ["new", "queued", "deferred"]
    expect(page.locator(".mailproxy-timeline")).to_contain_text("4.3.0 try later")
    # It is still on its way: the proxy sends it, and nobody else.
    expect(page.get_by_role("link", name="Resend")).to_have_count(0)
    page.goto(list_url(shop))
    picture(page, "list")


def test_a_mail_is_sent_again(page: Page, shop: Shop) -> None:
    sign_up(page, shop, "Zoe", "zoe@example.com")
    seen(page, shop, "Welcome, Zoe!", "sent")
    open_mail(page, shop, "Welcome, Zoe!")
    page.get_by_role("link", name="Resend").click()
    picture(page, "resend")
    page.get_by_role("button", name="Resend").click()
    expect(page.locator(".messagelist")).to_contain_text("1 e-mail is sent again.")
    expect(page.locator("#content-main")).to_contain_text("Resent from")

    def is_sent() -> bool:
        page.reload()
        return page.locator(".mailproxy-head .mailproxy-badge").inner_text() == "sent"

    wait_until(is_sent, lambda: f"sent after {timeline(page)}")
    picture(page, "sent")
    assert [mail for mail in shop.mails if "zoe@" in mail] == ["'Welcome, Zoe!' to zoe@example.com"] * 2


@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(browser: Browser, state: str, shop: Shop, color_scheme: ColorScheme) -> None:
    with opened(browser, state, viewport=PHONE, color_scheme=color_scheme) as page:
        sign_up(
            page, shop, "Pia", f"pia-{color_scheme}-{'with-a-rather-long-address-' * 2}@{'subdomain.' * 9}example.com"
        )
        urls = [page.url, shop.url, list_url(shop)]
        seen(page, shop, "Welcome, Pia!", "sent")
        open_mail(page, shop, "Welcome, Pia!")
        urls += [page.url, page.get_by_role("link", name="Resend").evaluate("link => link.href")]
        for url in urls:
            page.goto(url)
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], url
        if color_scheme == "dark":
            page.goto(list_url(shop))
            picture(page, "phone")


@pytest.mark.parametrize("locale", ["de", "es", "fr", "it"])
def test_the_list_is_not_wider_than_a_phone_in_any_language(
    browser: Browser, state: str, shop: Shop, locale: str
) -> None:
    with opened(browser, state, viewport=PHONE, locale=locale) as page:
        page.goto(list_url(shop))
        expect(page.locator("html")).to_have_attribute("lang", locale)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        # Nor does a badge leave its tile.
        tiles = page.locator(".mailproxy-counts > li").evaluate_all(
            "tiles => tiles.map(t => t.scrollWidth - t.clientWidth)"
        )
        assert tiles == [0] * len(Status)


# The preview

_HOSTILE = """Subject: hostile
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<!doctype html><html><head>
<meta http-equiv="refresh" content="0;url=/leak/refresh">
<link rel="stylesheet" href="/leak/style"><link rel="prefetch" href="/leak/prefetch">
<style>@import "/leak/import"; p { background: url(/leak/background) }</style>
<script src="/leak/script"></script>
</head><body onload="location = '/leak/load'">
<p>Hello</p><img src="/leak/image" onerror="fetch('/leak/fetch')"><iframe src="/leak/frame"></iframe>
<video src="/leak/video" autoplay></video><object data="/leak/object"></object>
<script>document.querySelector("p").textContent = "changed"; parent.document.title = "changed"</script>
<form action="/leak/form" method="get"><button>Press</button></form><a href="/leak/link">Click</a>
</body></html>
"""


@contextmanager
def served(source: str) -> Iterator[tuple[str, list[str]]]:
    """A page that shows the mail as the admin does: its URL, and the paths that have been asked for."""
    answer = html_response(read_content(source.encode()))
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = (
                answer.content if self.path == "/mail" else b"<title>admin</title><iframe src=/mail sandbox></iframe>"
            )
            self.send_response(200 if self.path in ("/", "/mail") else 404)
            for name, value in answer.items() if self.path == "/mail" else [("Content-Type", "text/html")]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_hostile_mail_runs_nothing_and_loads_nothing(browser: Browser) -> None:
    with served(_HOSTILE) as (url, asked):
        page = browser.new_page()
        page.goto(url)
        frame = page.frame_locator("iframe")
        expect(frame.locator("p")).to_have_text("Hello")
        frame.get_by_role("link", name="Click").click()
        frame.get_by_role("button", name="Press").click()
        page.wait_for_timeout(1500)
        expect(frame.locator("p")).to_have_text("Hello")
        assert page.title() == "admin"
        page.close()
    assert [path for path in asked if path not in ("/", "/mail", "/favicon.ico")] == []
