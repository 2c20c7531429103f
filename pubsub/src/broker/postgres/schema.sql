-- The tables and functions of the bus. Run where they are already, this brings them to this version, and loses nothing.

-- Whoever uses a table waits behind a lock on it that is waited for.
set lock_timeout = '1s';
create schema if not exists catamaran;

-- From version 1, which had no function that says so.
do $$
begin
    if to_regprocedure('catamaran.enter(bigint)') is null or to_regprocedure('catamaran.version()') is not null then
        return;
    end if;
    lock table catamaran.server, catamaran.streams, catamaran.places, catamaran.entries in access exclusive mode;
    alter table catamaran.server
        add column cleaner bigint not null default 0, add column until timestamptz not null default '-infinity';
    alter table catamaran.entries add column number integer not null default 1;
    alter table catamaran.entries drop constraint entries_pkey, add primary key (id, number);
    alter table catamaran.places add column number integer not null default 1;
    drop function catamaran.publish(bigint, bytea[], text, bytea, bigint[], bigint[], bigint[]);
    drop function catamaran.cut(bytea, text, bigint);
    drop function catamaran.due(interval);
    drop function catamaran.trim(bytea[], interval, interval);
    drop function catamaran.cleaned(bigint);
    create unlogged table catamaran.former (
        stream bytea, epoch text collate "C", floor bigint not null, top bigint not null, primary key (stream, epoch)
    );
    -- Some were forgotten before their former epochs.
    insert into catamaran.streams (name, epoch) select p.stream, p.epoch from catamaran.places p on conflict do nothing;
    insert into catamaran.former (stream, epoch, floor, top)
    select p.stream, p.epoch, 0, max(p."offset")
    from catamaran.places p join catamaran.streams s on s.name = p.stream and s.epoch <> p.epoch
    group by p.stream, p.epoch;
end $$;

create or replace function catamaran.version() returns integer language sql immutable as 'select 3';

-- The life of the server in which all of this was counted, up to which entry it was cleaned, and who cleans until when.
create unlogged table if not exists catamaran.server (
    started timestamptz not null,
    cleaned bigint not null,
    cleaner bigint not null default 0,
    until timestamptz not null default '-infinity'
);

create unlogged table if not exists catamaran.nodes (
    id bigint primary key,
    seen timestamptz not null
);

-- What is kept of each stream: so many entries, bytes and milliseconds. `floor` is the last offset that is not kept.
create unlogged table if not exists catamaran.streams (
    name bytea primary key,
    epoch text collate "C" not null,
    floor bigint not null default 0,
    entries bigint not null default 0,
    bytes bigint not null default 0,
    age bigint not null default 0,
    used timestamptz not null default now()
);

-- The id is that of the transaction, in which this is the entry with this number. Without offsets it says that the stream has
-- taken a new epoch.
create unlogged table if not exists catamaran.entries (
    id bigint,
    node bigint not null,
    streams bytea[] not null,
    epochs text[] not null,
    offsets bigint[] not null,
    body bytea,
    at timestamptz not null default clock_timestamp(),
    number integer not null default 1,
    primary key (id, number)
);

-- The entries of each stream; `total` adds up their bytes.
create unlogged table if not exists catamaran.places (
    stream bytea,
    epoch text collate "C",
    "offset" bigint,
    entry bigint not null,
    total bigint not null,
    number integer not null default 1,
    primary key (stream, epoch, "offset")
);

-- The epochs that streams had before, and which of their offsets are not deleted yet.
create unlogged table if not exists catamaran.former (
    stream bytea,
    epoch text collate "C",
    floor bigint not null,
    top bigint not null,
    primary key (stream, epoch)
);

