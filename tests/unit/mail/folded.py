"""Headers as this Python folds them."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage

#: Each is damaged by one Python or another when it is folded as it is.
SUBJECTS = [
    "日本語のテスト мир é Übersicht 日本 日本",
    "die B подтвердите in der naïve и Größe",
    "Über Über Über Über aaaaaaa Über aaaa Über",
    "ééééééééééééééééééé-  日bbж<",
]


def folded_here(name: str, value: str) -> str:
    """What this Python's `email` package makes of a header."""
    message = EmailMessage(policy=policy.SMTP)
    message[name] = value
    return message.as_bytes().decode("ascii").partition(":")[2].removesuffix("\r\n\r\n").removesuffix("\r\n")
