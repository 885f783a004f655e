"""Header values that arrive whole, although the proxy folds them again.

Python's folding has errors (see `python_folding`) that depend on where a line happens to end. White space at the start
of a header or of an address means nothing, so a value moves to the right until it survives, whichever Python the proxy
runs on.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from email import policy
from email._header_value_parser import ListSeparator, get_unstructured
from email.utils import getaddresses
from typing import Any

from .python_folding import LINE_LENGTH, PythonFolding

__all__ = [
    "LINE_LENGTH",
    "fold_addresses",
    "fold_text",
    "foldable_addresses",
    "foldable_text",
    "read_addresses",
    "read_text",
    "unfolded",
]

#: Characters at which Python's `str.splitlines` breaks, and so the proxy's check for line feeds refuses.
_LINE_BREAKS = re.compile("[\x85\u2028\u2029]")
_TRIES = 40


def foldable_text(name: str, value: str) -> str | None:
    """The value of an unstructured header (Subject, X-…), padded so that the proxy's folding leaves it whole.

    None if there is no way.
    """
    source = value
    if _LINE_BREAKS.search(value):
        source = f"=?utf-8?b?{b64encode(value.encode()).decode()}?="
    return next((one for one in (source, *_indented(source)) if _text_arrives(name, one, value)), None)


def foldable_addresses(name: str, values: Sequence[str]) -> str | None:
    """An address header of several mailboxes (`Name <a@b.c>`, ASCII domains), padded likewise, or None."""
    plain = ", ".join(values)
    if plain.isascii() or _arrive(name, plain, values):
        # ASCII alone is never encoded, and all errors are errors of the encoding.
        return plain
    foldings = [PythonFolding([f"{name}: "], patched=patched) for patched in (False, True)]
    pieces: list[str] = []
    for index, value in enumerate(values):
        expected = read_addresses(", ".join(values[: index + 1]))
        for source in _indented(value) if pieces else (value, *_indented(value)):
            # With the comma behind it: that is what a full line damages.
            trials = [folding.copy() for folding in foldings]
            for trial in trials:
                trial.add([*_parse(name, source), ListSeparator])
            if all(read_addresses(_value(name, trial).removesuffix(",")) == expected for trial in trials):
                pieces.append(source)
                foldings = trials
                break
        else:
            return None
    header = ",".join(pieces)
    return header if _arrive(name, header, values) else None


def fold_text(name: str, value: str) -> str | None:
    """An unstructured header's value, folded into lines short enough to travel in a body. None if there is no way.

    It is what stands behind the colon, beginning with the space or the line end there.
    """
    for candidate in (value, *_indented(value)):
        folding = PythonFolding([f"{name}: "], patched=False)
        folding.add([_parse(name, candidate)])
        folded = _value(name, folding)
        if max(map(len, folding.lines)) <= LINE_LENGTH and read_text(folded) == value and folded.isascii():
            return folded
    return None


def fold_addresses(name: str, values: Sequence[str]) -> str | None:
    """An address header's value, folded likewise, one address a line. None if there is no way."""
    pieces: list[str] = []
    for value in values:
        for candidate in (value, *_indented(value)):
            folding = PythonFolding([" "], patched=False)
            folding.add([_parse(name, candidate)])
            piece = "\n".join(folding.lines)
            # There has to be room for the comma.
            if max(map(len, folding.lines)) < LINE_LENGTH and read_addresses(piece) == read_addresses(value):
                pieces.append(piece)
                break
        else:
            return None
    folded = ",\n".join(pieces)
    first = len(name) + 1 + len(folded.partition("\n")[0])
    return folded if first <= LINE_LENGTH else f"\n{folded}"


def read_text(folded: str) -> str:
    """The text of an unstructured header's folded value, with its encoded words decoded, as a mail program shows it.

    Bytes that are no text in the charset of their encoded word are lone surrogates in it. Raises `UnicodeError` for
    those of which Python cannot even make that.
    """
    text = str(get_unstructured(unfolded(folded)))
    # Some programs cut a character in two, between encoded words.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def read_addresses(folded: str) -> list[tuple[str, str]]:
    """`(display name, address)` of each mailbox in an address header's folded value, with the names decoded."""
    pairs = getaddresses([unfolded(folded)])
    return [(" ".join(str(get_unstructured(name)).split()), address) for name, address in pairs]


def unfolded(source: str) -> str:
    """A header's value on one line, as it was before it was folded."""
    return re.sub(r"\r?\n(?=[ \t])", "", source).strip(" \t")


def _text_arrives(name: str, source: str, value: str) -> bool:
    # Two encoded words that touch are none to most readers (RFC 2047, 2).
    return all(read_text(folded) == value and "?==?" not in folded for folded in _folded(name, source))


def _arrive(name: str, header: str, values: Sequence[str]) -> bool:
    expected = read_addresses(", ".join(values))
    return all(read_addresses(folded) == expected for folded in _folded(name, header))


def _indented(value: str) -> Iterable[str]:
    return (" " * indent + value for indent in range(1, _TRIES))


def _folded(name: str, value: str) -> Iterable[str]:
    """What the older and the newer Python make of a header's value."""
    tree = _parse(name, value)
    for patched in (False, True):
        folding = PythonFolding([f"{name}: "], patched=patched)
        folding.add([tree])
        yield _value(name, folding)


def _value(name: str, folding: PythonFolding) -> str:
    return "\n".join(folding.lines)[len(name) + 1 :]


def _parse(name: str, value: str) -> Any:
    header: Any = policy.default.header_factory(name, value)
    return header._parse_tree