-- Keyed records. The lease of one is over at `until`, and it does not exist from `gone` on. The record of the key 255, which no text
-- has, names the store: whoever empties the table makes another store of it.
create unlogged table if not exists catamaran.records (
    key bytea primary key,
    holder bytea not null,
    epoch bigint not null,
    value bytea not null,
    until timestamptz not null,
    gone timestamptz not null
);
create index if not exists records_holder on catamaran.records (holder, key);
create index if not exists records_gone on catamaran.records (gone);

-- The row of a stream, made if it is missing, and locked until the transaction ends. That writes no new version of it.
create or replace function catamaran.lock(called bytea, fresh text) returns catamaran.streams
language plpgsql as $$
declare
    s catamaran.streams;
begin
    loop
        select * into s from catamaran.streams where name = called for update;
        exit when found;
        insert into catamaran.streams (name, epoch) values (called, fresh) on conflict do nothing;
    end loop;
    return s;
end $$;

-- Wakes the servers. Without room for the notification they find what is new by looking.
create or replace function catamaran.wake() returns void
language plpgsql as $$
begin
    if pg_notification_queue_usage() < 0.9 then
        perform pg_notify('catamaran', '');
    end if;
end $$;

-- Counts entries on streams, whose names come in their order. Each entry has `counts` of the places, one entry after the other;
-- a place is the number of its stream. Gives the epoch of each stream, and the offset of each place.
create or replace function catamaran.publish(
    sender bigint, fresh text, names bytea[], entries bigint[], bytes bigint[], ages bigint[],
    bodies bytea[], counts integer[], places integer[],
    out id bigint, out epochs text[], out offsets bigint[]
)
language plpgsql as $$
declare
    s catamaran.streams;
    top bigint;
    total bigint;
    tops bigint[];
    totals bigint[];
    place integer := 0;
    stream integer;
    its_streams bytea[];
    its_epochs text[];
    its_offsets bigint[];
begin
    for i in 1 .. cardinality(names) loop
        s := catamaran.lock(names[i], fresh);
        if entries[i] > s.entries or bytes[i] > s.bytes or ages[i] > s.age then
            update catamaran.streams k
            set entries = greatest(k.entries, publish.entries[i]), bytes = greatest(k.bytes, publish.bytes[i]),
                age = greatest(k.age, ages[i])
            where k.name = names[i];
        end if;
        select p."offset", p.total into top, total from catamaran.places p
        where p.stream = names[i] and p.epoch = s.epoch and p."offset" > s.floor order by p."offset" desc limit 1;
        epochs[i] := s.epoch;
        tops[i] := coalesce(top, s.floor);
        totals[i] := coalesce(total, 0);
    end loop;
    -- Asked for under the locks: of two that count on the same streams, the later has the higher, but for new streams.
    id := pg_current_xact_id()::text::bigint;
    for number in 1 .. cardinality(bodies) loop
        its_streams := '{}';
        its_epochs := '{}';
        its_offsets := '{}';
        for i in 1 .. counts[number] loop
            place := place + 1;
            stream := places[place];
            tops[stream] := tops[stream] + 1;
            totals[stream] := totals[stream] + octet_length(bodies[number]);
            offsets[place] := tops[stream];
            its_streams := its_streams || names[stream];
            its_epochs := its_epochs || epochs[stream];
            its_offsets := its_offsets || tops[stream];
            insert into catamaran.places (stream, epoch, "offset", entry, number, total)
            values (names[stream], epochs[stream], tops[stream], publish.id, number, totals[stream]);
        end loop;
        insert into catamaran.entries (id, number, node, streams, epochs, offsets, body)
        values (publish.id, number, sender, its_streams, its_epochs, its_offsets, bodies[number]);
    end loop;
    perform catamaran.wake();
end $$;

-- Where a stream stands, once it has taken a new epoch if it must.
create or replace function catamaran.attach(
    sender bigint, called bytea, known_epoch text, known bigint, turn boolean, fresh text,
    out epoch text, out top bigint, out floor bigint, out turned boolean
)
language plpgsql as $$
declare
    s catamaran.streams := catamaran.lock(called, fresh);
