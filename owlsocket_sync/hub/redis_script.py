"""The one script of a hub in Redis: it does a row of operations, as one step, for one node.

All keys of a hub have one hash tag, so they are in one slot of a cluster:

- ``log``: a stream of events, changes of presence, and the ends of nodes. The field ``at`` of an entry has the *epoch*
  and the number of the entry in it. Numbers have no gaps, so a node sees what it has missed. An epoch ends where Redis
  is found to have less than it had: it was emptied, or restored from an older state.
- ``meta``: the epoch, the number and the id of the last entry; the last heartbeat of any node, and the grace period;
  and for each stream the bytes that it has got since its last mark.
- ``marks:STREAM``: after how many entries the stream has got another `SHARE` of bytes: their ids. It is cut at the
  first one that is kept, so it has no more than `MAX_LOG`, and the last entry.
- ``nodes``: the nodes, by their last heartbeat. A node is dead three heartbeats after its last one.
- ``room:ROOM``: the members of a room by id, each with the id of the entry with which it joined.
- ``of:NODE``: the places of a node: the id of a member, a space, and the room.
- ``servers``: the node of each server.
- ``graves``: nodes that are gone, as long as ``grave:NODE`` has places of theirs that are to be cleared.
- ``to:NODE``: a stream of messages to a node.
- ``writer:NODE``: the number of the last row of a node that was done; one that is repeated changes nothing.

When no node has sent a heartbeat for a while, Redis was away, and not the nodes: then they have a grace period, in
which a node is alive if it was so before. The clock of Redis may be set back: then no node is alive for longer than
three heartbeats from then on.
"""

from __future__ import annotations

from ..redis.link import Script

PAGE = 1000
"""Places that one run clears at most, as it holds up all others."""
SHARE = 1024 * 1024
MAX_LOG = 64 * SHARE
"""Bytes of the entries of a stream."""

