"""`python -m shop.publish FIRST LAST`: the mails from one number up to another, as a web process sends them."""

from __future__ import annotations

import sys
from email.message import MIMEPart
from email.mime.image import MIMEImage
from typing import Any

import django
from django.core import mail
from django.core.mail import EmailMultiAlternatives

# A one-pixel PNG.
LOGO = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)


def build(number: int) -> EmailMultiAlternatives:
    """A mail of its own recipient; every few have more to them."""
    message = EmailMultiAlternatives(
        subject=f"Order {number}: grüße", body=f"Thank you for order {number}.", to=[f"customer-{number}@example.com"]
    )
    if number % 3 == 0:
        message.attach_alternative(f'<p>Order {number} <img src="cid:logo"></p>', "text/html")
    if number % 4 == 0:
        message.attach(f"invoice-{number}.pdf", b"%PDF-1.4 \xff", "application/pdf")
    if number % 6 == 0:
        message.attach(logo())
    return message


def logo() -> Any:
    """An image with a Content-ID, of the class that this Django attaches."""
    if django.VERSION >= (6, 0):
        part = MIMEPart()
        part.set_content(LOGO, "image", "png", cid="<logo>", disposition="inline")
        return part
    image = MIMEImage(LOGO, "png")
    image["Content-ID"] = "<logo>"
    return image


def main() -> None:
    django.setup()
    first, last = map(int, sys.argv[1:])
    connection = mail.mailers.default if hasattr(mail, "mailers") else mail.get_connection()
    connection.send_messages([build(number) for number in range(first, last)])


if __name__ == "__main__":
    main()
