-- Reads a page of records whose keys begin with a prefix.
--
-- ARGV, after those of all: the prefix, how many, and after which key, if 1 comes before it.
local prefix, most = ARGV[3], tonumber(ARGV[4])
local from = ARGV[5] == '1' and '(' .. ARGV[6] or '[' .. prefix
-- No key has the byte 255.
local found = redis.call('ZRANGEBYLEX', names, from, '(' .. prefix .. '\255', 'LIMIT', 0, most)
local page = {}
for _, key in ipairs(found) do
  local record = load(key)
  if exists(record) then
    table.insert(page, shown(key, record))
  end
end
return { ticket, { store, page, #found == most and found[most] or false } }
