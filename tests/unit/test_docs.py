"""The documentation speaks of what exists: names, defaults, commands, options, links; and its code runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import click
import pytest

import celery_mailproxy
from celery_mailproxy import Attachment, Delivery, DeliveryReport, testing
from celery_mailproxy.cli import mailproxy
from celery_mailproxy.conf.settings import UNSET, Settings
from celery_mailproxy.deliveries.stores import Retention, open_store
from celery_mailproxy.dispatch import signals
from celery_mailproxy.mail import arguments as mail_arguments
from celery_mailproxy.receiver.listener import ENVIRONMENT_VARIABLE
from celery_mailproxy.tasks.sending.base_tasks import SendTask
from celery_mailproxy.tasks.sending.callbacks import CALLBACK_ARGUMENTS
from celery_mailproxy.testing import pytest_plugin
from tests.harness.shown_tests import assert_shown_tests_pass
from tests.harness.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/*/README.md")])
SETTINGS = {f"mail_proxy_{item.name}": item for item in fields(Settings)}
COMMANDS = mailproxy.list_commands(click.Context(mailproxy))

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page=page, line=line, language=match[2], code=textwrap.dedent(match[3]))


PYTHON_BLOCKS = [block for page in PAGES for block in blocks(page) if block.language == "python"]


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def section(page: Path, heading: str, *, level: int = 2) -> str:
    """The text under a heading, up to the next one of its level or above."""
    match = re.search(
        rf"^#{{{level}}} {re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", page.read_text(), re.M | re.S
    )
    assert match, f"{page_id(page)} has no heading {heading!r}"
    return match[1]


def first_column(text: str) -> set[str]:
    """The names in the first column of a text's tables, `a`, `b(…)` as a and b."""
    cells = re.findall(r"^\| ((?:[^|\\]|\\.)*?) \|", text, re.M)
    return {name for cell in cells for name in re.findall(r"`\*{0,2}([\w]+)", cell)}


# Settings


def documented_settings() -> dict[str, dict[str, str]]:
    """Setting → what its entry says of type, default and environment."""
    text = (DOCS / "reference/settings.md").read_text()
    entries = re.findall(r"^### (mail_proxy_\w+)\n\n(.*?)\n\n", text, re.M | re.S)
    return {name: dict(re.findall(r"\*\*(\w+):\*\* (.*?)(?: · |$)", line)) for name, line in entries}


def test_every_setting_has_one_entry_in_the_reference() -> None:
    assert documented_settings().keys() == SETTINGS.keys()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_reference_gives_the_default_and_the_variable_of(name: str) -> None:
    item = SETTINGS[name]
    assert item.default is not MISSING or item.default_factory is not MISSING
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    entry = documented_settings()[name]
    assert entry["Default"] == ("not set" if default is UNSET else f"`{default!r}`")
    assert entry["Environment"].split(" ")[0] == f"`{name.upper()}`"
    if not item.repr and name != "mail_proxy_servers":
        assert re.search("secret|password", entry["Type"])


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_setting_that_a_page_mentions_exists(page: Path) -> None:
    fixtures = {name for name in vars(pytest_plugin) if name.startswith("mail_proxy")}
    # An attribute of Django's messages beside the settings.
    known = SETTINGS.keys() | fixtures | {"mail_proxy_id"}
    variables = {name.upper() for name in SETTINGS} | {ENVIRONMENT_VARIABLE}
    text = page.read_text()
    assert set(re.findall(r"\bmail_proxy_\w+", text)) <= known
    assert {name.removeprefix("CELERY_") for name in re.findall(r"\b(?:CELERY_)?MAIL_PROXY_\w+", text)} <= variables


def test_every_store_that_a_page_names_can_be_opened() -> None:
    schemes = r"(?:sqlite|memory|unix|sentinel|redis\+cluster|redis)://[^`…\s]*"
    texts = (DOCS / "how-to/stores.md", DOCS / "reference/settings.md")
    urls = {url for page in texts for url in re.findall(rf"`?({schemes})", page.read_text())}
    assert len(urls) >= 9
    for url in urls:
        open_store(url.rstrip("'"), retention=Retention()).close()


# Commands


def test_the_reference_has_a_section_for_every_command() -> None:
    page = DOCS / "reference/command-line.md"
    assert set(re.findall(r"^## ([a-z-]+)$", page.read_text(), re.M)) == set(COMMANDS)


