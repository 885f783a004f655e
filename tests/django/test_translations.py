"""Every text for people is there in German, Italian, Spanish and French, and the compiled catalogs are up to date."""

from __future__ import annotations

import ast
import gettext
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.translation import override
from django.utils.translation.template import templatize

import celery_mailproxy.django
from celery_mailproxy.django.models import EmailLog
from tests.django.harness.admin_pages import LIST, detail, new_event, new_mail, page

PACKAGE = Path(celery_mailproxy.django.__file__).parent
LANGUAGES = ("de", "it", "es", "fr")

#: function → which of its arguments are: context, text, plural.
_FUNCTIONS = {
    "gettext": (None, 0, None),
    "gettext_lazy": (None, 0, None),
    "_": (None, 0, None),
    "ngettext": (None, 0, 1),
    "pgettext": (0, 1, None),
    "pgettext_lazy": (0, 1, None),
    "npgettext": (0, 1, 2),
}


@dataclass(frozen=True, kw_only=True)
class Text:
    """What is to be translated."""

    context: str | None = None
    text: str
    plural: str | None = None

    @property
    def keys(self) -> list[object]:
        """As the catalog of Python's gettext has it."""
        key = self.text if self.context is None else f"{self.context}\x04{self.text}"
        return [key] if self.plural is None else [(key, 0), (key, 1)]


def texts_of(code: str) -> Iterator[Text]:
    """The texts that Python code asks to be translated."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS:
            values: list[Any] = [
                None if position is None else ast.literal_eval(node.args[position])
                for position in _FUNCTIONS[node.func.id]
            ]
            yield Text(context=values[0], text=values[1], plural=values[2])


def texts_of_template(template: str) -> Iterator[Text]:
    """The same for a template: Django's own extraction turns it into calls."""
    call = r"""\b(?:gettext|ngettext|pgettext|npgettext|_)\((?:[^()"']|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*\)"""
    for match in re.findall(call, templatize(template)):
        yield from texts_of(match.replace(",count)", ", 1)"))


def used() -> set[Text]:
    found = {text for path in PACKAGE.rglob("*.py") for text in texts_of(path.read_text())}
    return found | {text for path in PACKAGE.rglob("*.html") for text in texts_of_template(path.read_text())}


def catalog(path: Path) -> dict[object, str]:
    """A .po file, as Python's gettext would have its .mo file."""
    entries: dict[object, str] = {}
    for block in path.read_text().split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#"):
                assert "fuzzy" not in line
                continue
            keyword, _, rest = line.partition(" ") if not line.startswith('"') else (name, "", line)
            name = keyword
            fields[name] = fields.get(name, "") + ast.literal_eval(rest)
        key = fields["msgid"] if "msgctxt" not in fields else f"{fields['msgctxt']}\x04{fields['msgid']}"
        if "msgid_plural" in fields:
            entries |= {(key, number): fields[f"msgstr[{number}]"] for number in (0, 1)}
        else:
            entries[key] = fields["msgstr"]
    return entries


def po(language: str) -> Path:
    return PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"


def test_the_extraction_finds_what_there_is() -> None:
    found = used()
    assert Text(text="%(count)d e-mail is sent again.", plural="%(count)d e-mails are sent again.") in found
    assert Text(context="mail status", text="bounced") in found
    assert Text(context="last day", text="To") in found
    assert Text(text="What happened") in found
    assert any(text.plural and text.plural.startswith("These %(counter)s mails") for text in found)
    assert len(found) > 100


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language: str) -> None:
    translated = catalog(po(language))
    wanted = {key for text in used() for key in text.keys}
    assert wanted - translated.keys() == set(), "run makemessages, and translate these"
    assert translated.keys() - wanted - {""} == set(), "nobody asks for these any more"
    assert [key for key, value in translated.items() if not value.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_placeholders_and_markup_are_those_of_the_text(language: str) -> None:
    translated = catalog(po(language))
    pattern = r"%\(\w+\)[sd]|</?\w+>|MAIL_PROXY_\w+(?: = True)?"
    for text in used():
        originals = [text.text] if text.plural is None else [text.text, text.plural]
        for key, original in zip(text.keys, originals, strict=True):
            assert sorted(re.findall(pattern, translated[key])) == sorted(re.findall(pattern, original)), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalog_is_that_of_its_source(language: str) -> None:
    with po(language).with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert compiled._catalog == catalog(po(language)), "run compilemessages"  # type: ignore[attr-defined]


@pytest.mark.parametrize("language", LANGUAGES)
def test_statuses_differ_from_each_other(language: str) -> None:
    with override(language):
        labels = [str(label) for label in EmailLog.Status.labels]
    assert len(set(labels)) == len(labels)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", ["zurückgestellt", "Letzte 7 Tage", "Erneut senden", "Verlauf"]),
        ("it", ["differita", "Ultimi 7 giorni", "Invia di nuovo", "Cronologia"]),
        ("es", ["aplazado", "Últimos 7 días", "Reenviar", "Qué ha pasado"]),
        ("fr", ["différé", "7 derniers jours", "Renvoyer", "Ce qui s’est passé"]),
    ],
)
def test_the_admin_speaks_the_language(admin_client: Client, language: str, expected: list[str]) -> None:
    mail = new_mail(status="deferred")
    new_event(mail, "deferred")
    admin_client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
    text = page(admin_client, reverse(LIST)) + page(admin_client, detail(mail))
    assert [each for each in expected if each not in text] == []
