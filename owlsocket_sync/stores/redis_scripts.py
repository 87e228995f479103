"""The steps of a queue in Redis: each is one script, and so nothing comes in between.

The arguments of a script begin at ``ARGV[5]``; a comment above each one names them. See `redis_tools` for the keys.
"""

from __future__ import annotations

from .redis_tools import make_script

OPEN = make_script("return reply(1)")

# delay, most messages, most bytes, writer, number of the append, then pairs of "=" and id (or ""), and payload
APPEND = make_script(
    """
local known = call('HGET', writers, ARGV[8])
local count, first = string.match(known or '', '^(%d+) (%d+)')
if count == ARGV[9] then return reply({'ok', first}) end
local bytes = 0
for n = 11, #ARGV, 2 do bytes = bytes + #ARGV[n] end
local room, kept, size = has_room((#ARGV - 9) / 2, bytes, ARGV[6], ARGV[7])
if not room then return reply({'full', int(kept), int(size)}) end
first = int(next_seq)
for n = 10, #ARGV, 2 do
  add(ARGV[n] ~= '' and string.sub(ARGV[n], 2) or nil, ARGV[n + 1], tonumber(ARGV[5]))
end
call('HSET', meta, 'next', int(next_seq))
if not known and call('HLEN', writers) > 500 then
  local all = call('HGETALL', writers)
  for n = 1, #all, 2 do
    if tonumber(string.match(all[n + 1], '%d+$')) < now - 3600000 then call('HDEL', writers, all[n]) end
  end
end
call('HSET', writers, ARGV[8], ARGV[9] .. ' ' .. first .. ' ' .. int(now))
ring()
return reply({'ok', first})
""",
    adds=True,
)

# milliseconds of the lease, most attempts or -1, owner, token of the claim, number of a message that is done or ""
CLAIM = make_script("""
local holder, most = ARGV[7] .. ' ' .. ARGV[8], tonumber(ARGV[6])
local cursor = tonumber(call('HGET', meta, 'cursor'))
local moved = false

local function first_behind_the_cursor()
  while true do
    local entry = call('XRANGE', log, '(' .. int(cursor), '+', 'COUNT', 1)[1]
    if not entry or #entry[2] == 6 then return entry end
    cursor, moved = number(entry[1]), true
  end
end

local function hand_out(entry, seq)
  local left = call('XLEN', log) - call('ZCARD', leases)
  local count = call('HGET', attempts, seq)
  return reply({seq, entry[2][4], entry[2][2], count, int(left)})
end

if ARGV[9] ~= '' then remove(ARGV[9]) end
if again then
  local all = call('HGETALL', owners)
  for n = 1, #all, 2 do
    if all[n + 1] == holder then return hand_out(find(all[n]), all[n]) end
  end
end
local sender = call('GET', lead)
if sender then return reply({'sent', sender}) end
free_what_is_due()
local seq, entry
while true do
  local freed = call('ZRANGE', ready, 0, 0)[1]
  entry = (not freed or tonumber(freed) > cursor) and first_behind_the_cursor() or nil
  if freed and not (entry and number(entry[1]) < tonumber(freed)) then
    call('ZREM', ready, freed)
    entry = find(freed)
  elseif entry then
    cursor, moved = number(entry[1]), true
  end
  if not entry then break end
  seq = int(number(entry[1]))
  local count = tonumber(call('HGET', attempts, seq) or '0')
  if most < 0 or count < most then break end
  bury(entry, 'no answer after ' .. int(count) .. ' attempts')
end
if moved then call('HSET', meta, 'cursor', int(cursor)) end
if not entry then
  local due = call('ZRANGE', held, 0, 0, 'WITHSCORES')[2]
  local ends = call('ZRANGE', leases, 0, 0, 'WITHSCORES')[2]
  local soonest = math.min(due and tonumber(due) or math.huge, ends and tonumber(ends) or math.huge)
  return reply({soonest < math.huge and int(math.max(0, soonest - now)) or '-1'})
end
call('HINCRBY', attempts, seq, 1)
call('HSET', owners, seq, holder)
call('HINCRBY', holders, ARGV[7], 1)
call('ZADD', leases, int(now + ARGV[5]), seq)
if cursor < next_seq - 1 or call('ZCARD', ready) > 0 then ring() end
return hand_out(entry, seq)
""")

