-- The script every wrk run uses. Its parameters come in the environment:
--   BENCH_METHOD       GET, POST …
--   BENCH_BODY_BYTES   length of the request body, 0 for none
--   BENCH_HEADERS      optional header lines, "Name: value", separated by line feeds
--   BENCH_TARGETS      optional file, one "<host> <path>" a line: requests go round them in the order given
-- Without BENCH_TARGETS the request is one fixed string and costs wrk nothing; with it, one table look-up.
-- The result goes to standard error as one line of JSON after the word bench-result.

local method = os.getenv("BENCH_METHOD") or "GET"
local body_bytes = tonumber(os.getenv("BENCH_BODY_BYTES") or "0")
local targets = os.getenv("BENCH_TARGETS")
local threads = 0

wrk.method = method
if body_bytes > 0 then
   wrk.body = string.rep("x", body_bytes)
   wrk.headers["Content-Type"] = "application/octet-stream"
end

for line in (os.getenv("BENCH_HEADERS") or ""):gmatch("[^\n]+") do
   local name, value = line:match("^([^:]+): (.*)$")
   wrk.headers[name] = value
end

function setup(thread)
   thread:set("thread_number", threads)
   threads = threads + 1
end

if targets then
   local requests = {}
   local position = 0

   function init(args)
      for line in io.lines(targets) do
         local host, path = line:match("^(%S+) (%S+)$")
         wrk.headers["Host"] = host
         requests[#requests + 1] = wrk.format(method, path)
      end
      position = (thread_number * 7919) % #requests -- threads start at different places
   end

   function request()
      position = position + 1
      if position > #requests then position = 1 end
      return requests[position]
   end
end

function done(summary, latency, requests)
   local function ms(microseconds) return string.format("%.6f", microseconds / 1000) end
   local e = summary.errors
   io.stderr:write(string.format(
      'bench-result {"requests":%d,"seconds":%.6f,"bytes_read":%.0f,' ..
      '"latency_ms":{"p50":%s,"p75":%s,"p90":%s,"p99":%s,"max":%s,"mean":%s},' ..
      '"errors":{"status":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d}}\n',
      summary.requests, summary.duration / 1e6, summary.bytes,
      ms(latency:percentile(50)), ms(latency:percentile(75)), ms(latency:percentile(90)),
      ms(latency:percentile(99)), ms(latency.max), ms(latency.mean),
      e.status, e.connect, e.read, e.write, e.timeout))
end
