"""`RedisOutbox`: tasks' messages in Redis.

    <prefix>outbox:{<task id>}   a hash: content, due (as packing.pack_time writes it), copies, begun (a copy)
    <prefix>outbox               a sorted set: task ids by the moment when they are due

The sorted set is the index. In a cluster it lies elsewhere than most hashes, so what it says is checked against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

from ..base import Retention
from ..erased_pages import PAGE
from ..outbox import Outbox, OutboxEntry, Turn
from ..packing import pack_text, pack_time, unpack_text, unpack_time
from .scripts import Script
from .trips import Command, RedisTrips, ScriptCall

__all__ = ["RedisOutbox"]

#: KEYS: entry. ARGV: content, due, copies, milliseconds to keep it.
_PUT = Script("""
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'content', ARGV[1], 'due', ARGV[2], 'copies', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
""")

#: Whoever begins with an entry, or publishes it, gives it another moment.
#: Where it is already what is to be made of it, the answer to a first try was lost.
_IF_AS_READ = """
local copies, due, later = unpack(ARGV)
local kept = redis.call('HMGET', KEYS[1], 'copies', 'due')
local after = copies + added
if tonumber(kept[1] or -1) == after and kept[2] == later then return 1 end
if kept[1] ~= copies or kept[2] ~= due then return 0 end
redis.call('HSET', KEYS[1], 'copies', after, 'due', later)
"""

#: KEYS: entry. ARGV: copies and due as they were read, due. Answers whether it was as it was read (1 or 0).
_REPUBLISH = Script(f"local added = 1{_IF_AS_READ}redis.call('HDEL', KEYS[1], 'begun')\nreturn 1")

#: KEYS: entry. ARGV: copy, due. Answers whose turn it is.
_BEGIN = Script(f"""
if redis.call('EXISTS', KEYS[1]) == 0 then return '{Turn.GONE.value}' end
local begun = redis.call('HGET', KEYS[1], 'begun')
if begun and begun ~= ARGV[1] then return '{Turn.OTHERS.value}' end
redis.call('HSET', KEYS[1], 'begun', ARGV[1], 'due', ARGV[2])
return '{Turn.MINE.value}'
""")

#: The same.
_RESCHEDULE = Script(f"local added = 0{_IF_AS_READ}return 1")


class RedisOutbox(Outbox):
    """The outbox in Redis. An entry that nobody drops expires as a pending delivery does."""

    def __init__(self, trips: RedisTrips, retention: Retention, *, key_prefix: str) -> None:
        self._trips = trips
        self._retention = retention
        self._index = f"{key_prefix}outbox"

    def put(self, entries: Sequence[OutboxEntry]) -> None:
        kept_ms = int(self._retention.pending_seconds * 1000)
        calls = [
            (_PUT, self._key(each.task_id), [each.content, pack_time(each.due_at), each.copies, kept_ms])
            for each in entries
        ]
        index = [("ZADD", self._index, "NX", each.due_at.timestamp(), pack_text(each.task_id)) for each in entries]
        self._trips.run_scripts(calls, after=index)

    def due(self, *, now: datetime, limit: int) -> list[OutboxEntry]:
        found: list[OutboxEntry] = []
        while len(found) < limit:
            members = self._members(now, start=len(found), count=limit - len(found))
            if not members:
                break
            wrong: list[Command] = []
            for member, entry in zip(members, self._entries(members), strict=True):
                if entry is None:
                    wrong.append(("ZREM", self._index, member))
                elif entry.due_at.timestamp() > now.timestamp():
                    wrong.append(("ZADD", self._index, "XX", entry.due_at.timestamp(), member))
                else:
                    found.append(entry)
            self._trips.run(wrong)
        return found

    def republish(self, entry: OutboxEntry, *, due_at: datetime) -> OutboxEntry | None:
        (is_as_read,) = self._trips.run_scripts([self._changing(_REPUBLISH, entry, due_at)])
        if not is_as_read:
            return None
        # The index may say too early a moment, but none too late: it follows.
        self._trips.run([self._moved(entry.task_id, due_at)])
        return replace(entry, copies=entry.copies + 1, due_at=due_at)

    def begin(self, task_id: str, copy: int, *, due_at: datetime) -> Turn:
        call = (_BEGIN, self._key(task_id), [copy, pack_time(due_at)])
        # Where others have the turn, it is looked at a bit later than it might be.
        (answer,) = self._trips.run_scripts([call], after=[self._moved(task_id, due_at)])
        return Turn(answer.decode())

    def reschedule(self, entries: Sequence[OutboxEntry], *, due_at: datetime) -> None:
        answers = self._trips.run_scripts([self._changing(_RESCHEDULE, each, due_at) for each in entries])
        changed = [each for each, is_as_read in zip(entries, answers, strict=True) if is_as_read]
        self._trips.run([self._moved(each.task_id, due_at) for each in changed])

    def _changing(self, script: Script, entry: OutboxEntry, due_at: datetime) -> ScriptCall:
        return script, self._key(entry.task_id), [entry.copies, pack_time(entry.due_at), pack_time(due_at)]

    def drop(self, task_ids: Sequence[str]) -> None:
        commands: list[Command] = [("DEL", self._key(task_id)) for task_id in task_ids]
        if commands:
            self._trips.run([*commands, ("ZREM", self._index, *map(pack_text, task_ids))])

    def find(self, task_id: str) -> OutboxEntry | None:
        (entry,) = self._entries([pack_text(task_id).encode()])
        return entry

    def pages(self) -> Iterator[Sequence[OutboxEntry]]:
        members = self._trips.members(self._index)
        while page := list(dict.fromkeys(islice(members, PAGE))):
            yield [entry for entry in self._entries([each.encode() for each in page]) if entry is not None]

    def overdue(self, *, now: datetime) -> int:
        (number,) = self._trips.run([("ZCOUNT", self._index, "-inf", now.timestamp())])
        return int(number)

    def _members(self, now: datetime, *, start: int, count: int) -> list[bytes]:
        command = ("ZRANGEBYSCORE", self._index, "-inf", now.timestamp(), "LIMIT", start, count)
        members: list[bytes] = self._trips.run([command])[0]
        return members

    def _entries(self, members: Sequence[bytes]) -> list[OutboxEntry | None]:
        ids = [str(unpack_text(member.decode())) for member in members]
        rows = self._trips.run([("HMGET", self._key(each), "content", "due", "copies") for each in ids])
        return [_entry(task_id, *row) for task_id, row in zip(ids, rows, strict=True)]

    def _moved(self, task_id: str, due_at: datetime) -> Command:
        return ("ZADD", self._index, "XX", due_at.timestamp(), pack_text(task_id))

    def _key(self, task_id: str) -> str:
        return f"{self._index}:{{{pack_text(task_id)}}}"


def _entry(task_id: str, content: Any, due: Any, copies: Any) -> OutboxEntry | None:
    if content is None:
        return None
    return OutboxEntry(
        task_id=task_id, content=content.decode(), due_at=unpack_time(due.decode()), copies=int(copies.decode())
    )
