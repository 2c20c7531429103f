-- Counts an event for `tick:1`, of which nothing is kept, as no server would: without a word to the others.
begin;
insert into catamaran.streams (name, epoch) values ('tick:1', 'epoch') on conflict do nothing;
insert into catamaran.places (stream, epoch, "offset", entry, total)
select name, epoch, floor + 1, pg_current_xact_id()::text::bigint, 2 from catamaran.streams where name = 'tick:1';
insert into catamaran.entries (id, node, streams, epochs, offsets, body)
select entry, 1, array[stream], array[epoch], array["offset"], '{}'
from catamaran.places where stream = 'tick:1' and entry = pg_current_xact_id()::text::bigint;
commit;
