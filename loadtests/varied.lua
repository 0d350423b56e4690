-- No two requests alike: each has its own path, query, cookie, request id and trace.
local count = 0

request = function()
  count = count + 1
  wrk.headers["Cookie"] = string.format("session=%022x; theme=dark", count * 7919)
  wrk.headers["X-Request-Id"] = string.format("6f0a1b2c-3d4e-5f60-7182-%012x", count)
  wrk.headers["traceparent"] = string.format("00-%032x-%016x-01", count * 104729, count)
  return wrk.format("GET", string.format("/items/%d?page=%d", count % 5000, count), wrk.headers)
end

dofile(string.match(debug.getinfo(1, "S").source, "^@(.*/)") .. "quantiles.lua")
