"""Header values that arrive whole, although the proxy folds them again.

Python's folding has errors (see `python_folding`) that depend on where a line happens to end. White space at the start
of a header or of an address means nothing, so a value moves to the right until it survives, whichever Python the proxy
runs on.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import copy
from email import policy
from email._header_value_parser import ListSeparator, get_unstructured
from email.utils import getaddresses
from typing import Any

from .python_folding import LINE_LENGTH, Part, PythonFolding

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
_MOST_AT_ONCE = 4
_COMMA = Part(ListSeparator)


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
    # A long list hardly ever passes as it is, and this takes as long as finding out what does.
    if plain.isascii() or (len(values) <= _MOST_AT_ONCE and _arrive(name, plain, values)):
        # ASCII alone is never encoded, and all errors are errors of the encoding.
        return plain
    foldings = [_AddressFolding(name, patched=patched) for patched in (False, True)]
    pieces: list[str] = []
    for value in values:
        expected = read_addresses(value)
        for source in _indented(value) if pieces else (value, *_indented(value)):
            tree = _parse(name, source)
            trials = [folding.with_piece(tree, expected) for folding in foldings]
            if all(trial.is_whole for trial in trials):
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
        with suppress(UnicodeError):
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
    try:
        text = str(get_unstructured(unfolded(folded)))
    except UnicodeError:
        raise
    except Exception as exc:
        # Of codecs that are none for text.
        raise UnicodeError(f"cannot be decoded ({type(exc).__name__})") from exc
    # Some programs cut a character in two, between encoded words.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def read_addresses(folded: str) -> list[tuple[str, str]]:
    """`(display name, address)` of each mailbox in an address header's folded value, with the names decoded."""
    pairs = getaddresses([unfolded(folded)])
    names = (str(get_unstructured(name)) if "=?" in name else name for name, _ in pairs)
    return [(" ".join(name.split()), address) for name, (_, address) in zip(names, pairs, strict=True)]


def unfolded(source: str) -> str:
    """A header's value on one line, as it was before it was folded."""
    return re.sub(r"\r?\n(?=[ \t])", "", source).strip(" \t")


class _AddressFolding:
    """An address header on its way through Python's folding, address by address.

    A further one can only change the line that it begins on. So only what reaches into that line is read again: else a
    list would take the square of its length.
    """

    def __init__(self, name: str, *, patched: bool) -> None:
        self._folding = PythonFolding([f"{name}: "], patched=patched)
        #: Where each address begins, as line and column, and what it reads as.
        self._begins: list[tuple[int, int, list[tuple[str, str]]]] = []
        self.is_whole = True

    def with_piece(self, tree: Part, expected: list[tuple[str, str]]) -> _AddressFolding:
        """The same with one more address, and the comma behind it: that is what a full line damages."""
        twin = copy(self)
        twin._folding = self._folding.copy()
        lines = twin._folding.lines
        last = len(lines) - 1
        twin._begins = [*self._reaching(last), (last, len(lines[-1]), expected)]
        twin._folding.add([tree, _COMMA])
        line, column, _ = twin._begins[0]
        written = "\n".join([lines[line][column:], *lines[line + 1 :]])
        together = [pair for _, _, pairs in twin._begins for pair in pairs]
        twin.is_whole = read_addresses(written.removesuffix(",")) == together
        return twin

    def _reaching(self, last: int) -> list[tuple[int, int, list[tuple[str, str]]]]:
        before = [index for index, (line, _, _) in enumerate(self._begins) if line < last]
        return self._begins[before[-1] :] if before else self._begins


def _text_arrives(name: str, source: str, value: str) -> bool:
    # Two encoded words that touch are none to most readers (RFC 2047, 2).
    with suppress(UnicodeError):
        return all(read_text(folded) == value and "?==?" not in folded for folded in _folded(name, source))
    return False


def _arrive(name: str, header: str, values: Sequence[str]) -> bool:
    with suppress(UnicodeError):
        expected = read_addresses(", ".join(values))
        return all(read_addresses(folded) == expected for folded in _folded(name, header))
    return False


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


def _parse(name: str, value: str) -> Part:
    try:
        kind: Any = type(policy.default.header_factory(name, ""))
        # Its tree alone: what else a header object holds takes longer than that.
        tree = kind.value_parser(value)
    except Exception as exc:
        # On broken input the standard library's parser raises whatever it stumbles over, in the proxy as here.
        raise UnicodeError(f"cannot be read ({type(exc).__name__})") from exc
    return Part(tree)
