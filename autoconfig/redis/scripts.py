"""The scripts that change what is in Redis. Each does so only if its caller still leads."""

# KEYS: the hash. ARGV: the owner, its new term; the term and beat that were seen.
TAKE = b"""
local seen = redis.call('HMGET', KEYS[1], '#term', '#beat')
if (seen[1] or '') ~= ARGV[3] or (seen[2] or '') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], '#owner', ARGV[1], '#term', ARGV[2], '#beat', '0')
return 1
"""

# KEYS: the hash. ARGV: owner, term. Returns sequence and birth, or nothing if somebody else leads.
BEAT = b"""
local now = redis.call('HMGET', KEYS[1], '#owner', '#term', '#seq', '#born')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] then return false end
redis.call('HINCRBY', KEYS[1], '#beat', 1)
return {now[3] or '0', now[4] or ''}
"""

# KEYS: the hash. ARGV: owner, term.
RELEASE = b"""
local now = redis.call('HMGET', KEYS[1], '#owner', '#term')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], '#owner', '')
return 1
"""

# KEYS: the hash, the log. ARGV: owner, term; the sequence before and that of this write; the birth; the kind of the
# entry and its data; how many entries to keep; 1 if the picture is written from nothing; how many fields to set, each
# with its value; the fields to delete.
# The log is written first. If Redis has no memory left or the log is ahead, it refuses that write, and nothing has
# changed. After the first write of a script, Redis refuses no other one for lack of memory.
WRITE = b"""
local now = redis.call('HMGET', KEYS[1], '#owner', '#term', '#seq')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] then return 'fenced' end
if (now[3] or '0') ~= ARGV[3] then return 'moved' end
if ARGV[9] == '1' then redis.call('DEL', KEYS[1], KEYS[2]) end
local time = redis.call('TIME')
local added = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', ARGV[8], ARGV[4] .. '-0',
    'p', ARGV[3], 'k', ARGV[6], 't', time[1] .. '.' .. string.format('%06d', time[2]), 'd', ARGV[7])
if type(added) == 'table' and added.err then
    if string.find(added.err, 'smaller') then return 'ahead' end
    return added
end
local last = 10 + 2 * tonumber(ARGV[10])
for i = 11, last, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
for i = last + 1, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
redis.call('HSET', KEYS[1], '#owner', ARGV[1], '#term', ARGV[2], '#seq', ARGV[4], '#born', ARGV[5])
redis.call('HINCRBY', KEYS[1], '#beat', 1)
return 'written'
"""
