"""What must happen at once on the server, in Lua. Data; link.py loads it, whoever needs one names it.

`allow-oom`: what takes events away must work when memory is full; only appending may be refused. None of these scripts
names a command or option that is newer than Redis 7.0. A script that raises has written nothing before: each begins
with what may fail.

Source: spec/eventing.md §27; decision 0006 (why a group is moved by script and not by XREADGROUP).
"""

from hashlib import sha1
from typing import Final


class Script:
    def __init__(self, body: str, flags: str = "flags=allow-oom") -> None:
        self.source: Final = f"#!lua {flags}\n{body.strip()}\n"
        self.sha: Final = sha1(self.source.encode()).hexdigest()


# KEYS stream, heads, passed; ARGV group, field, start id
# → {the head, how many entries are before it, whether the group had to be made, what was passed over}
# A group that is gone while its head is known starts again at its low-water mark: nothing lost, little repeated; what
# was passed over lies above that mark.
JOIN = Script("""
local head = redis.call('HGET', KEYS[2], ARGV[2])
local start = ARGV[3]
local low = head and redis.call('HGET', KEYS[2], ARGV[2] .. ':low')
if head then start = low or head end
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], start, 'MKSTREAM')
if type(made) == 'table' and made.err then
  if not string.find(made.err, 'BUSYGROUP') then return made end
  if head then
    local n, passed = redis.call('HGET', KEYS[2], ARGV[2] .. ':n'), redis.call('HGET', KEYS[3], ARGV[2])
    return {head, n or '-1', 0, passed or ''}
  end
end
if low then redis.call('HDEL', KEYS[3], ARGV[2]) end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local s = {}
for i = 1, #info, 2 do s[info[i]] = info[i + 1] end
local n = -1
if start == '$' then start, n = s['last-generated-id'], s['entries-added']
elseif start == '0-0' then n = s['entries-added'] - s['length'] end
redis.call('HSET', KEYS[2], ARGV[2], start, ARGV[2] .. ':n', n)
if n ~= -1 then redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], start, 'ENTRIESREAD', n) end
return {start, n, head and 2 or 1, redis.call('HGET', KEYS[3], ARGV[2]) or ''}
""")

# KEYS stream, heads, [lease]; ARGV group, field, worker, expected head, new head, entries before it, fence, id…
# → {1, claimed ids} | {0, the head, entries before it} somebody else moved it | {-1} not the owner
# The entries between the two heads are settled for this group but the ids, which become pending for this worker.
CLAIM = Script("""
local head = redis.call('HGET', KEYS[2], ARGV[2])
if head ~= ARGV[4] then return {0, head, redis.call('HGET', KEYS[2], ARGV[2] .. ':n')} end
if ARGV[7] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[7] then return {-1} end
if ARGV[6] == '-1' then redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[5])
else redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[5], 'ENTRIESREAD', ARGV[6]) end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[5], ARGV[2] .. ':n', ARGV[6])
if #ARGV == 7 then return {1, {}} end
local args = {'XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0}
for i = 8, #ARGV do args[#args + 1] = ARGV[i] end
args[#args + 1] = 'FORCE'
args[#args + 1] = 'JUSTID'
return {1, redis.call(unpack(args))}
""")

# KEYS stream, heads, passed; ARGV group, field, how many stretches there may be
# → {the head or '' it is not known, entries before it, what was passed over}
# The head goes to the end of the stream; what lies between is noted, unless there are that many stretches.
PASS = Script("""
local head = redis.call('HGET', KEYS[2], ARGV[2])
if not head then return {'', -1, ''} end
local n = redis.call('HGET', KEYS[2], ARGV[2] .. ':n') or '-1'
local passed = redis.call('HGET', KEYS[3], ARGV[2]) or ''
local first = redis.call('XRANGE', KEYS[1], '(' .. head, '+', 'COUNT', 1)[1]
if not first then return {head, n, passed} end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local s = {}
for i = 1, #info, 2 do s[info[i]] = info[i + 1] end
local last, added = s['last-generated-id'], s['entries-added']
local others, from, upto, before = string.match(passed, '^(.-)([^ ,]+) ([^ ,]+) ([^ ,]+) [^ ,]+$')
if upto == head then passed = others .. from .. ' ' .. last .. ' ' .. before .. ' ' .. added
elseif passed == '' then passed = first[1] .. ' ' .. last .. ' ' .. n .. ' ' .. added
elseif select(2, string.gsub(passed, ',', ',')) + 1 >= tonumber(ARGV[3]) then return {head, n, passed}
else passed = passed .. ',' .. first[1] .. ' ' .. last .. ' ' .. n .. ' ' .. added end
redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], last, 'ENTRIESREAD', added)
redis.call('HSET', KEYS[2], ARGV[2], last, ARGV[2] .. ':n', added)
redis.call('HSET', KEYS[3], ARGV[2], passed)
return {last, added, passed}
""")

