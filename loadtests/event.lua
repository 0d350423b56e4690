-- One CloudEvent in binary mode with 1 KB of JSON, a new id each time; then the figures as quantiles.lua prints them.
local number, prefix = 0, string.format("w%x-", os.time())
local body = '{"n":"' .. string.rep("x", 1016) .. '"}'
wrk.method = "POST"
request = function()
  number = number + 1
  return wrk.format(nil, nil, {
    ["ce-specversion"] = "1.0", ["ce-id"] = prefix .. number, ["ce-source"] = "/bench/producer",
    ["ce-type"] = os.getenv("EVENT_TYPE") or "dev.example.order", ["ce-subject"] = "42",
    ["ce-time"] = "2026-11-27T06:00:00Z", ["Content-Type"] = "application/json",
  }, body)
end
dofile(os.getenv("QUANTILES"))
