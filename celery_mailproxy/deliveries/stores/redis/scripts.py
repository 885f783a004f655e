"""The state machine inside Redis: one script for each transition, each on one key.

The table of transitions is `transitions.TRANSITIONS`, written into the scripts as a Lua table: there is no second one.
A value is `head \\n static` and, behind another line break each, segments that these scripts keep as they are. See
`codec` for the shape of the head, and why nothing in it harms `cjson`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1
from typing import Any

from ...delivery import Status
from ...suspension import LEASED, ON_END, STALE_ONLY, STEPS
from ...transitions import ONCE, TRANSITIONS

__all__ = ["ADVANCE", "MARK_DISPATCHED", "RECORD", "REGISTER", "Script"]


@dataclass(frozen=True)
class Script:
    """A Lua script and the name that Redis knows it by."""

    text: str

    @cached_property
    def sha(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def _lua_set(words: Iterable[str]) -> str:
    return "{" + ", ".join(f"{word} = true" for word in sorted(words)) + "}"


def _lua_row(row: Mapping[Any, Any]) -> str:
    return "{" + ", ".join(f"{key.value} = '{to.value}'" for key, to in row.items()) + "}"


def _lua_table(table: Mapping[Any, Mapping[Any, Any]]) -> str:
    return "{" + ", ".join(f"{key.value} = {_lua_row(row)}" for key, row in table.items()) + "}"


_COMMON = f"""
local NEXT = {_lua_table(TRANSITIONS)}
local ONCE = {_lua_set(kind.value for kind in ONCE)}
local ENDED = {_lua_set(status.value for status in Status if status.is_end)}
-- Where things are in a head and in an entry; see codec.py.
local STATUS, UPDATED, KNOWN, TENANT, FIRST = 1, 2, 3, 4, 5
local KEY, CLAIM, CLAIMED, DISPATCHED, REPORT, FAILED = 1, 2, 3, 4, 5, 6

-- The head, decoded, and all that follows it, from its line break on.
local function split(value)
  local stop = string.find(value, '\\n', 1, true)
  return cjson.decode(string.sub(value, 1, stop - 1)), string.sub(value, stop)
end

local function find(head, key)
  for index = FIRST, #head do
    if head[index][KEY] == key then return index end
  end
end

local function ttl(head, ended, pending)
  if head[KNOWN] == 0 or ENDED[head[STATUS]] then return ended end
  return pending
end

local ON_END = {_lua_row(ON_END)}
-- Where things are in a suspended result; see codec.py.
local STATE, OWNER, TOKEN, SINCE, WRITERS = 1, 2, 3, 4, 5

-- What follows the static part of a record (`rest` begins with the line break before the static part): the suspended
-- result, decoded, and the text of its message; nothing where there is none.
local function suspension_of(rest)
  local start = string.find(rest, '\\n', 2, true)
  if not start then return nil end
  local stop = string.find(rest, '\\n', start + 1, true)
  if not stop then return nil end
  return cjson.decode(string.sub(rest, start + 1, stop - 1)), string.sub(rest, stop + 1), string.sub(rest, 1, start - 1)
end

local function with_suspension(static, suspension, message)
  return static .. '\\n' .. cjson.encode(suspension) .. '\\n' .. message
end

-- The rest of a record after the end of its message has been reported.
local function end_reported(head, rest, now)
  if not ENDED[head[STATUS]] then return rest end
  local suspension, message, static = suspension_of(rest)
  local state = suspension and ON_END[suspension[STATE]]
  if not state then return rest end
  suspension[STATE], suspension[SINCE] = state, now
  return with_suspension(static, suspension, message)
end

local function mark(entry)
  if entry[CLAIM] ~= cjson.null then entry[CLAIM] = '' end
  entry[CLAIMED], entry[DISPATCHED] = cjson.null, 1
end

-- As `recording._is_foreign`.
local function is_foreign(reporter, owner)
  return reporter ~= cjson.null and reporter ~= '' and reporter ~= owner