begin
    select p."offset" into top from catamaran.places p
    where p.stream = called and p.epoch = s.epoch and p."offset" > s.floor order by p."offset" desc limit 1;
    top := coalesce(top, s.floor);
    epoch := s.epoch;
    floor := s.floor;
    turned := coalesce(known_epoch = s.epoch, true) and (turn or coalesce(known > top, false));
    if turned then
        insert into catamaran.former (stream, epoch, floor, top)
        select called, s.epoch, s.floor, attach.top where attach.top > s.floor
        on conflict do nothing;
        update catamaran.streams k
        set epoch = fresh, floor = 0, entries = 0, bytes = 0, age = 0, used = now() where k.name = called;
        insert into catamaran.entries (id, node, streams, epochs, offsets)
        values (pg_current_xact_id()::text::bigint, sender, array[called], array[fresh], array[]::bigint[]);
        perform catamaran.wake();
        epoch := fresh;
        top := 0;
        floor := 0;
    elsif s.used < now() - interval '1 hour' then
        update catamaran.streams k set used = now() where k.name = called;
    end if;
end $$;

-- Deletes the entries of a stream from one offset to another, unless they are kept for another stream. What was deleted
-- before is not looked at: as long as any snapshot is open it still stands in the index.
create or replace function catamaran.cut(called bytea, counted text, since bigint, upto bigint) returns void
language sql as $$
    with gone as (
        delete from catamaran.places p
        where p.stream = called and p.epoch = counted and p."offset" > since and p."offset" <= upto
        returning p.entry, p.number
    )
    delete from catamaran.entries e using gone
    where e.id = gone.entry and e.number = gone.number and not exists (
        select from unnest(e.streams, e.epochs, e.offsets) u (stream, epoch, "offset")
        join catamaran.places p on p.stream = u.stream and p.epoch = u.epoch and p."offset" = u."offset"
        where not (p.stream = called and p.epoch = counted and p."offset" > since and p."offset" <= upto)
    );
$$;

-- The streams of the next entries that every node has read, whether there are more, and the last entry it looked at.
create or replace function catamaran.due(
    since bigint, grace interval, out names bytea[], out upto bigint, out more boolean
)
language plpgsql as $$
begin
    select max(next.id) filter (where next.at < clock_timestamp() - grace), count(*) = 1000 into upto, more
    from (select e.id, e.at from catamaran.entries e where e.id > since order by e.id limit 1000) next;
    select array_agg(distinct name) into names
    from catamaran.entries e, unnest(e.streams) name where e.id > since and e.id <= upto;
end $$;

-- The next streams after a name that need not keep what they do although nothing came, and the last one it looked at.
create or replace function catamaran.idle(
    after bytea, grace interval, unused interval, out names bytea[], out last bytea
)
language plpgsql as $$
begin
    select next.name into last
    from (select k.name from catamaran.streams k where k.name > after order by k.name limit 1000) next
    order by next.name desc limit 1;
    select array_agg(k.name) into names
    from catamaran.streams k where k.name > after and k.name <= last and (k.used < now() - unused or exists (
        select from catamaran.places p join catamaran.entries e on e.id = p.entry and e.number = p.number
        where p.stream = k.name and p.epoch = k.epoch and p."offset" = k.floor + 1
            and e.at < clock_timestamp() - greatest(grace, k.age * interval '1 millisecond')
    ) or exists (select from catamaran.former f where f.stream = k.name));
end $$;

-- Deletes what streams need not keep, but nothing that a node may not have read yet; and streams that nobody uses. The
-- streams are locked meanwhile, so there is a limit; whether more is left.
create or replace function catamaran.trim(names bytea[], grace interval, unused interval) returns boolean
language plpgsql as $$
declare
    room bigint := 2000;
    s catamaran.streams;
    former catamaran.former;
    newest record;
    oldest record;
    upto bigint;
