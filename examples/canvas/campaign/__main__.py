"""`python -m campaign ann@example.com bob@example.com`: a chain, a group and a chord, and what comes of each."""

from __future__ import annotations

import sys

from celery import chain, chord, group

from celery_mailproxy import DeliveryError, deliver_many_via_proxy, deliver_via_proxy

from .tasks import render, ship, summarise

TIMEOUT_SECONDS = 60


def main() -> None:
    customers = sys.argv[1:]
    order = chain(render.s(7), deliver_via_proxy.s(to=customers[:1]), ship.s(7)).apply_async()
    print(f"chain: {order.get(timeout=TIMEOUT_SECONDS)}")

    mails = group(deliver_via_proxy.s(to=[each], subject="News", body="In a group") for each in customers)
    for result in mails.apply_async().results:
        try:
            print(f"group: {result.get(timeout=TIMEOUT_SECONDS)['kind']}")
        except DeliveryError:
            print("group: not delivered")

    messages = [{"to": [each], "subject": "Spring sale", "body": "In a chord"} for each in customers]
    campaign = chord(deliver_many_via_proxy(messages, collect=True, priority="low"), summarise.s()).apply_async()
    print(f"chord: {campaign.get(timeout=TIMEOUT_SECONDS)}")


if __name__ == "__main__":
    main()
