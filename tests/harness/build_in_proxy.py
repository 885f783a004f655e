"""Builds mails inside the proxy's own interpreter: run by `proxy_builder.ProxyBuilder`, never imported by tests.

Reads one JSON object a line on standard input, `{"message": MESSAGE, "cte_type": "8bit" | "7bit"}`, and answers with
one a line on standard output: `{"data": base64 of what SMTP's DATA carries, "sender": str, "recipients": [str]}`, or
`{"error": str}` where the proxy would have reported an error or deferred the mail for ever.

It takes the same way through the proxy's code as a submission: the API's own model or endpoint, JSON as it lies in the
database, `_build_email`, and aiosmtplib's flattening. Only the database is left out.
"""

import asyncio
import base64
import json
import logging
import re
import sys
from types import SimpleNamespace
from typing import Any


class CommandsBuilder:
    """Release 0.5 and its kin: `POST /commands/add-messages`."""

    def __init__(self) -> None:
        from mail_proxy.api import MessagePayload
        from mail_proxy.attachments import AttachmentManager
        from mail_proxy.core import MailProxy

        self._payload = MessagePayload
        self._proxy = _without_tenant(MailProxy, AttachmentManager())

    async def intake(self, message: dict[str, Any]) -> Any:
        payload = self._payload.model_validate(message)
        data = payload.model_dump(by_alias=True, exclude_none=True)
        if payload.attachments is not None:
            data["attachments"] = [item.model_dump(exclude_none=True) for item in payload.attachments]
        valid = {"missing to": not any(data["to"]), "missing from": not data["from"], "missing id": not data["id"]}
        for reason, broken in valid.items():
            if broken:
                raise ValueError(reason)
        return data

    async def build(self, data: Any) -> Any:
        return await self._proxy._build_email(data)


class EntitiesBuilder:
    """Release 0.7 on: `POST /messages/add_batch`."""

    def __init__(self) -> None:
        from core.mail_proxy.entities.message.endpoint import MessageEndpoint
        from core.mail_proxy.smtp.attachments import AttachmentManager
        from core.mail_proxy.smtp.sender import SmtpSender

        self._endpoint = MessageEndpoint
        self._sender = _without_tenant(SmtpSender, AttachmentManager())

    async def intake(self, message: dict[str, Any]) -> Any:
        kept: list[Any] = []

        async def insert_batch(entries: list[Any]) -> list[Any]:
            kept.extend(entries)
            return entries

        endpoint = self._endpoint(SimpleNamespace(insert_batch=insert_batch))
        answer = await endpoint.add_batch([message])
        if answer["rejected"]:
            raise ValueError(answer["rejected"][0]["reason"])
        return kept[0]["payload"]

    async def build(self, data: Any) -> Any:
        return await self._sender._build_email(data)


def _without_tenant(base: Any, attachments_manager: Any) -> Any:
    """An object of the proxy's class that has attachments and a log, and no database behind it."""

    class Builder(base):  # type: ignore[misc]
        attachments = attachments_manager
        logger = logging.getLogger("builder")
        _attachment_semaphore = None
        _max_concurrent_attachments = 3
        _attachment_timeout = 30

        def __init__(self) -> None:
            pass

        async def _get_large_file_config_for_message(self, data: Any) -> Any:
            return None

        async def _get_attachment_manager_for_message(self, data: Any) -> Any:
            return attachments_manager

    return Builder()


async def answer(builder: CommandsBuilder | EntitiesBuilder, request: dict[str, Any]) -> dict[str, Any]:
    from aiosmtplib.email import extract_recipients, flatten_message, parse_address

    data = await builder.intake(request["message"])
    message, sender = await builder.build(json.loads(json.dumps(data)))
    recipients = extract_recipients(message)
    # aiosmtplib asks for SMTPUTF8 here, and a server without it makes the proxy defer the mail again and again.
    sender.encode("ascii")
    "".join(recipients).encode("ascii")
    flat = flatten_message(message, utf8=False, cte_type=request.get("cte_type", "8bit"))
    flat = re.sub(rb"\r\n|\n|\r(?!\n)", b"\r\n", flat)
    return {
        "data": base64.b64encode(flat).decode("ascii"),
        "sender": parse_address(sender),
        "recipients": [parse_address(recipient) for recipient in recipients],
    }


def main(api: str) -> None:
    sys.path[:0] = sys.argv[2:]
    logging.disable(logging.CRITICAL)
    builder: CommandsBuilder | EntitiesBuilder = CommandsBuilder() if api == "commands" else EntitiesBuilder()
    loop = asyncio.new_event_loop()
    for line in sys.stdin:
        try:
            reply = loop.run_until_complete(answer(builder, json.loads(line)))
        except Exception as exc:
            reply = {"error": f"{type(exc).__name__}: {exc}"}
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()
    loop.close()


if __name__ == "__main__":
    main(sys.argv[1])