begin
    for s in select k.* from catamaran.streams k where k.name = any (names) order by k.name for update loop
        for former in select f.* from catamaran.former f where f.stream = s.name loop
            upto := least(former.top, former.floor + room);
            perform catamaran.cut(s.name, former.epoch, former.floor, upto);
            room := room - (upto - former.floor);
            if upto < former.top then
                update catamaran.former f set floor = upto where f.stream = s.name and f.epoch = former.epoch;
                return true;
            end if;
            delete from catamaran.former f where f.stream = s.name and f.epoch = former.epoch;
        end loop;
        select p."offset", p.total into newest from catamaran.places p
        where p.stream = s.name and p.epoch = s.epoch and p."offset" > s.floor order by p."offset" desc limit 1;
        if s.used < now() - unused and coalesce(newest."offset", s.floor) <= s.floor + room then
            perform catamaran.cut(s.name, s.epoch, s.floor, newest."offset");
            delete from catamaran.streams k where k.name = s.name;
            continue;
        end if;
        upto := s.floor;
        for oldest in
            select p."offset", p.total, e.at
            from catamaran.places p join catamaran.entries e on e.id = p.entry and e.number = p.number
            where p.stream = s.name and p.epoch = s.epoch and p."offset" > s.floor order by p."offset" limit room
        loop
            exit when oldest.at > clock_timestamp() - grace or (s.used >= now() - unused
                and oldest."offset" > newest."offset" - s.entries and oldest.total > newest.total - s.bytes
                and oldest.at > clock_timestamp() - s.age * interval '1 millisecond');
            upto := oldest."offset";
        end loop;
        if upto > s.floor or s.used < now() - interval '1 hour' then
            update catamaran.streams k
            set floor = upto, used = case when s.used < now() - unused then s.used else now() end where k.name = s.name;
            perform catamaran.cut(s.name, s.epoch, s.floor, upto);
        end if;
        room := room - (upto - s.floor);
        if room <= 0 then
            return true;
        end if;
    end loop;
    return false;
end $$;

-- The name of the store in which the records are.
create or replace function catamaran.record_store() returns text
language plpgsql as $$
declare
    store bytea;
begin
    loop
        select k.value into store from catamaran.records k where k.key = '\xff';
        if found then
            return convert_from(store, 'UTF8');
        end if;
        insert into catamaran.records (key, holder, epoch, value, until, gone)
        values ('\xff', '\xff', 0, convert_to(gen_random_uuid()::text, 'UTF8'), 'infinity', 'infinity')
        on conflict do nothing;
    end loop;
end $$;

-- What is left of a lease, in milliseconds.
create or replace function catamaran.lease_left(until timestamptz, at timestamptz) returns bigint
language sql immutable as $$
    select greatest(ceil(extract(epoch from until - at) * 1000), 0)::bigint;
$$;

-- Changes one record, if it is as it must be: `absent`, `expired`, of one `claim`, or `held` by its holder still. Without a new
-- holder it is removed. Times are in milliseconds.
create or replace function catamaran.write_record(
    called bytea, needed text, its_holder bytea, its_store text, its_epoch bigint,
    new_holder bytea, new_value bytea, lease bigint, keep bigint,
    out store text, out verdict text, out holder bytea, out value bytea, out epoch bigint, out lease_left bigint
)
language plpgsql as $$
declare
    r catamaran.records;
    at timestamptz;
    is_so boolean;
