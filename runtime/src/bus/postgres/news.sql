select pg_current_snapshot()::text as seen, e.id, e.node, e.streams, e.epochs, e.offsets, octet_length(e.body) as bytes
from (select) one left join (
    select * from catamaran.entries where id >= $1
    union all
    select * from catamaran.entries where id = any ($2) and id < $1
) e on true
