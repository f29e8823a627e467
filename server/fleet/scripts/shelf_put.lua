-- Put a value on a shelf.
-- KEYS  shelf  order
-- ARGV  name  value  life_ms  budget
-- Gives 1, or 0 for a value that is too large.

return shelf_put(KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), clock())