end
"""

_ADVANCED = (
    f"""
local STEPS = {_lua_table(STEPS)}
local LEASED = {_lua_set(step.value for step in LEASED)}
local STALE_ONLY = {_lua_set(step.value for step in STALE_ONLY)}
"""
    """
-- The rest of a record after a step of its suspended result; nothing where the step is refused.
local function advanced(rest, step, token, now, lease)
  local suspension, message, static = suspension_of(rest)
  local state = suspension and STEPS[step][suspension[STATE]]
  if not state then return nil end
  local held = suspension[TOKEN] ~= cjson.null and suspension[TOKEN] or ''
  local is_silent = tonumber(now, 36) - tonumber(suspension[SINCE], 36) > tonumber(lease)
  if STALE_ONLY[step] and not is_silent then return nil end
  if LEASED[step] and suspension[STATE] == 'running' and held ~= token then
    if step == 'finish' or not is_silent then return nil end
  end
  if step == 'write' then
    suspension[WRITERS] = suspension[WRITERS] + 1
  elseif step == 'written' then
    suspension[WRITERS] = math.max(0, suspension[WRITERS] - 1)
  elseif state == 'done' then
    suspension[TOKEN], suspension[WRITERS], message = cjson.null, 0, ''
  else
    suspension[TOKEN] = state == 'running' and token ~= '' and token or cjson.null
  end
  suspension[STATE], suspension[SINCE] = state, now
  return with_suspension(static, suspension, message)
end
"""
)

#: KEYS: record. ARGV: head, static, milliseconds to keep it if ended, if pending.
#: Answers nothing where the record is kept as given, else the value that is kept.
REGISTER = Script(
    _COMMON
    + """
local head_text, static, ended, pending = unpack(ARGV)
local value = redis.call('GET', KEYS[1])
local head = cjson.decode(head_text)
if not value then
  redis.call('SET', KEYS[1], head_text .. '\\n' .. static, 'PX', ttl(head, ended, pending))
  return false
end
local existing, rest = split(value)
local later = string.find(rest, '\\n', 2, true)
local suspended = string.find(static, '\\n', 1, true)
if suspended and head[KNOWN] == 0 and not later then
  value = cjson.encode(existing) .. end_reported(existing, rest .. string.sub(static, suspended), head[UPDATED])
  redis.call('SET', KEYS[1], value, 'KEEPTTL')
  return value
