"""How genro-mail-proxy will write a header, and how to word the header so that nothing is lost on the way.

The proxy takes every header apart and folds it anew with the `email` package of its own Python. Up to Python 3.12 that
code loses a space where a folded line of encoded words begins with one (cpython gh-92081: about one in eight long
subjects with accents), and turns the comma after an address into an encoded word where the line is exactly full. Both
depend on where a line happens to end, and white space at the beginning of a header or of an address means nothing. So
`text` and `addresses` foresee the folding, and move the value to the right until it arrives whole. A Python without
the errors is not disturbed by it.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from email import policy
from email._header_value_parser import ListSeparator, get_unstructured
from email.utils import getaddresses
from typing import Any

__all__ = ["addresses", "read_addresses", "read_text", "text"]

#: What the proxy's policy sets: RFC 5322 asks for no more than 78 characters a line.
LINE_LENGTH = 78
_WHITE = " \t"
#: Characters at which Python's `str.splitlines` breaks, and so the proxy's check for line feeds refuses.
_LINE_BREAKS = re.compile("[\x85\u2028\u2029]")
_SPECIALS = frozenset('()<>@,:;.\\"[]')
_CHROME_LENGTH = len("=?utf-8?q??=")
_Q_SAFE = frozenset(b"-!*+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
#: What the parser calls text within quotes, and the comma between two addresses.
_QUOTED, _COMMA = "ptext", "list-separator"
_TRIES = 40


def text(name: str, value: str) -> str | None:
    """The value of an unstructured header (Subject, X-…), worded so that the proxy writes it whole; None: no way."""
    worded = _LINE_BREAKS.sub(" ", value) != value
    source = f"=?utf-8?b?{b64encode(value.encode()).decode()}?=" if worded else value
    candidates = (source, *_indented(source))
    return next((one for one in candidates if read_text(_fold(name, one)) == value), None)


def addresses(name: str, values: Sequence[str]) -> str | None:
    """An address header of several mailboxes (`Name <a@b.c>`, ASCII domains), worded likewise; None: no way."""
    plain = ", ".join(values)
    if plain.isascii() or _arrives(name, plain, values):
        # ASCII alone is never encoded, and both errors are errors of the encoding.
        return plain
    folding = _Folding([f"{name}: "])
    pieces: list[str] = []
    for value in values:
        sources = (value, *_indented(value)) if not pieces else _indented(value)
        trials = ((source, folding.after(name, source)) for source in sources)
        expected = read_addresses(", ".join(values[: len(pieces) + 1]))
        found = next(((one, trial) for one, trial in trials if trial.addresses(name) == expected), None)
        if found is None:
            return None
        pieces.append(found[0])
        folding = found[1]
    header = ",".join(pieces)
    return header if _arrives(name, header, values) else None


def read_text(folded: str) -> str:
    """The text of an unstructured header's folded value, with its encoded words decoded, as a mail program shows it."""
    return str(get_unstructured(_unfold(folded)))


def read_addresses(folded: str) -> list[tuple[str, str]]:
    """`(display name, address)` of each mailbox in an address header's folded value, with the names decoded."""
    pairs = getaddresses([_unfold(folded)])
    return [(" ".join(str(get_unstructured(name)).split()), address) for name, address in pairs]


def _arrives(name: str, header: str, values: Sequence[str]) -> bool:
    return read_addresses(_fold(name, header)) == read_addresses(", ".join(values))


def _indented(value: str) -> Iterable[str]:
    return (" " * indent + value for indent in range(1, _TRIES))


def _unfold(value: str) -> str:
    return re.sub(r"\r?\n(?=[ \t])", "", value).strip(_WHITE)


def _fold(name: str, value: str) -> str:
    """The header's value as `email` of Python 3.12 and before folds it, without the name."""
    lines = [f"{name}: "]
    _Folding(lines).add([_parse(name, value)])
    return "\n".join(lines)[len(name) + 1 :]


def _parse(name: str, value: str) -> Any:
    header: Any = policy.default.header_factory(name, value)
    return header._parse_tree


