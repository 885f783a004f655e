"""`python -m shop.place_order 7 ann@example.com`: what a web process does."""

from __future__ import annotations

import sys

from .tasks import confirm_order


def main() -> None:
    order, customer = sys.argv[1:]
    message_id = confirm_order(int(order), customer)
    print(f"message {message_id} is on its way to {customer}")


if __name__ == "__main__":
    main()
