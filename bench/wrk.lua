-- Sends args[1] requests at once, for the paths in the file args[2] in turn, if there is one, and
-- prints the outcome as one line of JSON.
local requests = {}
local turn = 0

function init(args)
   wrk.headers["Host"] = wrk.headers["Host"] or "127.0.0.1"
   for line in io.lines(args[2] or "/dev/null") do
      requests[#requests + 1] = wrk.format("GET", line)
   end
   if #requests == 0 then requests[1] = wrk.format("GET") end
   if #requests == 1 then
      local only = string.rep(requests[1], tonumber(args[1]))
      request = function() return only end
   else
      request = function()
         turn = turn % #requests + 1
         return requests[turn]
      end
   end
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format(
      'JSON{"requests":%d,"seconds":%.6f,"p50":%.3f,"p99":%.3f,"lost":%d,"bad":%d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.timeout, e.status))
end