class _Folding:
    """`email._header_value_parser._refold_parse_tree` as it was, cut to what text and addresses need."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        #: Where in the last line the encoded word begins that the next one is joined with.
        self.last_word: int | None = None
        #: Outlives the part that set it: that is one of the ways in which a comma gets encoded.
        self.encoding_wanted = False

    @property
    def room(self) -> int:
        return LINE_LENGTH - len(self.lines[-1])

    def after(self, name: str, source: str) -> _Folding:
        """The folding with one more address, and the comma behind it: that is what a full line damages."""
        folding = _Folding(list(self.lines))
        folding.last_word, folding.encoding_wanted = self.last_word, self.encoding_wanted
        folding.add([*_parse(name, source), ListSeparator])
        return folding

    def addresses(self, name: str) -> list[tuple[str, str]]:
        return read_addresses("\n".join(self.lines)[len(name) + 1 :].removesuffix(","))

    def add(self, tree: Iterable[Any], *, encoding_allowed: bool = True) -> None:
        for part in tree:
            value = str(part)
            if not value.isascii() or (part.token_type == _QUOTED and not _SPECIALS.isdisjoint(value)):
                self.encoding_wanted = True
            if self.encoding_wanted and encoding_allowed:
                self._add_encoded(part, value)
            else:
                self._add_plain(part, value, encoding_allowed)

    def _add_encoded(self, part: Any, value: str) -> None:
        self.encoding_wanted = False
        if not _may_be_encoded(part):
            self.last_word = None
            if part.syntactic_break and self._add_on_one_line(part):
                return
        if hasattr(part, "encode"):
            self._encode(value)
        else:
            self.add(part)

    def _add_plain(self, part: Any, value: str, encoding_allowed: bool) -> None:
        if len(value) <= self.room:
            self.lines[-1] += value
        elif part.syntactic_break and len(value) < LINE_LENGTH and self._add_to_new_line(part):
            self.last_word = None
        elif not hasattr(part, "encode"):
            self.add(part, encoding_allowed=encoding_allowed and _may_be_encoded(part))
        elif encoding_allowed and _may_be_encoded(part):
            self._encode(value)
        elif not self._add_to_new_line(part):
            self.lines[-1] += value

    def _add_to_new_line(self, part: Any) -> bool:
        white = self._steal_white()
        if not white and not part.startswith_fws():
            return False
        self.lines.append(white + str(part))
        return True

    def _add_on_one_line(self, part: Any) -> bool:
        alone = _Folding([""])
        alone.add(part)
        if len(alone.lines) > 1:
            return False
        if len(alone.lines[0]) > self.room:
            self.lines.append(self._steal_white())
        self.lines[-1] += alone.lines[0]
        return True

    def _steal_white(self) -> str:
        line = self.lines[-1]
        if not line or line[-1] not in _WHITE:
            return ""
        self.lines[-1] = line[:-1]
        return line[-1]

    def _encode(self, value: str) -> None:
        """Add a word as RFC 2047 encoded words, together with the encoded word before it in the line."""
        if self.last_word is not None:
            value = str(get_unstructured(self.lines[-1][self.last_word :] + value))
            self.lines[-1] = self.lines[-1][: self.last_word]
        if value[0] in _WHITE:
            # Here the space goes astray: it is left outside, between two encoded words.
            if not self.room:
                self.lines.append(self._steal_white())
            self.lines[-1] += value[0]
            value = value[1:]
        text = value[:-1] if value[-1:] in (" ", "\t") else value
        trailing = value[len(text) :]
        if self.last_word is None:
            self.last_word = len(self.lines[-1])
        while text:
            if self.room <= _CHROME_LENGTH:
                self.lines.append(" ")
                continue
            count = self._count_that_fits(text)
            self.lines[-1] += _encoded_word(text[:count])
            text = text[count:]
            if text:
                self.lines.append(" ")
                self.last_word = 1
        self.lines[-1] += trailing

    def _count_that_fits(self, text: str) -> int:
        count = min(len(text), self.room - _CHROME_LENGTH)
        while count > 0 and len(_encoded_word(text[:count])) > self.room:
            count -= 1
        return count


def _may_be_encoded(part: Any) -> bool:
    # Python 3.13 forbids it for the comma between two addresses; before, that was the error.
    return bool(part.as_ew_allowed) or part.token_type == _COMMA


def _encoded_word(text: str) -> str:
    data = text.encode()
    readable = "".join("_" if byte == 32 else chr(byte) if byte in _Q_SAFE else f"={byte:02X}" for byte in data)
    base64 = b64encode(data).decode()
    # The `email` package prefers the readable form as long as it is not longer by five.
    return f"=?utf-8?q?{readable}?=" if len(readable) - len(base64) < 5 else f"=?utf-8?b?{base64}?="
