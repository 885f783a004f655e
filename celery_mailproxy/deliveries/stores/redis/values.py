"""The script that changes a value which others may change at the same moment."""

from __future__ import annotations

from .scripts import Script

__all__ = ["SWAP_VALUE", "swap_arguments"]

#: KEYS: hash. ARGV: name, then whether there was a value (1 or 0), and it; whether there is to be one, and it.
#: Answers 1 where it was as told, and is as wanted now; else 0.
SWAP_VALUE = Script("""
local name, had, before, has, after = unpack(ARGV)
local value = redis.call('HGET', KEYS[1], name)
if had == '1' and value ~= before or had == '0' and value then return 0 end
if has == '1' then redis.call('HSET', KEYS[1], name, after) else redis.call('HDEL', KEYS[1], name) end
return 1
""")


def swap_arguments(name: str, before: str | None, after: str | None) -> list[str]:
    """The arguments of `SWAP_VALUE`."""
    return [name, "0" if before is None else "1", before or "", "0" if after is None else "1", after or ""]