# KEYS stream, passed, lease; ARGV group, field, worker, expected stretches, new stretches, fence, id…
# → {1, claimed ids} | {0, the stretches} somebody else was faster | {-1} not the owner
# What no stretch holds any more is settled for this group but the ids, which become pending for this worker.
COME_BACK = Script("""
local passed = redis.call('HGET', KEYS[2], ARGV[2]) or ''
if passed ~= ARGV[4] then return {0, passed} end
if ARGV[6] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[6] then return {-1} end
local claimed = {}
if #ARGV > 6 then
  local args = {'XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0}
  for i = 7, #ARGV do args[#args + 1] = ARGV[i] end
  args[#args + 1] = 'FORCE'
  args[#args + 1] = 'JUSTID'
  claimed = redis.call(unpack(args))
end
if ARGV[5] == '' then redis.call('HDEL', KEYS[2], ARGV[2]) else redis.call('HSET', KEYS[2], ARGV[2], ARGV[5]) end
return {1, claimed}
""")

# KEYS stream, heads, passed; ARGV group, field, new head
SEEK = Script("""
redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3], ARGV[2] .. ':n', -1)
redis.call('HDEL', KEYS[3], ARGV[2])
return 1
""")

# KEYS stream, retry, kept, due; ARGV group, id, member, due ms, uid
LATER = Script("""
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('ZADD', KEYS[3], string.match(ARGV[2], '^%d+'), ARGV[5] .. ' ' .. ARGV[3])
redis.call('ZADD', KEYS[4], 'LT', ARGV[4], ARGV[5])
return 1
""")

# KEYS stream, noted, lease; ARGV group, id, member, due ms, worker, attempt, fence
# An ordered trigger holds on to its delivery: it stays pending, with what is known about the next attempt.
KEEP = Script("""
if redis.call('GET', KEYS[3]) ~= ARGV[7] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[5], 0, ARGV[2], 'RETRYCOUNT', ARGV[6], 'JUSTID')
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
return 1
""")

# KEYS retry, kept, due, again, shard 0, shard 1…; ARGV group, uid, worker, now ms, limit, ' shard shard… '
# → {{member, fields}…, how many records are gone, how many stay scheduled, when the next is due}
TAKE_DUE = Script("""
local out, gone = {}, 0
local look = ARGV[5] * (#KEYS - 3)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, look)) do
  local shard, id, attempt = string.match(member, '^(%-?%d+)/(%S+) (%d+)$')
  if #out == tonumber(ARGV[5]) then break end
  if shard and string.find(ARGV[6], ' ' .. shard .. ' ', 1, true) then
    local key = KEYS[5 + shard]
    local entry = redis.call('XRANGE', key, id, id)
    if #entry == 0 then gone = gone + 1
    else
      redis.call('XCLAIM', key, ARGV[1], ARGV[3], 0, id, 'RETRYCOUNT', attempt, 'FORCE', 'JUSTID')
      out[#out + 1] = {member, entry[1][2]}
    end
    redis.call('ZREM', KEYS[1], member)
    redis.call('ZREM', KEYS[2], ARGV[2] .. ' ' .. member)
  end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if first[2] then redis.call('ZADD', KEYS[3], first[2], ARGV[2]) else redis.call('ZREM', KEYS[3], ARGV[2]) end
return {out, gone, redis.call('ZCARD', KEYS[1]), first[2] or ''}
""")

