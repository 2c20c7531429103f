-- Renews some leases of a holder, in the order of the keys.
--
-- ARGV, after those of all: the holder, the lease in milliseconds, how many, and after which key, if 1 comes before it.
local holder, lease, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local first = of_holder(holder, '')
local from = ARGV[6] == '1' and '(' .. of_holder(holder, ARGV[7]) or '[' .. first
-- No key has the byte 255.
local found = redis.call('ZRANGEBYLEX', held, from, '(' .. first .. '\255', 'LIMIT', 0, most)
local renewed, key = 0, nil
for _, name in ipairs(found) do
  key = string.sub(name, #first + 1)
  local record = load(key)
  if exists(record) then
    record.till = now + lease
    save(key, record)
    renewed = renewed + 1
  end
end
expire()
return { ticket, { store, renewed, #found == most and key or false } }
