"""`MediaHeader`: a Content-Type or Content-Disposition header, read as mail programs do, written as all of them can.

What stands in mails is often not what RFC 2045 asks for: values with spaces, slashes or `=` and no quotes around them.
Mail programs read them all the same. The proxy's parser drops them, and fails on some; without its boundary a mail
arrives as source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from .controls import has_line_break, has_surrogate
from .headers import LINE_LENGTH, read_text

__all__ = ["MAX_BOUNDARY_LENGTH", "MediaHeader", "read_media"]

_ATOM = r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+"
_COMMENTS = r"(?:\s*\([^()]*\))*\s*"
_KINDS = {
    "content-type": re.compile(rf"{_COMMENTS}({_ATOM})\s*/\s*({_ATOM})"),
    "content-disposition": re.compile(rf"{_COMMENTS}({_ATOM})"),
}
#: Up to a semicolon that does not stand in quotes; a quote that is not closed goes on to the end.
_PIECE = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|[^";])+', re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)', re.DOTALL)
_TRAILING_COMMENT = re.compile(r"\s*\([^()]*\)$")
#: A name, the number of a section, and the mark of an encoded value (RFC 2231).
_NAME = re.compile(r"([!#$&+.^_`{|}~0-9A-Za-z-]{1,40})(?:\*([0-9]{1,3}))?(\*)?")

#: The proxy writes a longer one in several sections (RFC 2231), of which few programs make a boundary again.
MAX_BOUNDARY_LENGTH = LINE_LENGTH - len(' boundary="";')


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaHeader:
    """What stands before the parameters (`text/plain`, `attachment`; empty where nothing can be read), and these."""

    value: str
    parameters: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """The value of a parameter, or an empty text."""
        return dict(self.parameters).get(name, "")

    @property
    def on_one_line(self) -> str:
        """As the proxy is given it, which folds it. Whatever a quoted string cannot say is encoded (RFC 2231)."""
        return "; ".join([self.value, *(_parameter(*each) for each in self.parameters)])

    def folded(self, name: str) -> str | None:
        """As it stands behind the colon of a header in a tree, a parameter a line. None if there is no way."""
        lines = [self.value]
        for each in self.parameters:
            whole = _parameter(*each)
            lines += [whole] if len(whole) + len(" ;") <= LINE_LENGTH else _sections(*each)
        text = ";\n ".join(lines)
        if len(f"{name}: {lines[0]};") > LINE_LENGTH:
            text = f"\n {text}"
        return text if all(len(line) + len(" ;") <= LINE_LENGTH for line in lines) else None


def read_media(name: str, value: str) -> MediaHeader:
    """The header of that name. What cannot be a parameter is left out: no program makes anything of it."""
    pieces = _PIECE.findall(value)
    begin = _KINDS[name.lower()].match(value)
    kind = "/".join(begin.groups()).lower() if begin else ""
    first = 0 if value.lstrip().startswith(";") else 1
    return MediaHeader(value=kind, parameters=tuple(_parameters(pieces[first:])))


def _parameters(pieces: list[str]) -> Iterator[tuple[str, str]]:
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bool, str]]] = {}
    names: dict[str, None] = {}
    for piece in pieces:
        source, _, value = piece.partition("=")
        matched = _NAME.fullmatch(source.strip().lower())
        if matched is None or not (value := _unquoted(matched[1], value.strip())):
            continue
        names[matched[1]] = None
        if matched[2] is None and matched[3] is None:
            plain.setdefault(matched[1], value)
        else:
            sections.setdefault(matched[1], {}).setdefault(int(matched[2] or 0), (matched[3] is not None, value))
    for name in names:
        value = _joined(sections.get(name, {})) or plain.get(name, "")
        if name != "boundary" and "=?" in value:
            value = _decoded_words(value)
        if value:
            yield name, value


def _unquoted(name: str, value: str) -> str:
    if quoted := _QUOTED.match(value):
        # Only these two: a file name may be a path of Windows.
        return quoted[1].replace(r"\\", "\\").replace(r"\"", '"')
    # In a file name it is no comment.
    return value if name in ("name", "filename") else _TRAILING_COMMENT.sub("", value)


def _joined(sections: dict[int, tuple[bool, str]]) -> str:
    """The text of a value in sections, as far as none is missing."""
    charset = "utf-8"
    data: list[bytes] = []
    while len(data) in sections:
        is_encoded, text = sections[len(data)]
        if is_encoded and not data and text.count("'") > 1:
            charset, _, text = text.split("'", 2)
        data.append(unquote_to_bytes(text) if is_encoded else text.encode("utf-8", "surrogateescape"))
    return _text(b"".join(data), charset)


def _text(data: bytes, charset: str) -> str:
    for each in (charset, "utf-8"):
        try:
            text = data.decode(each)
        except (LookupError, ValueError):
            # Codecs raise both, and a name may hold what no codec's does.
            continue
        if not has_surrogate(text):
            return text
    return data.decode("latin-1")


def _decoded_words(value: str) -> str:
    """Many programs write file names in encoded words, against RFC 2047, and all read them."""
    try:
        text = read_text(value)
    except UnicodeError:
        return value
    return value if has_surrogate(text) or has_line_break(text) else text


def _parameter(name: str, value: str) -> str:
    # Some programs take a backslash before the last quote for its escape, and read on.
    if value.isascii() and value.isprintable() and "=?" not in value and "\\" not in value:
        escaped = value.replace('"', '\\"')
        return f'{name}="{escaped}"'
    return f"{name}*=utf-8''{quote(value, safe='')}"


def _sections(name: str, value: str) -> list[str]:
    lines = [f"{name}*0*=utf-8''"]
    for character in value:
        encoded = quote(character, safe="")
        if len(lines[-1]) + len(encoded) + len(" ;") > LINE_LENGTH:
            lines.append(f"{name}*{len(lines)}*=")
        lines[-1] += encoded
    return lines