_TOOLS = """
local meta, prefix, node, number, again, fresh = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', ARGV[5]
local maxlen, beat = ARGV[9], tonumber(ARGV[10])
local call = redis.call
local log, nodes, servers, graves = prefix .. 'log', prefix .. 'nodes', prefix .. 'servers', prefix .. 'graves'
local writer, of = prefix .. 'writer:' .. node, prefix .. 'of:'
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local found = call('HMGET', meta, 'epoch', 'n', 'id', 'seen', 'grace', 'floor')
local epoch, n, last = found[1], tonumber(found[2]) or 0, found[3] or '0-0'
local seen, grace, floor = tonumber(found[4]) or 0, tonumber(found[5]) or 0, tonumber(found[6]) or 0

local function int(x) return string.format('%.0f', x) end
local function limit() return now < grace and floor or now - 3 * beat end
local function room_key(room) return prefix .. 'room:' .. room end

local function alive(other)
  local at = call('ZSCORE', nodes, other)
  return at and tonumber(at) >= limit()
end

local function weigh(stream, id, ...)
  local size = 0
  for _, each in ipairs({...}) do size = size + #each end
  size = call('HINCRBY', meta, 'size:' .. stream, size)
  if size < SHARE then return end
  local marks = prefix .. 'marks:' .. stream
  local more = math.floor(size / SHARE)
  for _ = 1, math.min(MAX_MARKS, more) do call('RPUSH', marks, id) end
  call('HINCRBY', meta, 'size:' .. stream, int(-more * SHARE))
  call('LTRIM', marks, -MAX_MARKS, -1)
  call('XTRIM', prefix .. stream, 'MINID', call('LINDEX', marks, 0))
end

local function append(...)
  local begun = epoch or fresh
  last = call('XADD', log, 'MAXLEN', '~', maxlen, '*', 'at', begun .. ' ' .. int(n + 1), ...)
  epoch, n = begun, n + 1
  call('HSET', meta, 'epoch', epoch, 'n', int(n), 'id', last)
  weigh('log', last, ...)
end

local function renew()
  epoch = fresh
  call('DEL', prefix .. 'marks:log')
  append('renewed', '1')
end

local function before(a, b)
  local a1, a2 = string.match(a, '(%d+)-(%d+)')
  local b1, b2 = string.match(b, '(%d+)-(%d+)')
  return tonumber(a1) < tonumber(b1) or (a1 == b1 and tonumber(a2) < tonumber(b2))
end

local function verify()
  -- The last entry that the node knows of is there, or older than all that are; otherwise Redis has lost entries.
  local id = ARGV[8]
  if ARGV[6] ~= epoch or id == '0-0' or #call('XRANGE', log, id, id) > 0 then return end
  local first = call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  if not first or before(first[1], id) then renew() end
end

local function leave(room, id)
  local text = call('HGET', room_key(room), id)
  if text then
    call('HDEL', room_key(room), id)
    append('presence', 'leave', 'room', room, 'id', id, 'member', string.match(text, ' (.*)$'))
  end
end

local function bury(dead)
  call('DEL', prefix .. 'to:' .. dead, prefix .. 'marks:to:' .. dead)
  call('HDEL', meta, 'size:to:' .. dead)
  local all = call('HGETALL', servers)
  for i = 1, #all, 2 do
    if all[i + 1] == dead then call('HDEL', servers, all[i]) end
  end
  if call('EXISTS', of .. dead) == 1 then
    local grave = prefix .. 'grave:' .. dead
    call('SUNIONSTORE', grave, grave, of .. dead)
    call('SADD', graves, dead)
    call('DEL', of .. dead)
  end
  -- Last: what fails before, at a key that another program has spoiled, is done again.
  call('ZREM', nodes, dead)
  append('gone', dead)
end

local function clear(most)
  for _, dead in ipairs(call('SMEMBERS', graves)) do
    local grave = prefix .. 'grave:' .. dead
    local places = call('SPOP', grave, most)
    for _, place in ipairs(places) do
      local id, room = string.match(place, '^(%S+) (.*)$')
      -- A node that was taken for dead may have put its members back. One that fails must not keep the others.
      if call('SISMEMBER', of .. dead, place) == 0 then pcall(leave, room, id) end
    end
    if call('EXISTS', grave) == 0 then call('SREM', graves, dead) end
    most = most - #places
    if most <= 0 then break end
  end
  return call('EXISTS', graves)
end
"""

