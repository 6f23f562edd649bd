-- The story's load for wrk. Nothing is formatted while it runs: requests are whole strings, made before, and a tape says
-- in which order they go out. Parameters come in the environment:
--   STORY_DIRECTORY   where the files `requests` (each ended by a zero byte) and `tape` (32-bit numbers) are
--   STORY_START       where on the tape to begin, 0 to 1
--   STORY_THREADS     how many threads wrk has; they begin at places as far apart as possible
--   STORY_ADDRESSES   optional, "host:port host:port": thread n goes to the n-th of them, round and round
--   STORY_PAUSE_MS    optional: the mean pause of a connection before each request
-- The result goes to standard error as one line of JSON after the word bench-result.

local ffi = require("ffi")

local directory = os.getenv("STORY_DIRECTORY")
local start = tonumber(os.getenv("STORY_START") or "0")
local thread_count = tonumber(os.getenv("STORY_THREADS") or "1")
local pause_ms = tonumber(os.getenv("STORY_PAUSE_MS") or "0")
local threads = 0
local addresses = {}

for host, port in (os.getenv("STORY_ADDRESSES") or ""):gmatch("(%S+):(%d+)") do
   addresses[#addresses + 1] = { host, port }
end

function setup(thread)
   thread:set("thread_number", threads)
   if #addresses > 0 then
      local chosen = addresses[threads % #addresses + 1]
      thread.addr = wrk.lookup(chosen[1], chosen[2])[1]
   end
   threads = threads + 1
end

local function content(name)
   local file = assert(io.open(directory .. "/" .. name, "rb"))
   local text = file:read("*a")
   file:close()
   return text
end

local requests, tape_text, tape, length, position = {}, nil, nil, 0, 0

function init(args)
   for text in content("requests"):gmatch("%Z+") do
      requests[#requests + 1] = text
   end
   tape_text = content("tape") -- kept: the pointer does not keep it
   tape = ffi.cast("const uint32_t *", tape_text)
   length = #tape_text / 4
   position = math.floor((start + thread_number / thread_count) % 1 * length)
end

function request()
   local number = tape[position]
   position = position + 1
   if position == length then position = 0 end
   return requests[number + 1]
end

if pause_ms > 0 then
   -- wrk pauses whole milliseconds. Uneven ones, so that connections do not fall into step.
   local random = math.random
   function delay()
      return math.floor(2 * pause_ms * random() + 0.5)
   end
end

function done(summary, latency, counted)
   local function ms(microseconds) return string.format("%.6f", microseconds / 1000) end
   local e = summary.errors
   io.stderr:write(string.format(
      'bench-result {"requests":%d,"seconds":%.6f,"bytes_read":%.0f,' ..
      '"latency_ms":{"p50":%s,"p90":%s,"p95":%s,"p99":%s,"max":%s,"mean":%s},' ..
      '"errors":{"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      ms(latency:percentile(50)), ms(latency:percentile(90)), ms(latency:percentile(95)),
      ms(latency:percentile(99)), ms(latency.max), ms(latency.mean),
      e.status, e.connect, e.read, e.write, e.timeout))
end