begin
    -- Before the transaction has an id: of two that write one record, the later has the higher.
    perform pg_advisory_xact_lock(1667331170, hashtext(encode(called, 'hex')));
    store := catamaran.record_store();
    select * into r from catamaran.records k where k.key = called for update;
    at := clock_timestamp();
    if r.gone > at then
        is_so := case needed
            when 'expired' then r.until <= at
            when 'claim' then store = its_store and r.epoch = its_epoch
            when 'held' then store = its_store and r.epoch = its_epoch and r.holder = its_holder
            else false
        end;
        if not is_so then
            verdict := 'held';
            holder := r.holder;
            value := r.value;
            epoch := r.epoch;
            lease_left := catamaran.lease_left(r.until, at);
            return;
        end if;
    elsif needed <> 'absent' then
        verdict := 'absent';
        return;
    end if;
    verdict := 'accepted';
    epoch := case when needed = 'held' then r.epoch else pg_current_xact_id()::text::bigint end;
    if new_holder is null then
        delete from catamaran.records k where k.key = called;
        return;
    end if;
    insert into catamaran.records as k (key, holder, epoch, value, until, gone)
    values (
        called, new_holder, write_record.epoch, new_value, at + lease * interval '1 ms', at + (lease + keep) * interval '1 ms'
    )
    on conflict (key) do update set holder = excluded.holder, epoch = excluded.epoch, value = excluded.value,
        until = excluded.until, gone = excluded.gone;
end $$;

-- Renews so many leases of a holder, from a key on; how many it had, and the key after which more may follow.
create or replace function catamaran.renew_records(
    called bytea, lease bigint, most integer, since bytea, out store text, out renewed bigint, out last bytea
)
language plpgsql as $$
declare
    keys bytea[];
    at timestamptz;
begin
    store := catamaran.record_store();
    select array_agg(f.key order by f.key) into keys from (
        select k.key from catamaran.records k where k.holder = called and k.key >= since order by k.key limit most for update
    ) f;
    at := clock_timestamp();
    update catamaran.records k
    set until = at + lease * interval '1 ms', gone = at + lease * interval '1 ms' + (k.gone - k.until)
    where k.key = any (keys) and k.gone > at;
    get diagnostics renewed = row_count;
    if cardinality(keys) = most then
        last := keys[most];
    end if;
end $$;

-- Who cleans: for so long the one who asks, unless another does; up to where it was cleaned.
create or replace function catamaran.lead(node bigint, upto bigint, lease interval, out cleaned bigint)
language sql as $$
    update catamaran.server s
    set cleaner = node, until = clock_timestamp() + lease, cleaned = greatest(s.cleaned, upto)
    where s.cleaner = node or s.until < clock_timestamp()
    returning s.cleaned;
$$;

-- Says that this server lives, for as long as others still believed it; when that was.
create or replace function catamaran.beat(node bigint, believed interval, out seen double precision)
language sql as $$
    update catamaran.nodes n set seen = clock_timestamp()
    where n.id = node and n.seen >= clock_timestamp() - believed
    returning extract(epoch from n.seen)::double precision;
$$;

-- Enters a node, and forgets what a former life of the server counted: that may be older than what its nodes applied. Says when
-- that was.
create or replace function catamaran.enter(node bigint, needed integer) returns double precision
language plpgsql as $$
declare
    entered timestamptz := clock_timestamp();
begin
    perform pg_advisory_xact_lock(1667331169, 0);
    if needed <> catamaran.version() then
        raise 'the tables have version %, and this server needs %', catamaran.version(), needed;
    end if;
    if not exists (select from catamaran.server where started = pg_postmaster_start_time()) then
        delete from catamaran.entries;
        delete from catamaran.places;
        delete from catamaran.former;
        delete from catamaran.streams;
        delete from catamaran.nodes;
        delete from catamaran.records;
        delete from catamaran.server;
        insert into catamaran.server (started, cleaned) values (pg_postmaster_start_time(), 0);
    end if;
    insert into catamaran.nodes values (node, entered) on conflict (id) do update set seen = excluded.seen;
    return extract(epoch from entered);
end $$;

-- What servers of version 1 call.
create or replace function catamaran.enter(node bigint) returns void
language plpgsql as $$
begin
    raise 'this server is older than the tables of the bus: update it';
end $$;
