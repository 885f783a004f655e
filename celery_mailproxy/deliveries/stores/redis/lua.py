"""What the scripts in Redis have in common: the tables of transitions, and functions on a record's text.

The tables are those of `transitions` and `suspension`, written as Lua tables: there are no second ones. See `codec` for
the shape of a head, and why nothing in it harms `cjson`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...delivery import Status
from ...suspension import LEASED, ON_END, STALE_ONLY, STEPS
from ...transitions import ONCE, TRANSITIONS

__all__ = ["ADVANCED", "COMMON", "RUN"]


def _lua_set(words: Iterable[str]) -> str:
    return "{" + ", ".join(f"{word} = true" for word in sorted(words)) + "}"


def _lua_row(row: Mapping[Any, Any]) -> str:
    return "{" + ", ".join(f"{key.value} = '{to.value}'" for key, to in row.items()) + "}"


def _lua_table(table: Mapping[Any, Mapping[Any, Any]]) -> str:
    return "{" + ", ".join(f"{key.value} = {_lua_row(row)}" for key, row in table.items()) + "}"


COMMON = f"""
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

-- What a record says of its submission (as `leaving.leaving_of`), and the rest without it; `rest` begins with the line
-- break before the static part.
local function leaving_of(rest)
  local leaving = string.match(rest, '^\\n{{"u":"([!?%x]*)",')
  if not leaving then return '', rest end
  return leaving, '\\n{{' .. string.sub(rest, #leaving + 10)
end

local function with_leaving(rest, leaving)
  if leaving == '' then return rest end
  return '\\n{{"u":"' .. leaving .. '",' .. string.sub(rest, 3)
end

local function is_withdrawn(leaving) return string.sub(leaving, 1, 1) == '!' end

-- As `leaving.begun`.
local function begun(leaving, run)
  if run == '' or is_withdrawn(leaving) or leaving == run then return leaving end
  return leaving == '' and run or '?'
end

-- As `recording._is_foreign`.
local function is_foreign(reporter, owner)
  return reporter ~= cjson.null and reporter ~= '' and reporter ~= owner
end
"""

#: KEYS: record. `main(value)` gets false where there is none, and gives the answer, what is to be kept (nothing: leave
#: it as it is), and the milliseconds to keep it (nothing: as long as it is kept already).
RUN = """
local ok, answer, kept, milliseconds = pcall(main, redis.pcall('GET', KEYS[1]))
if not ok then return redis.error_reply('DAMAGED ' .. tostring(answer)) end
if kept and milliseconds then
  redis.call('SET', KEYS[1], kept, 'PX', milliseconds)
elseif kept then
  redis.call('SET', KEYS[1], kept, 'KEEPTTL')
end
return answer
"""

ADVANCED = (
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