# KEYS stream, letters, meta, noted; ARGV group, id, force, max, member, from again, field, value…
# → {kept, how many old letters went}
# Only what is still pending becomes a letter: sent twice, it is kept once. `force`: the group was lost in between.
PARK = Script("""
local pending = redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
if pending == 0 and ARGV[3] == '' then return {0, 0} end
if ARGV[5] ~= '' then redis.call('ZREM', KEYS[4], ARGV[5]) end
if ARGV[6] ~= '' then redis.call('XDEL', KEYS[1], ARGV[2]) end
if ARGV[4] == '0' then return {0, 1} end
local no = redis.call('HINCRBY', KEYS[3], 'letters', 1)
redis.call('XADD', KEYS[2], no .. '-0', unpack(ARGV, 7))
return {1, redis.call('XTRIM', KEYS[2], 'MAXLEN', ARGV[4])}
""")

# KEYS letters, again, heads, bell; ARGV group, field, last id or '', limit, id…
# → how many letters were put on the trigger's own stream again
REDRIVE = Script("""
local made = redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[1], '0-0', 'MKSTREAM')
redis.call('HSETNX', KEYS[3], ARGV[2], '0-0')
local entries = {}
if ARGV[3] ~= '' then entries = redis.call('XRANGE', KEYS[1], '-', ARGV[3], 'COUNT', ARGV[4])
else
  for i = 5, #ARGV do
    local found = redis.call('XRANGE', KEYS[1], ARGV[i], ARGV[i])
    if found[1] then entries[#entries + 1] = found[1] end
  end
end
for _, entry in ipairs(entries) do
  redis.call('XADD', KEYS[2], '*', unpack(entry[2]))
  redis.call('XDEL', KEYS[1], entry[1])
end
if #entries > 0 then redis.call('INCR', KEYS[4]) end
return #entries
""")

# KEYS lease, meta; ARGV worker, ms, dead worker… → {1, token} mine | {0} somebody else's
LEASE = Script("""
local holder = redis.call('GET', KEYS[1])
for i = 3, #ARGV do
  if holder and string.sub(holder, 1, #ARGV[i] + 1) == ARGV[i] .. ' ' then holder = false end
end
if holder and string.sub(holder, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then return {0} end
if not holder then holder = ARGV[1] .. ' ' .. redis.call('HINCRBY', KEYS[2], 'fence', 1) end
redis.call('SET', KEYS[1], holder, 'PX', ARGV[2])
return {1, holder}
""")

# KEYS stream, crashes; ARGV group, worker, consumer or '', idle ms, after id, limit
# → {{id, attempt, fields, how many workers ended with it}…, ids whose record is gone, last id looked at or ''}
# What XAUTOCLAIM does, with the number of the attempt, and of one consumer alone if wanted.
RECLAIM = Script("""
local command = {'XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[4], ARGV[5], '+', ARGV[6]}
if ARGV[3] ~= '' then command[#command + 1] = ARGV[3] end
local out, gone, last = {}, 0, ''
for _, found in ipairs(redis.call(unpack(command))) do
  local id, owner, attempt = found[1], found[2], found[4]
  local entry = redis.call('XRANGE', KEYS[1], id, id)
  last = id
  if #entry == 0 then
    redis.call('XACK', KEYS[1], ARGV[1], id)
    gone = gone + 1
  else
    local ends = 0
    if owner ~= ARGV[2] and owner ~= 'released' then
      ends = redis.call('HINCRBY', KEYS[2], id, 1)
      redis.call('PEXPIRE', KEYS[2], 86400000)
    end
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'JUSTID')
    out[#out + 1] = {id, attempt, entry[1][2], ends}
  end
end
return {out, gone, last}
""")

# KEYS stream, lease; ARGV group, worker, fence → how many were given back
# Idle for as long as Redis can say, so that the next look of any process finds them.
RELEASE = Script("""
local n = 0
while true do
  local mine = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
  if mine.err or #mine == 0 then break end
  local args = {'XCLAIM', KEYS[1], ARGV[1], 'released', 0}
  for _, entry in ipairs(mine) do args[#args + 1] = entry[1] end
  for _, word in ipairs({'IDLE', 2000000000, 'JUSTID'}) do args[#args + 1] = word end
  redis.call(unpack(args))
  n = n + #mine
end
redis.pcall('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= '' and redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return n
""")

