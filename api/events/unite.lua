-- The same as timeline.united, within the server, so that adapters that write at the same time lose nothing.
-- KEYS[1]: an owner's timeline. KEYS[2], where given: another one that goes into it and is deleted.
-- ARGV: Unix milliseconds before which events are forgotten, milliseconds that the key lives from now on, how many
-- purchases, additions to the cart and views are kept, then lines. Answers how many events are new, and how many came.
local since, ttl = tonumber(ARGV[1]), ARGV[2]
local ranks = {P = 1, C = 2, V = 3}
local room = {tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])}
local kept, known = {}, {}

local function put(line)
    -- Milliseconds fit a double; product ids don't, and stay text.
    local letter, at, _, id = string.match(line, '^(%u) (%d+) (%d+) (%S+)$')
    if not letter or not ranks[letter] or known[id] then
        return 0
    end
    known[id] = true
    kept[#kept + 1] = {rank = ranks[letter], at = tonumber(at), id = id, line = line}
    return 1
end

for line in string.gmatch(redis.call('GET', KEYS[1]) or '', '[^\n]+') do
    put(line)
end
local accepted, came = 0, 0
if KEYS[2] then
    for line in string.gmatch(redis.call('GET', KEYS[2]) or '', '[^\n]+') do
        accepted, came = accepted + put(line), came + 1
    end
    redis.call('DEL', KEYS[2])
end
for number = 6, #ARGV do
    accepted, came = accepted + put(ARGV[number]), came + 1
end
if accepted == 0 then
    return {0, came}
end
table.sort(kept, function(one, other)
    if one.rank ~= other.rank then
        return one.rank < other.rank
    end
    if one.at ~= other.at then
        return one.at > other.at
    end
    return one.id < other.id
end)
local lines = {}
for _, event in ipairs(kept) do
    if event.at >= since and room[event.rank] > 0 then
        room[event.rank] = room[event.rank] - 1
        lines[#lines + 1] = event.line
    end
end
if #lines > 0 then
    redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'PX', ttl)
end
return {accepted, came}