_OPERATIONS = f"""
local ops, repeatable = {{}}, {{members = 1, count = 1, servers = 1, beat = 1, finish = 1}}

local function look()
  -- A node that asks has sent a heartbeat just now: if the last one is old, the clock of Redis was set forward.
  if seen > 0 and now - seen > 1.5 * beat and call('ZSCORE', nodes, node) then ops.beat() end
end

function ops.publish(record) append('event', record) end

function ops.send(other, record)
  look()
  if not alive(other) then return 0 end
  local stream = 'to:' .. other
  local id = call('XADD', prefix .. stream, 'MAXLEN', '~', maxlen, '*', 'at', epoch or '', 'message', record)
  weigh(stream, id, record)
  for _, kind in ipairs({{'', 'marks:'}}) do call('PEXPIRE', prefix .. kind .. stream, int(60000 + 10 * beat)) end
  return 1
end

function ops.join(room, id, member, quiet)
  local text = call('HGET', room_key(room), id)
  call('SADD', of .. node, id .. ' ' .. room)
  if not text then
    append('presence', 'join', 'room', room, 'id', id, 'member', member)
    call('HSET', room_key(room), id, last .. ' ' .. member)
    return
  end
  local at, old = string.match(text, '^(%S+) (.*)$')
  if quiet == '1' and old == member then return end
  append('presence', 'update', 'room', room, 'id', id, 'member', member)
  call('HSET', room_key(room), id, at .. ' ' .. member)
end

function ops.leave(room, id)
  call('SREM', of .. node, id .. ' ' .. room)
  leave(room, id)
end

function ops.members(room)
  look()
  local all, lives, result = call('HGETALL', room_key(room)), {{}}, {{}}
  for i = 1, #all, 2 do
    local owner = string.match(all[i], '^[^-]*')
    if lives[owner] == nil then lives[owner] = alive(owner) or false end
    if lives[owner] then
      result[#result + 1] = all[i]
      result[#result + 1] = all[i + 1]
    end
  end
  return result
end

function ops.count(room)
  look()
  local dead = call('ZCOUNT', nodes, '-inf', '(' .. int(limit()))
  if dead == 0 and call('EXISTS', graves) == 0 then return call('HLEN', room_key(room)) end
  return #ops.members(room) / 2
end

function ops.add_server(name) call('HSET', servers, name, node) end

function ops.remove_server(name) call('HDEL', servers, name) end

function ops.servers()
  look()
  local all, result = call('HGETALL', servers), {{}}
  for i = 1, #all, 2 do
    if alive(all[i + 1]) then result[#result + 1] = all[i] end
  end
  return result
end

function ops.renew(old)
  if epoch == old then renew() end
end

function ops.beat()
  -- First: after a write that needs no memory Redis does the others, too. No node dies of a Redis that is full.
  call('PEXPIRE', prefix .. 'to:' .. node, int(60000 + 10 * beat))
  if not epoch then append('renewed', '1') end
  verify()
  local was = call('ZSCORE', nodes, node)
  if seen > 0 and now - seen > 1.5 * beat then
    grace, floor = now + 2 * beat, seen - 3 * beat
    call('HSET', meta, 'grace', int(grace), 'floor', int(floor))
  end
  call('HSET', meta, 'seen', int(now))
  call('ZADD', nodes, int(now), node)
  for _, other in ipairs(call('ZRANGEBYSCORE', nodes, '(' .. int(now), '+inf')) do
    call('ZADD', nodes, int(now), other)
  end
  if grace > now + 2 * beat then
    grace = 0
    call('HSET', meta, 'grace', 0)
  end
  seen = now
  for _, dead in ipairs(call('ZRANGEBYSCORE', nodes, '-inf', '(' .. int(limit()))) do bury(dead) end
  local more = clear({PAGE})
  local oldest = tonumber(call('ZRANGE', nodes, 0, 0, 'WITHSCORES')[2]) + 3 * beat
  local pause = math.max(oldest, grace) - now
  return {{was and 1 or 0, more, pause, call('ZRANGE', nodes, 0, -1)}}
end

function ops.finish()
  if call('ZSCORE', nodes, node) then bury(node) end
  return clear({PAGE})
end
"""

_RUN = """
if again then verify() end
local done = tonumber(call('GET', writer) or '0') >= number
local replies, i, wrote = {}, 11, false
while i <= #ARGV do
  local name, count, arguments = ARGV[i], tonumber(ARGV[i + 1]), {}
  for k = 1, count do arguments[k] = ARGV[i + 1 + k] end
  i = i + 2 + count
  if done and not repeatable[name] then
    replies[#replies + 1] = {1, 1}
  else
    wrote = wrote or not repeatable[name]
    local ok, result = pcall(ops[name], unpack(arguments))
    if not ok and type(result) == 'table' then result = result.err end
    -- Redis is about to be replaced: not an operation has been done, so all are sent again.
    if not ok and string.find(result, 'READONLY', 1, true) then return redis.error_reply('READONLY ' .. result) end
    if result == nil then result = 1 end
    replies[#replies + 1] = {ok and 1 or 0, ok and result or tostring(result)}
  end
end
if wrote then pcall(call, 'SET', writer, int(number), 'PX', 60000) end
return {epoch or '', int(n), last, replies}
"""

_LIMITS = f"local SHARE, MAX_MARKS = {SHARE}, {MAX_LOG // SHARE}\n"

HUB = Script(_LIMITS + _TOOLS + _OPERATIONS + _RUN)