# KEYS bell, workers, due, passed, shard 0…; ARGV worker, now ms, worker forgotten after ms
# → {bell, {worker, ms}…, {uid with something due}…, {field, stretches}…, {last id, length, entries added, bytes}…}
PULSE = Script("""
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local workers = redis.call('HGETALL', KEYS[2])
for i = 1, #workers, 2 do
  if tonumber(workers[i + 1]) < ARGV[2] - ARGV[3] then redis.call('HDEL', KEYS[2], workers[i]) end
end
local shards = {}
for i = 5, #KEYS do
  local info = redis.pcall('XINFO', 'STREAM', KEYS[i])
  local s = {}
  if not info.err then for j = 1, #info, 2 do s[info[j]] = info[j + 1] end end
  shards[#shards + 1] = {s['last-generated-id'] or '0-0', s['length'] or 0, s['entries-added'] or 0,
    redis.call('MEMORY', 'USAGE', KEYS[i], 'SAMPLES', 5) or 0}
end
return {redis.call('GET', KEYS[1]) or '', workers, redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2]),
  redis.call('HGETALL', KEYS[4]), shards}
""")

# KEYS stream, heads, kept, passed; ARGV shard, oldest id to keep by age, entries beyond the size, empty or 'again'
# → how many entries went. What any group has not settled stays.
TRIM = Script("""
local function before(a, b)
  local am, as = string.match(a, '(%d+)-(%d+)')
  local bm, bs = string.match(b, '(%d+)-(%d+)')
  if #am ~= #bm then return #am < #bm end
  if am ~= bm then return am < bm end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end
local function just_before(id)
  local ms, seq = string.match(id, '(%d+)-(%d+)')
  if seq ~= '0' then return ms .. '-' .. string.format('%.0f', seq - 1) end
  return string.format('%.0f', ms - 1) .. '-18446744073709551615'
end
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return 0 end
local low = nil
for _, info in ipairs(groups) do
  local g = {}
  for i = 1, #info, 2 do g[info[i]] = info[i + 1] end
  local at, mark = g['last-delivered-id'], g['last-delivered-id']
  if g['pending'] > 0 then
    local first = redis.call('XPENDING', KEYS[1], g['name'])[2]
    if not before(at, first) then at, mark = first, just_before(first) end
  end
  local field = string.sub(g['name'], 3) .. '/' .. ARGV[1]
  local passed = string.match(redis.call('HGET', KEYS[4], field) or '', '^%S+')
  if passed and before(passed, at) then at, mark = passed, just_before(passed) end
  if redis.call('HEXISTS', KEYS[2], field) == 1 then redis.call('HSET', KEYS[2], field .. ':low', mark) end
  if not low or before(at, low) then low = at end
end
local kept = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
if kept[2] and (not low or before(kept[2] .. '-0', low)) then low = kept[2] .. '-0' end
local cut = ARGV[2]
if ARGV[3] ~= '0' then
  local beyond = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[3])
  if #beyond > 0 and before(cut, beyond[#beyond][1]) then cut = beyond[#beyond][1] end
end
if low and before(low, cut) then cut = low end
return redis.call('XTRIM', KEYS[1], 'MINID', cut)
""")

# KEYS stream, seen; ARGV window ms, field, value… → the id, or '' when it was there already
APPEND_ONCE = Script(
    """
if not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then return '' end
return redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2))
""",
    flags="",
)

# KEYS heads, passed, due, kept, retry, again, gone, gone, gone, gone, stream 0…; ARGV group, uid
FORGET = Script("""
for i = 11, #KEYS do redis.pcall('XGROUP', 'DESTROY', KEYS[i], ARGV[1]) end
for _, member in ipairs(redis.call('ZRANGE', KEYS[5], 0, -1)) do
  redis.call('ZREM', KEYS[4], ARGV[2] .. ' ' .. member)
end
redis.call('ZREM', KEYS[3], ARGV[2])
redis.call('UNLINK', KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10])
for i = -1, #KEYS - 11 do
  local field = ARGV[2] .. '/' .. i
  redis.call('HDEL', KEYS[1], field, field .. ':n', field .. ':low')
  redis.call('HDEL', KEYS[2], field)
end
return 1
""")

ALL = (
    JOIN, CLAIM, PASS, COME_BACK, SEEK, LATER, KEEP, TAKE_DUE, PARK, REDRIVE, LEASE, RECLAIM, RELEASE, PULSE, TRIM,
    APPEND_ONCE, FORGET,
)  # fmt: skip