def test_the_reference_sums_up_each_command_as_its_help_does() -> None:
    page = (DOCS / "reference/command-line.md").read_text()
    rows = dict(re.findall(r"^\| \[`([a-z-]+)`\]\(#[a-z-]+\) \| (.*) \|$", page, re.M))
    context = click.Context(mailproxy)
    helps = {name: getattr(mailproxy.get_command(context, name), "help", "").splitlines()[0] for name in COMMANDS}
    assert rows == {name: text[0].lower() + text[1:].rstrip(".") for name, text in helps.items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_names_the_options_of(name: str) -> None:
    command = mailproxy.get_command(click.Context(mailproxy), name)
    assert command is not None
    commands = command.commands.values() if isinstance(command, click.Group) else [command]
    named = (name for one in commands for each in one.params for name in (*each.opts, *each.secondary_opts))
    options = {option for option in named if option.startswith("--")}
    text = section(DOCS / "reference/command-line.md", name)
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `--"))
    assert set(re.findall(r"--[a-z][a-z-]*", "\n".join(row.split("|")[1] for row in rows.splitlines()))) == options


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_that_a_page_mentions_exists(page: Path) -> None:
    # `celery -A shop mailproxy check`, `celery mailproxy check | send | …`
    mentioned = re.findall(r"celery(?: -A \w+)? mailproxy ((?:[a-z]+(?:-[a-z]+)*)(?: \| [a-z-]+)*)", page.read_text())
    assert {name for names in mentioned for name in names.split(" | ")} <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_make_target_that_a_page_mentions_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text())) <= targets


# Names


def test_the_api_reference_names_everything_public() -> None:
    text = (DOCS / "reference/python-api.md").read_text()
    assert set(celery_mailproxy.__all__) <= first_column(text)
    told = set(signals.__all__) - {"MailSignal", "signals_of"}
    assert told <= set(re.findall(r"`(\w+)`", text))
    assert set(testing.__all__) <= set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("value", [Attachment, Delivery, DeliveryReport], ids=lambda value: value.__name__)
def test_the_api_reference_names_the_fields_of(value: Any) -> None:
    page = DOCS / "reference/python-api.md"
    named = first_column(section(page, value.__name__, level=3)) - {"field"}
    assert named <= set(dir(value))
    own = {item.name for item in fields(value)} - {"fetch_mode", "storage_path"}
    assert own <= named


def test_the_guide_names_every_argument_of_send_via_proxy() -> None:
    named = first_column(section(DOCS / "how-to/sending.md", "The arguments")) - {"argument"}
    assert named == mail_arguments.ARGUMENTS | CALLBACK_ARGUMENTS.keys() | set(SendTask.own_arguments)


def test_the_guide_names_every_signal() -> None:
    assert first_column(section(DOCS / "how-to/signals.md", "Signals")) - {"signal"} == set(signals.__all__) - {
        "MailSignal",
        "signals_of",
    }


# Links


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_lead_to_files(page: Path) -> None:
    # The anchors within docs/ are checked by the strict build.
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_no_page_loads_anything_from_elsewhere() -> None:
    assert "font: false" in (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert not re.search(r"<script|!\[[^]]*\]\(http|<img src=\"http", page.read_text())


# Code


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=lambda block: block.name)
def test_python_code_compiles(block: Block) -> None:
    compile(block.code, block.name, "exec")


_RUN_BLOCKS = """
import json, sys, types, warnings
from pathlib import Path

warnings.simplefilter("error")
from celery import Celery
from celery_mailproxy import signals
from celery_mailproxy.testing import FakeProxy

app = Celery("shop", broker="memory://")
shop = types.ModuleType("shop")
shop.app, shop.__path__ = app, []
tasks = types.ModuleType("shop.tasks")
def follow(report, order):
    return order

for name in ("ship", "call_customer", "note_delay"):
    setattr(tasks, name, app.task(name=f"shop.tasks.{name}")(follow))
sys.modules |= {"shop": shop, "shop.tasks": tasks}
for name in ("invoice.pdf", "logo.png"):
    Path(name).write_bytes(b"content")
with FakeProxy() as proxy:
    server = {"url": proxy.url, "token": proxy.token}
    app.conf.update(
        task_always_eager=True,
        task_eager_propagates=True,
        mail_proxy_servers={"default": server, "marketing": server},
        mail_proxy_tenant=proxy.tenant_id,
        mail_proxy_account=proxy.account_id,
        mail_proxy_from_email="shop@example.com",
        mail_proxy_sync_token="secret",
        mail_proxy_store="memory://docs",
    )
    for number, (name, code) in enumerate(json.load(sys.stdin)):
        app.set_current()
        # A module of its own for each: some define tasks of the same name.
        exec(compile(code, name, "exec"), {"__name__": f"block_{number}"})
    print(json.dumps([message.get("subject") for message in proxy.received]))
"""


def test_a_page_whose_code_sends_says_whom_the_mail_is_from() -> None:
    """Else a reader's first mail is refused."""
    pages = {block.page for block in PYTHON_BLOCKS if re.search(r"_via_proxy\.(delay|s|si)\(", block.code)}
    assert [page_id(page) for page in sorted(pages) if "from_email" not in page.read_text()] == []


def test_what_code_prints_is_one_text() -> None:
    assert [block.name for block in PYTHON_BLOCKS if re.search(r"""print\((["'])[^"']*\1, """, block.code)] == []


def test_a_call_of_curl_that_is_refused_fails() -> None:
    """Else a tenant that the proxy did not take looks like one that it took."""
    calls = [(page, line) for page in PAGES for line in re.findall(r"curl -.*", page.read_text())]
    assert len(calls) > 4
    assert [page_id(page) for page, line in calls if not re.match(r"curl -sS(f| --fail-with-body) ", line)] == []


def test_python_code_runs(tmp_path: Path) -> None:
    """Every block, against a fake proxy, with an application that is there as `shop`; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_BLOCKS],
        input=json.dumps([(block.name, block.code) for block in PYTHON_BLOCKS]),
        cwd=tmp_path,
        text=True,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sent = done.stdout.splitlines()[-1]
    for subject in ("Your invoice", "With a logo", "Your documents", "To all members", "Spring sale", "Your order 7"):
        assert subject in sent


def test_the_tests_that_the_guide_shows_pass(tmp_path: Path) -> None:
    guide = [block for block in PYTHON_BLOCKS if block.page.name == "testing.md"]
    # Those on the real proxy run among the integration tests.
    shown = [block.code for block in guide if "@pytest.fixture" in block.code and "RealProxy" not in block.code]
    assert_shown_tests_pass(shown, tmp_path)
