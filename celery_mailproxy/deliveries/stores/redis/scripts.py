"""The state machine inside Redis: one script for each transition, each on one key.

A value is `head \\n static` and, behind another line break each, segments that these scripts keep as they are.

Each script is a function `main` from the record's value to the answer, the value to keep and for how long; only what
stands around it reads and writes. So whatever fails in `main` is a record that cannot be read: the script answers the
error `DAMAGED`, and has changed nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha1

from .lua import ADVANCED, COMMON, RUN

__all__ = [
    "ADVANCE",
    "DAMAGED",
    "LEAVE",
    "MARK_DISPATCHED",
    "RECORD",
    "REGISTER",
    "STILL_OPEN",
    "TIME",
    "Damage",
    "Script",
]

#: How the error begins that a script answers where the record cannot be read.
DAMAGED = "DAMAGED"


@dataclass(frozen=True, slots=True)
class Damage:
    """Such an answer."""

    problem: str


@dataclass(frozen=True)
class Script:
    """A Lua script and the name that Redis knows it by."""

    text: str

    @cached_property
    def sha(self) -> str:
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


#: KEYS: record. ARGV: head, static, milliseconds to keep it if ended, if pending.
#: Answers nothing where the record is kept as given, else the value that is kept.
REGISTER = Script(
    COMMON
    + """
local head_text, static, ended, pending = unpack(ARGV)

local function main(value)
  local head = cjson.decode(head_text)
  if not value then return false, head_text .. '\\n' .. static, ttl(head, ended, pending) end
  local existing, rest = split(value)
  local later = string.find(rest, '\\n', 2, true)
  local suspended = string.find(static, '\\n', 1, true)
  if suspended and head[KNOWN] == 0 and not later then
    value = cjson.encode(existing) .. end_reported(existing, rest .. string.sub(static, suspended), head[UPDATED])
    return value, value
  end
  local run, bare = leaving_of('\\n' .. static)
  local before, known = leaving_of(rest)
  local leaving = begun(before, run)
  if existing[KNOWN] == 1 then
    if existing[STATUS] ~= 'new' or leaving == before then return value end
    value = string.sub(value, 1, #value - #rest) .. with_leaving(known, leaving)
    return value, value
  end
  static = string.sub(with_leaving(bare, leaving), 2)
  local segments = later and not suspended and string.sub(rest, later) or ''
  if not is_foreign(existing[TENANT], head[TENANT]) then
    head[STATUS] = existing[STATUS]
    for index = FIRST, math.max(#head, #existing) do head[index] = existing[index] end
  end
  value = cjson.encode(head) .. end_reported(head, '\\n' .. static .. segments, head[UPDATED])
  return value, value, ttl(head, ended, pending)
end
"""
    + RUN
)

#: KEYS: record. ARGV: the run that takes it back (empty: withdraw it), head and static of a tombstone (empty: leave
#: what is unknown), milliseconds to keep that. Answers nothing where the record is unknown, else the value kept.
LEAVE = Script(
    COMMON
    + """
local run, tombstone, static, ended = unpack(ARGV)

local function main(value)
  if not value then
    if tombstone == '' then return false end
    value = tombstone .. '\\n' .. static
    return value, value, ended
  end
  local _, rest = split(value)
  local before, bare = leaving_of(rest)
  local after = before
  if run == '' then
    after = is_withdrawn(before) and before or '!' .. before
  elseif before == run or before == '!' .. run then
    after = string.sub(before, 1, #before - #run)
  end
  if after == before then return value end
  value = string.sub(value, 1, #value - #rest) .. with_leaving(bare, after)
  return value, value
end
"""
    + RUN
)

#: KEYS: record. ARGV: now, claim, the claim it goes on after (empty: none), the time that the claim is renewed to, how
#: long a claim holds in microseconds, dispatched (1 or 0), only new (1 or 0), milliseconds to keep it if ended, if
#: pending, then head and static of an orphan (empty: do not adopt), then key, tenant and text of each report.
#: Answers nothing where the record is unknown, else a verdict for each report, and the value that is kept.
RECORD = Script(
    COMMON
    + """
local now, claim, former, claimed, lease, dispatched, only_new, ended, pending, orphan, static = unpack(ARGV, 1, 11)

local function main(value)
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
    local verdict = 'new'
    if entry[CLAIM] ~= claim and (former == '' or entry[CLAIM] ~= former) then
      if tonumber(now, 36) - tonumber(entry[CLAIMED], 36) <= tonumber(lease) then return 'held' end
      verdict = 'again'
    end
    entry[CLAIM], entry[CLAIMED], is_changed = claim, claimed, true
    return verdict
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
    local entry = {key, claim, claimed, 0, report}
    if dispatched == '1' then mark(entry) end
    head[#head + 1] = entry
    return 'new'
  end

  local answer = {}
  for index = 12, #ARGV, 3 do
    answer[#answer + 1] = apply(ARGV[index], ARGV[index + 1], ARGV[index + 2])
  end
  local kept, milliseconds
  if is_updated or is_changed then
    value = cjson.encode(head) .. end_reported(head, rest, now)
    kept, milliseconds = value, is_updated and ttl(head, ended, pending) or nil
  end
  answer[#answer + 1] = value
  return answer, kept, milliseconds
end
"""
    + RUN
)

#: What `MARK_DISPATCHED` answers of a message that is known and has not ended.
STILL_OPEN = 2

#: KEYS: record. ARGV: now, then for each report its key, whether its suspended result's message has been published
#: (1 or 0), the number of failed handlers, and their names.
#: Answers 0 where there is no record, else 1 or `STILL_OPEN`.
MARK_DISPATCHED = Script(
    COMMON
    + ADVANCED
    + """
local function main(value)
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
  local is_open = head[KNOWN] == 1 and not ENDED[head[STATUS]]
  return is_open and 2 or 1, cjson.encode(head) .. rest
end
"""
    + RUN
)

#: KEYS: any: without one, a cluster does not know whom to ask. Answers the server's time, in seconds and microseconds.
TIME = Script("return redis.call('TIME')")

#: KEYS: record. ARGV: step, token (empty: none), now, lease in microseconds.
#: Answers nothing where there is no record, else whether the step is allowed (1 or 0), and the value that is kept.
ADVANCE = Script(
    COMMON
    + ADVANCED
    + """
local step, token, now, lease = unpack(ARGV)

local function main(value)
  if not value then return false end
  local head, rest = split(value)
  local after = advanced(rest, step, token, now, lease)
  if not after then return {0, value} end
  value = cjson.encode(head) .. after
  return {1, value}, value
end
"""
    + RUN
)
