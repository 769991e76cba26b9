-- wrk's side of wire.py: fills the ids into one request template and says in JSON how it went.
-- Arguments: the template's file, the first id's number, how many ids, and "random", "random, written anew" (the
-- same, but no request is kept for its next turn: it costs as much among few ids as among many), "once" (each id in
-- turn, a few of them a second time at the end, then no more) or "mixed" (random among the known, one request in a
-- hundred for an id never seen).
local ffi = require "ffi"
ffi.cdef "struct moment { long seconds, nanoseconds; }; int clock_gettime(int, struct moment *);"
local clock, begin = ffi.new "struct moment"
local pieces, first, count, order = {}
local asked, answered, bad, fresh = 0, 0, 0, 0
local ready = {}

local function split(text)
    local rest = text
    while true do
        local from, to, name = rest:find("{(%l+)}")
        if not from then break end
        pieces[#pieces + 1] = rest:sub(1, from - 1)
        pieces[#pieces + 1] = name
        rest = rest:sub(to + 1)
    end
    pieces[#pieces + 1] = rest
end

local function fill(number)
    local made = {}
    for index, piece in ipairs(pieces) do
        if index % 2 == 1 then made[index] = piece
        elseif piece == "session" then made[index] = string.format("%08x-5e55-4000-8000-%012x", number, number)
        else made[index] = string.format("user_%08d", number) end
    end
    return table.concat(made)
end

local function remembered(number)
    local text = ready[number]
    if not text then
        text = fill(number)
        ready[number] = text
    end
    return text
end

local function now()
    ffi.C.clock_gettime(1, clock)
    return tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
end

-- wrk itself only ends when its time is over; here the last answer ends it.
local function end_when_all_are_answered(status)
    begin = begin or now()
    answered = answered + 1
    if status >= 400 then bad = bad + 1 end
    if answered == count + 64 then
        io.write(string.format('\n{"requests":%d,"seconds":%.6f,"bad_status":%d}\n', answered, now() - begin, bad))
        os.exit(0)
    end
end

function init(arguments)
    local file = assert(io.open(arguments[1], "rb"))
    split(file:read("*a"))
    file:close()
    first, count, order = tonumber(arguments[2]), tonumber(arguments[3]), arguments[4]
    math.randomseed(first + count)
    if order == "once" then response = end_when_all_are_answered end
end

function request()
    asked = asked + 1
    if order == "once" then
        return fill(first + (asked - 1) % count)
    end
    if order == "mixed" and asked % 100 == 0 then
        fresh = fresh + 1
        return fill(first + count + fresh)
    end
    local number = first + math.random(0, count - 1)
    if #pieces == 1 then return pieces[1] end
    if count <= 2000 and order ~= "random, written anew" then return remembered(number) end
    return fill(number)
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"seconds":%.6f,"bytes":%d,"bad_status":%d,"broken":%d,"timeouts":%d,' ..
        '"latency_us":{"p50":%d,"p99":%d,"p999":%d}}\n',
        summary.requests, summary.duration / 1e6, summary.bytes, errors.status,
        errors.connect + errors.read + errors.write, errors.timeout,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