# number
REMOVE = make_script("remove(ARGV[5])\nreturn reply(1)")

# number, attempts, milliseconds of delay
RELEASE = make_script("""
local seq, delay = ARGV[5], tonumber(ARGV[7])
if not is_leased(seq, ARGV[6]) then
  local is_free = call('ZSCORE', ready, seq) or call('ZSCORE', held, seq)
  return reply((again and is_free and call('HGET', attempts, seq) == ARGV[6]) and 1 or 0)
end
unlease(seq)
if delay > 0 then call('ZADD', held, int(now + delay), seq) else call('ZADD', ready, seq, seq) end
ring()
return reply(1)
""")

# number, attempts, reason
BURY = make_script("""
if not is_leased(ARGV[5], ARGV[6]) then
  return reply((again and call('ZSCORE', graves, ARGV[5])) and 1 or 0)
end
bury(find(ARGV[5]), ARGV[7])
return reply(1)
""")

# number, reason, stream id to which the number belongs or ""
BURY_AT = make_script("""
if ARGV[7] ~= '' and ARGV[7] ~= stream then return reply(0) end
local entry = find(ARGV[5])
if not entry then return reply((again and call('ZSCORE', graves, ARGV[5])) and 1 or 0) end
bury(entry, ARGV[6])
return reply(1)
""")

# triples of number, attempts, milliseconds until the end of the lease
LEASE = make_script("""
local held_here = {}
for n = 5, #ARGV, 3 do
  local leased = is_leased(ARGV[n], ARGV[n + 1])
  if leased then call('ZADD', leases, int(now + ARGV[n + 2]), ARGV[n]) end
  held_here[#held_here + 1] = leased and 1 or 0
end
return reply(held_here)
""")

HOLDERS = make_script("return reply(call('HKEYS', holders))")

# owner, or owner and token of a claim
FREE = make_script("""
local all, count = call('HGETALL', owners), 0
for n = 1, #all, 2 do
  if all[n + 1] == ARGV[5] or string.match(all[n + 1], '^[^ ]+') == ARGV[5] then
    unlease(all[n])
    call('ZADD', ready, all[n], all[n])
    count = count + 1
  end
end
if count > 0 then ring() end
return reply(count)
""")

# number, count
READ_AFTER = make_script("""
local read = {}
for n, entry in ipairs(call('XRANGE', log, '(' .. ARGV[5], '+', 'COUNT', ARGV[6])) do
  local seq = int(number(entry[1]))
  read[n] = {seq, entry[2][4], entry[2][2], call('HGET', attempts, seq) or '0'}
end
return reply(read)
""")

STATS = make_script("""
free_what_is_due()
local oldest, leased = call('XRANGE', log, '-', '+', 'COUNT', 1)[1], call('ZCARD', leases)
local age = oldest and int(math.max(0, now - oldest[2][6])) or '0'
return reply({call('XLEN', log) - leased, call('HGET', meta, 'bytes'), age, leased, call('XLEN', dead)})
""")

# id of the entry behind which to go on, count
DEAD = make_script("return reply(call('XRANGE', dead, ARGV[5], '+', 'COUNT', ARGV[6]))")

# number
REQUEUE = make_script(
    """
local grave = call('ZSCORE', graves, ARGV[5])
if not grave then return reply('') end
local fields = call('XRANGE', dead, grave, grave)[1][2]
local seq = add(fields[4], fields[2], 0)
call('HSET', meta, 'next', int(next_seq))
call('XDEL', dead, grave .. '-0')
call('ZREM', graves, ARGV[5])
grow(-#fields[2])
ring()
return reply(seq)
""",
    adds=True,
)

