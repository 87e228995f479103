"""`make_script`: a step of a queue in Redis as one Lua script, the keys of a queue, and what all steps share.

The keys of a queue have one hash tag, so they are in one slot of a cluster:

- ``log``: a stream of the messages that wait or are in flight. The id of an entry is its number in the queue. Its
  fields are ``payload``, ``id`` and ``at`` (the moment it was put), and ``delayed`` where it was put with a delay.
- ``meta``: the stream id, the next number, the ``cursor``, the size of all messages, and what was deleted last.
- What is behind the cursor is free, unless it is ``delayed``. For all else, a message is free where it is in ``ready``;
  in ``held`` it has to wait until a moment, and in ``leases`` it is in flight, until a moment as well.
- ``owners`` has the process, and the claim, of each lease; ``holders`` counts the leases of a process; ``attempts``
  counts the claims of a message.
- ``dead`` is a stream of dead letters, whose entries ``graves`` finds by number. ``positions`` are those of peers.
- ``writers`` has the last append of each writer, so that one whose answer was lost is not repeated.
- ``old`` is the log before its messages get new numbers, which they do by and by: each script moves some of them, and
  answers without its own result as long as there are more.
- ``lead`` is the process that sends the messages of an outbox.
- ``bell`` is a list that has an item where a message may be free; threads that wait for one wait for that item.

Every script gets a stream id for a queue that is new, the stream id and the next number that the caller knows, and
whether this call is a repetition.
"""

from __future__ import annotations

from ..redis.link import Script

KEYS = "meta log ready held leases owners holders attempts dead graves positions writers bell lead old".split()

PAGE = 1000
"""Messages that one script looks through at most, as it holds up all others."""

_TOOLS = f"""
local {", ".join(KEYS)} = unpack(KEYS)
local call, again = redis.call, ARGV[4] == '1'
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stream, next_seq, lost = nil, 1, 0

local function int(n) return string.format('%.0f', n) end
local function number(id) return tonumber(string.match(id, '^%d+')) end
local function grow(bytes) call('HINCRBY', meta, 'bytes', int(bytes)) end
local function ring() if call('EXISTS', bell) == 0 then call('RPUSH', bell, '1') end end
local function find(seq) return call('XRANGE', log, seq, seq)[1] end
local function reply(result) return {{stream, int(next_seq), int(lost), result}} end

local function unlease(seq)
  local holder = call('HGET', owners, seq)
  if not holder then return end
  call('HDEL', owners, seq)
  call('ZREM', leases, seq)
  holder = string.match(holder, '^[^ ]+')
  if call('HINCRBY', holders, holder, -1) <= 0 then call('HDEL', holders, holder) end
end

local function take_out(seq)
  unlease(seq)
  call('ZREM', ready, seq)
  call('ZREM', held, seq)
  call('HDEL', attempts, seq)
  call('XDEL', log, seq .. '-0')
end

local function is_leased(seq, count)
  return call('HEXISTS', owners, seq) == 1 and call('HGET', attempts, seq) == count
end

local function remove(seq)
  local entry = find(seq)
  if entry then
    take_out(seq)
    grow(-#entry[2][2])
  end
end

local function bury(entry, reason)
  local seq = int(number(entry[1]))
  local count = call('HGET', attempts, seq) or '0'
  take_out(seq)
  local grave = call('HINCRBY', meta, 'deaths', 1)
  call('XADD', dead, int(grave) .. '-0', 'payload', entry[2][2], 'id', entry[2][4], 'seq', seq,
    'attempts', count, 'reason', reason)
  call('ZADD', graves, int(grave), seq)
end

local function has_room(count, bytes, most, most_bytes)
  local kept = call('XLEN', log) + call('XLEN', dead)
  local size = tonumber(call('HGET', meta, 'bytes'))
  return kept + count <= tonumber(most) and size + bytes <= tonumber(most_bytes), kept, size
end

local function write(seq, id, payload, at, due)
  if due then
    call('XADD', log, seq .. '-0', 'payload', payload, 'id', id, 'at', at, 'delayed', '1')
    call('ZADD', held, due, seq)
  else
    call('XADD', log, seq .. '-0', 'payload', payload, 'id', id, 'at', at)
  end
end

local function add(id, payload, delay)
  local seq = int(next_seq)
  write(seq, id or (stream .. ':' .. seq), payload, int(now), delay > 0 and int(now + delay))
  next_seq = next_seq + 1
  grow(#payload)
  return seq
end

local function free_what_is_due()
  for _, seq in ipairs(call('ZRANGEBYSCORE', held, '-inf', int(now), 'LIMIT', 0, 1000)) do
    call('ZREM', held, seq)
    call('ZADD', ready, seq, seq)
  end
  for _, seq in ipairs(call('ZRANGEBYSCORE', leases, '-inf', int(now), 'LIMIT', 0, 1000)) do
    unlease(seq)
    call('ZADD', ready, seq, seq)
  end
end

local function renew(id)
  if call('EXISTS', log) == 1 then call('RENAME', log, old) end
  call('DEL', ready, leases, owners, holders)
  local before = int(next_seq - 1)
  stream = id
  call('HSET', meta, 'stream', id, 'next', int(next_seq), 'cursor', before, 'deleted', before, 'deleted_id', '')
end

local function move_some()
  local page, ids = call('XRANGE', old, '-', '+', 'COUNT', {PAGE}), {{}}
  for n, entry in ipairs(page) do
    local before, seq = int(number(entry[1])), int(next_seq)
    local count, due = call('HGET', attempts, before), call('ZSCORE', held, before)
    next_seq, ids[n] = next_seq + 1, entry[1]
    call('ZREM', held, before)
    call('HDEL', attempts, before)
    write(seq, entry[2][4], entry[2][2], entry[2][6], due)
    if count then call('HSET', attempts, seq, count) end
  end
  if #page > 0 then call('XDEL', old, unpack(ids)) end
  if call('XLEN', old) == 0 then call('DEL', old) end
  call('HSET', meta, 'next', int(next_seq))
  ring()
end
"""

_BEGIN = """
local found = call('HMGET', meta, 'stream', 'next')
stream, next_seq = found[1], tonumber(found[2])
if not stream then
  stream, next_seq = ARGV[1], 1
  call('HSET', meta, 'stream', stream, 'next', '1', 'cursor', '0', 'bytes', '0', 'deaths', '0', 'deleted', '0',
    'deleted_id', '')
elseif stream == ARGV[2] and next_seq < tonumber(ARGV[3]) then
  -- Redis has less than it had: these numbers were used, and must not be given to other messages.
  lost = tonumber(ARGV[3]) - next_seq
  next_seq = tonumber(ARGV[3])
  renew(ARGV[1])
end
if call('EXISTS', old) == 1 then
  move_some()
  if call('EXISTS', old) == 1 then return {stream, int(next_seq), int(lost)} end
end
if again then call('HSET', meta, 'repeated', int(now)) end -- WAIT waits for the last write of its connection
"""

# A script that has written something is let go on by a Redis whose memory is full: what makes room must be possible.
_MAKES_ROOM = "redis.call('HDEL', KEYS[1], '')\n"


def make_script(body: str, *, adds: bool = False) -> Script:
    """Return a script of queues.

    Args:
        body: what it does, with the tools above.
        adds: it adds messages, for which a full Redis must have no room.
    """
    return Script(("" if adds else _MAKES_ROOM) + _TOOLS + _BEGIN + body)
