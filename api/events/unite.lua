-- The same as timeline.united, within the server, so that adapters that write at the same time lose nothing.
-- KEYS[1], KEYS[2]: an owner's timeline and fence. KEYS[3], KEYS[4], where given: those of another one, whose timeline
-- goes into the first and is deleted.
-- ARGV: Unix milliseconds when this was sent, milliseconds that events and keys live, the same for fences, how many
-- purchases, additions to the cart and views are kept, then lines. Answers how many events are new, and how many came.
--
-- A server that hung does late what its caller has given up and done again. So a merge leaves a fence for the visitor,
-- and a deletion one for its owner: "<when it was sent> <timeline and fence of whose the events are now, or - ->". What
-- was sent before the fence goes to the heir, or nowhere.
local sent, ttl, fence_ttl = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local since = sent - tonumber(ttl)
local ranks = {P = 1, C = 2, V = 3}
local room = {tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])}
local FIRST_LINE = 7
local kept, known = {}, {}

-- Whose the owner's events are now; nothing where they are deleted.
local function heir_of(timeline, fence)
    local at, heir, heirs_fence = string.match(redis.call('GET', fence) or '', '^(%d+) (%S+) (%S+)$')
    if not at or sent >= tonumber(at) then
        return timeline, false
    end
    if heir == '-' then
        return nil, true
    end
    return heir_of(heir, heirs_fence), true
end

local target = heir_of(KEYS[1], KEYS[2])
if not target then
    return {0, #ARGV - FIRST_LINE + 1}
end

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

for line in string.gmatch(redis.call('GET', target) or '', '[^\n]+') do
    put(line)
end
local accepted, came = 0, 0
if KEYS[3] then
    local _, late = heir_of(KEYS[3], KEYS[4])
    if not late then
        for line in string.gmatch(redis.call('GET', KEYS[3]) or '', '[^\n]+') do
            accepted, came = accepted + put(line), came + 1
        end
        redis.call('DEL', KEYS[3])
        redis.call('SET', KEYS[4], ARGV[1] .. ' ' .. KEYS[1] .. ' ' .. KEYS[2], 'PX', fence_ttl)
    end
end
for number = FIRST_LINE, #ARGV do
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
    redis.call('SET', target, table.concat(lines, '\n'), 'PX', ttl)
end
return {accepted, came}