# whether of the dead letters, id from which and number up to which, count
PURGE = make_script("""
local purged, count = ARGV[5] == '1' and dead or log, 0
local page = call('XRANGE', purged, ARGV[6], ARGV[7], 'COUNT', ARGV[8])
for _, entry in ipairs(page) do
  local seq = int(number(entry[1]))
  if purged == dead then
    call('ZREM', graves, entry[2][6])
    call('XDEL', dead, entry[1])
  end
  if purged == dead or call('HEXISTS', owners, seq) == 0 then
    count = count + 1
    grow(-#entry[2][2])
    if purged == log then take_out(seq) end
  end
end
if call('XLEN', dead) == 0 then call('DEL', dead) end
return reply({count, #page > 0 and '(' .. page[#page][1] or ''})
""")

# holder, another one that is dead or "", milliseconds
TAKE_LEAD = make_script("""
local holder = call('GET', lead)
if holder and holder ~= ARGV[5] and holder ~= ARGV[6] then return reply(holder) end
call('SET', lead, ARGV[5], 'PX', ARGV[7])
return reply(ARGV[5])
""")

LEADER = make_script("return reply(call('GET', lead) or '')")

# holder
LEAVE_LEAD = make_script("if call('GET', lead) == ARGV[5] then call('DEL', lead) end\nreturn reply(1)")

BOUNDS = make_script("""
local oldest = call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
local deleted = call('HMGET', meta, 'deleted', 'deleted_id')
return reply({oldest and int(number(oldest[1])) or int(next_seq), deleted[1], deleted[2]})
""")

# number
ID_OF = make_script("""
local entry = find(ARGV[5])
if entry then return reply({entry[2][4]}) end
local deleted = call('HMGET', meta, 'deleted', 'deleted_id')
return reply((ARGV[5] ~= '0' and deleted[1] == ARGV[5]) and {deleted[2]} or {})
""")

# number, count, stream id to which the number belongs or ""
DELETE_TO = make_script("""
if ARGV[7] ~= '' and ARGV[7] ~= stream then return reply(0) end
local page = call('XRANGE', log, '-', ARGV[5], 'COUNT', ARGV[6])
for _, entry in ipairs(page) do
  take_out(int(number(entry[1])))
  grow(-#entry[2][2])
  call('HSET', meta, 'deleted', int(number(entry[1])), 'deleted_id', entry[2][4])
end
return reply(#page)
""")

RENEW = make_script("if stream ~= ARGV[1] then renew(ARGV[1]) end\nreturn reply(1)")

# stream of the peer
POSITION = make_script("return reply(call('HGET', positions, ARGV[5]) or '0 ')")

# stream of the peer, offset and id
MOVE_TO = make_script("call('HSET', positions, ARGV[5], ARGV[6])\nreturn reply(1)", adds=True)

# stream of the peer, most messages, most bytes, expected position or "", then triples of number, id and payload
RECEIVE = make_script(
    """
local position = call('HGET', positions, ARGV[5]) or '0 '
local offset, stored = number(position), 0
if ARGV[8] ~= '' and ARGV[8] ~= position then
  -- A repetition may find what its first try has stored.
  for n = 9, again and #ARGV or 0, 3 do
    if position == ARGV[n] .. ' ' .. ARGV[n + 1] then stored = 1 end
  end
  if stored == 0 then return reply({'moved', position}) end
end
for n = 9, #ARGV, 3 do
  local seq = tonumber(ARGV[n])
  if seq > offset + 1 then break end
  if seq == offset + 1 then
    local room, kept, size = has_room(1, #ARGV[n + 2], ARGV[6], ARGV[7])
    if not room and stored == 0 then return reply({'full', int(kept), int(size)}) end
    if not room then break end
    add(ARGV[n + 1], ARGV[n + 2], 0)
    offset, stored = seq, stored + 1
    position = int(seq) .. ' ' .. ARGV[n + 1]
  end
end
if stored > 0 then
  call('HSET', meta, 'next', int(next_seq))
  call('HSET', positions, ARGV[5], position)
  ring()
end
return reply({'ok', position})
""",
    adds=True,
)
