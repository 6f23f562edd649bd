"""What Redis does by itself, so that nobody comes between reading and counting."""

from gateway.plugins._redis_client import Script

COUNT = Script(
    """
    local counts = {}
    for i, key in ipairs(KEYS) do
      local number = tonumber(ARGV[2 * i - 1])
      local count = redis.call('INCRBY', key, number)
      if count == number then
        redis.call('EXPIRE', key, ARGV[2 * i])
      end
      counts[i] = count
    end
    return counts
    """,
    is_joinable=True,
)
"""Fixed windows. For each key: how many to count, and the seconds that a new key lives. Answers with the
counts, these included."""

SLIDE = Script(
    """
    local granted = tonumber(ARGV[1])
    local found = {0}
    for i = 1, #KEYS / 2 do
      local limit, left, length = tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
      local used = tonumber(redis.call('GET', KEYS[2 * i - 1]) or 0)
      local earlier = tonumber(redis.call('GET', KEYS[2 * i]) or 0)
      local share = math.ceil(earlier * left / length)
      granted = math.max(0, math.min(granted, limit - used - share))
      found[2 * i] = used
      found[2 * i + 1] = earlier
    end
    found[1] = granted
    for i = 1, #KEYS / 2 do
      if granted > 0 then
        redis.call('INCRBY', KEYS[2 * i - 1], granted)
        redis.call('EXPIRE', KEYS[2 * i - 1], ARGV[4 * i + 1])
      end
    end
    return found
    """
)
"""Sliding windows. Keys: for each limit the current window's and that of the one before. Arguments: how many
are wanted; for each limit: the limit, milliseconds left of the window, its length, seconds that it is kept.
Answers with how many are granted, and for each limit what was counted before, in both windows."""

FILL = Script(
    """
    local time = redis.call('TIME')
    local now = time[1] * 1000000 + time[2]
    local granted = tonumber(ARGV[1])
    local found = {0}
    for i, key in ipairs(KEYS) do
      local interval, depth = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
      local missing = math.max(0, tonumber(redis.call('GET', key) or 0) - now)
      if missing > depth + 5000000 then
        missing = 0
      end
      granted = math.max(0, math.min(granted, math.floor((depth - missing) / interval)))
      found[i + 1] = missing
    end
    found[1] = granted
    for i, key in ipairs(KEYS) do
      if granted > 0 then
        local missing = found[i + 1] + granted * tonumber(ARGV[2 * i])
        redis.call('SET', key, string.format('%.0f', now + missing), 'PX', math.ceil(missing / 1000) + 1)
      end
    end
    return found
    """
)
"""Token buckets: GCRA, by the clock of Redis in microseconds. Arguments: how many are wanted; for each limit:
the time of one token, the time of all. Answers with how many are granted, and for each limit the time after
which the bucket would have been full, without these."""