end
if existing[KNOWN] == 1 then return value end
local segments = later and not suspended and string.sub(rest, later) or ''
if not is_foreign(existing[TENANT], head[TENANT]) then
  head[STATUS] = existing[STATUS]
  for index = FIRST, math.max(#head, #existing) do head[index] = existing[index] end
end
value = cjson.encode(head) .. end_reported(head, '\\n' .. static .. segments, head[UPDATED])
redis.call('SET', KEYS[1], value, 'PX', ttl(head, ended, pending))
return value
"""
)

#: KEYS: record. ARGV: now, claim, lease in microseconds, dispatched (1 or 0), only new (1 or 0), milliseconds to keep
#: it if ended, if pending, then head and static of an orphan (empty: do not adopt), then key, tenant and text of each
#: report.
#: Answers nothing where the record is unknown, else a verdict for each report, and the value that is kept.
RECORD = Script(
    _COMMON
    + """
local now, claim, lease, dispatched, only_new, ended, pending, orphan, static = unpack(ARGV, 1, 9)
local value = redis.call('GET', KEYS[1])
if not value then
  if orphan == '' then return false end
  value = orphan .. '\\n' .. static
end
local head, rest = split(value)
local is_changed, is_updated = false, false

local function claim_again(entry)
  if entry[CLAIM] == cjson.null or entry[CLAIMED] == cjson.null or entry[DISPATCHED] == 1 then
    return 'duplicate'
  end
  if entry[CLAIM] == claim then return 'new' end
  if tonumber(now, 36) - tonumber(entry[CLAIMED], 36) <= tonumber(lease) then return 'duplicate' end
  entry[CLAIM], entry[CLAIMED], is_changed = claim, now, true
  return 'new'
end

local function kind_of(key) return string.match(key, '^[^:]+') end

local function is_repeated(kind)
  if not ONCE[kind] then return false end
  for index = FIRST, #head do
    if kind_of(head[index][KEY]) == kind then return true end
  end
  return false
end

-- As `recording.is_anothers_orphan`.
local function is_anothers_orphan(tenant)
  local owner = head[TENANT]
  if head[KNOWN] == 1 or owner == cjson.null or owner == '' then return false end
  return is_foreign(tenant, owner) and not string.find(rest, '\\n', 2, true)
end

local function apply(key, tenant, report)
  if is_anothers_orphan(tenant) then
    if orphan == '' then return 'unknown' end
    head, rest = split(orphan .. '\\n' .. static)
    head[TENANT] = tenant
  end
  if is_foreign(tenant, head[TENANT]) then return 'foreign' end
  local index = find(head, key)
  if index then return claim_again(head[index]) end
  if only_new == '1' and head[STATUS] ~= 'new' then return 'stale' end
  local kind = kind_of(key)
  local status = NEXT[head[STATUS]][kind]
  head[UPDATED], is_updated = now, true
  if not status or is_repeated(kind) then
    head[#head + 1] = {key, cjson.null, cjson.null, 0, report}
    return 'stale'
  end
  head[STATUS] = status
  local entry = {key, claim, now, 0, report}
  if dispatched == '1' then mark(entry) end
  head[#head + 1] = entry
  return 'new'
end

local answer = {}
for index = 10, #ARGV, 3 do
  answer[#answer + 1] = apply(ARGV[index], ARGV[index + 1], ARGV[index + 2])
end
if is_updated or is_changed then
  value = cjson.encode(head) .. end_reported(head, rest, now)
  if is_updated then
    redis.call('SET', KEYS[1], value, 'PX', ttl(head, ended, pending))
  else
    redis.call('SET', KEYS[1], value, 'KEEPTTL')
  end
end
answer[#answer + 1] = value
return answer
"""
)

#: KEYS: record. ARGV: now, then for each report its key, whether its suspended result's message has been published
#: (1 or 0), the number of failed handlers, and their names.
#: Answers whether the record is there.
MARK_DISPATCHED = Script(
    _COMMON
    + _ADVANCED
    + """
local value = redis.call('GET', KEYS[1])
if not value then return 0 end
local head, rest = split(value)
local at, resumed = 2, false
while at <= #ARGV do
  local number = tonumber(ARGV[at + 2])
  local index = find(head, ARGV[at])
  if index then
    local entry = head[index]
    mark(entry)
    for place = #entry, FAILED, -1 do entry[place] = nil end
    for place = 1, number do entry[FAILED + place - 1] = ARGV[at + 2 + place] end
  end
  resumed = resumed or ARGV[at + 1] == '1'
  at = at + 3 + number
end
if resumed then rest = advanced(rest, 'published', '', ARGV[1], 0) or rest end
redis.call('SET', KEYS[1], cjson.encode(head) .. rest, 'KEEPTTL')
return 1
"""
)

#: KEYS: record. ARGV: step, token (empty: none), now, lease in microseconds.
#: Answers nothing where there is no record, else whether the step is allowed (1 or 0), and the value that is kept.
ADVANCE = Script(
    _COMMON
    + _ADVANCED
    + """
local step, token, now, lease = unpack(ARGV)
local value = redis.call('GET', KEYS[1])
if not value then return false end
local head, rest = split(value)
local after = advanced(rest, step, token, now, lease)
if not after then return {0, value} end
value = cjson.encode(head) .. after
redis.call('SET', KEYS[1], value, 'KEEPTTL')
return {1, value}
"""
)
