"""What the proxy's Python makes of a header: the folding of the `email` package, errors and all.

One error loses a space where a folded line of encoded words begins with one (cpython gh-92081; about one in eight long
subjects with accents). One makes an encoded word of the comma after an address where the line is exactly full. The
patched code can double a space instead. All depend on where a line happens to end.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from email._header_value_parser import TokenList, get_unstructured
from itertools import accumulate
from typing import Any

__all__ = ["LINE_LENGTH", "Part", "PythonFolding"]

#: What the proxy's policy sets: RFC 5322 asks for no more than 78 characters a line.
LINE_LENGTH = 78
_WHITE = " \t"
_SPECIALS = frozenset('()<>@,:;.\\"[]')
_CHROME_LENGTH = len("=?utf-8?q??=")
_Q_SAFE = frozenset(b"-!*+/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
#: What the parser calls text within quotes, and the comma between two addresses.
_QUOTED, _COMMA = "ptext", "list-separator"


class Part:
    """What the folding asks of a part of a parse tree: found out once, for a tree is folded many times."""

    __slots__ = ("asks_for_encoding", "may_be_encoded", "parts", "syntactic_break", "token", "token_type", "value")

    def __init__(self, token: Any) -> None:
        kind: Any = type(token)
        self.token = token
        self.token_type: str = token.token_type
        self.syntactic_break: bool = token.syntactic_break
        #: A word has none.
        self.parts: list[Part] | None = None if hasattr(token, "encode") else [Part(each) for each in token]
        is_joined = self.parts is not None and kind.__str__ is TokenList.__str__
        self.value: str = "".join(part.value for part in self.parts or ()) if is_joined else str(token)
        has_own = self.parts is None or kind.as_ew_allowed is not TokenList.as_ew_allowed
        self.may_be_encoded: bool = (
            token.as_ew_allowed if has_own else all(part.may_be_encoded for part in self.parts or ())
        )
        is_special = self.token_type == _QUOTED and not _SPECIALS.isdisjoint(self.value)
        self.asks_for_encoding = is_special or not self.value.isascii()


class _SecondLine(Exception):
    """A part does not fit on one line."""


class PythonFolding:
    """A header, line by line, as the `email` package folds it.

    This is `email._header_value_parser._refold_parse_tree`, cut to what text and addresses need: as it was until Python
    3.12, or with `patched` as it is since, with the errors that either has.
    """

    def __init__(self, lines: list[str], *, patched: bool) -> None:
        self.lines = lines
        self.patched = patched
        #: Where in the last line the encoded word begins that the next one is joined with.
        self.last_word: int | None = None
        #: Outlives the part that set it: that is one of the ways in which a comma gets encoded.
        self.encoding_wanted = False
        #: The white space that the last line begins with, if the line was begun for white space (patched only).
        self.leading_white = ""
        #: Whether a second line is of no use: then it is not folded to its end, once for each part around it.
        self.is_alone = False

    @property
    def room(self) -> int:
        return LINE_LENGTH - len(self.lines[-1])

    def copy(self) -> PythonFolding:
        twin = PythonFolding(list(self.lines), patched=self.patched)
        twin.last_word, twin.encoding_wanted = self.last_word, self.encoding_wanted
        twin.leading_white = self.leading_white
        return twin

    def add(self, parts: Iterable[Part], *, encoding_allowed: bool = True) -> None:
        for part in parts:
            self.encoding_wanted = self.encoding_wanted or part.asks_for_encoding
            if self.encoding_wanted and encoding_allowed:
                self._add_encoded(part, part.value)
            else:
                self._add_plain(part, part.value, encoding_allowed)

    def _add_encoded(self, part: Part, value: str) -> None:
        self.encoding_wanted = False
        if not self._may_be_encoded(part):
            self.last_word = None
            if part.syntactic_break and self._add_on_one_line(part):
                return
        if part.parts is not None:
            self.add(part.parts)
        elif self.patched and not self._may_be_encoded(part):
            self._add_plain(part, value, True)
        else:
            self._encode(value)

    def _add_plain(self, part: Part, value: str, encoding_allowed: bool) -> None:
        if len(value) <= self.room:
            self.lines[-1] += value
            return
        self.leading_white = ""
        if part.syntactic_break and len(value) < LINE_LENGTH and self._add_to_new_line(part):
            line = self.lines[-1]
            self.leading_white = line[: len(line) - len(line.lstrip(_WHITE))] if self.patched else ""
            self.last_word = None
        elif part.parts is not None:
            self.add(part.parts, encoding_allowed=encoding_allowed and self._may_be_encoded(part))
        elif encoding_allowed and self._may_be_encoded(part):
            self._encode(value)
        elif not self._add_to_new_line(part):
            self.lines[-1] += value

    def _add_to_new_line(self, part: Part) -> bool:
        white = self._steal_white()
        if not white and not part.token.startswith_fws():
            return False
        self._begin_line(white + part.value)
        return True

    def _add_on_one_line(self, part: Part) -> bool:
        alone = PythonFolding([""], patched=self.patched)
        alone.is_alone = True
        try:
            alone.add([part] if part.parts is None else part.parts)
        except _SecondLine:
            return False
        if len(alone.lines[0]) > self.room:
            self._begin_line(self._steal_white())
        self.lines[-1] += alone.lines[0]
        return True

    def _begin_line(self, text: str) -> None:
        if self.is_alone:
            raise _SecondLine
        self.lines.append(text)

    def _steal_white(self) -> str:
        line = self.lines[-1]
        if not line or line[-1] not in _WHITE:
            return ""
        self.lines[-1] = line[:-1]
        return line[-1]

    def _encode(self, value: str) -> None:
        """Add a word as RFC 2047 encoded words, together with the encoded word before it in the line."""
        joined = self.last_word is not None
        if joined:
            value = str(get_unstructured(self.lines[-1][self.last_word :] + value))
            self.lines[-1] = self.lines[-1][: self.last_word]
        if value[0] in _WHITE and not (joined and self.patched):
            # Here the space goes astray: it is left outside, between two encoded words.
            if not self.room:
                self._begin_line(self._steal_white())
            self.lines[-1] += value[0]
            value = value[1:]
        text = value[:-1] if value[-1:] in (" ", "\t") else value
        trailing = value[len(text) :]
        if self.last_word is None:
            self.last_word = len(self.lines[-1])
        pieces = _EncodedPieces(text)
        begin = 0
        while begin < len(text):
            room = self.room
            if room - len(self.leading_white) <= _CHROME_LENGTH:
                self._begin_line(" ")
                continue
            most = room - _CHROME_LENGTH - len(self.leading_white)
            if self.leading_white and len(self.lines) > 1 and len(self.lines[-1]) == 1:
                self.lines[-1] += _encoded_word(self.leading_white)
            self.leading_white = ""
            end = pieces.end_of(begin, most, room)
            self.lines[-1] += _encoded_word(text[begin:end])
            begin = end
            if begin < len(text):
                self._begin_line(" ")
                self.last_word = 1
        self.lines[-1] += trailing

    def _may_be_encoded(self, part: Part) -> bool:
        # The parser of some releases forbids it for the comma between two addresses; that is not what folds, though.
        return not self.patched if part.token_type == _COMMA else part.may_be_encoded


class _EncodedPieces:
    """How long each piece of a text is as an encoded word, without encoding it: the folding tries very many."""

    def __init__(self, text: str) -> None:
        sizes = [character.encode() for character in text]
        #: Up to each character: the bytes, and the characters of them in the readable form.
        self._bytes = list(accumulate(map(len, sizes), initial=0))
        self._readable = list(accumulate(map(_readable_length, sizes), initial=0))

    def end_of(self, begin: int, most: int, room: int) -> int:
        """Where the piece ends that begins there, has at most so many characters, and fits into the room."""
        end = min(begin + most, len(self._bytes) - 1)
        while end > begin and self._length(begin, end) > room:
            end -= 1
        return end

    def _length(self, begin: int, end: int) -> int:
        readable = self._readable[end] - self._readable[begin]
        base64 = (self._bytes[end] - self._bytes[begin] + 2) // 3 * 4
        return _CHROME_LENGTH + (readable if _is_readable(readable, base64) else base64)


def _readable_length(data: bytes) -> int:
    return sum(1 if byte == 32 or byte in _Q_SAFE else 3 for byte in data)


def _is_readable(readable: int, base64: int) -> bool:
    # The `email` package prefers the readable form as long as it is not longer by five.
    return readable - base64 < 5


def _encoded_word(text: str) -> str:
    data = text.encode()
    readable = "".join("_" if byte == 32 else chr(byte) if byte in _Q_SAFE else f"={byte:02X}" for byte in data)
    base64 = b64encode(data).decode()
    return f"=?utf-8?q?{readable}?=" if _is_readable(len(readable), len(base64)) else f"=?utf-8?b?{base64}?="
