create schema if not exists catamaran;

-- The life of the server in which all of this was counted, and the last entry that the cleaner has looked at.
create unlogged table if not exists catamaran.server (
    started timestamptz not null,
    cleaned bigint not null
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

-- The id is that of the transaction. Without offsets it says that the stream has taken a new epoch.
create unlogged table if not exists catamaran.entries (
    id bigint primary key,
    node bigint not null,
    streams bytea[] not null,
    epochs text[] not null,
    offsets bigint[] not null,
    body bytea,
    at timestamptz not null default clock_timestamp()
);

-- The entries of each stream; `total` adds up their bytes.
create unlogged table if not exists catamaran.places (
    stream bytea,
    epoch text collate "C",
    "offset" bigint,
    entry bigint not null,
    total bigint not null,
    primary key (stream, epoch, "offset")
);

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

-- Counts an entry on streams, which come in the order of their names.
create or replace function catamaran.publish(
    sender bigint, names bytea[], fresh text, body bytea, entries bigint[], bytes bigint[], ages bigint[],
    out id bigint, out epochs text[], out offsets bigint[]
)
language plpgsql as $$
declare
    s catamaran.streams;
    top bigint;
    sum bigint;
begin
    id := pg_current_xact_id()::text::bigint;
    for i in 1 .. cardinality(names) loop
        s := catamaran.lock(names[i], fresh);
        if entries[i] > s.entries or bytes[i] > s.bytes or ages[i] > s.age then
            update catamaran.streams k
            set entries = greatest(k.entries, publish.entries[i]), bytes = greatest(k.bytes, publish.bytes[i]),
                age = greatest(k.age, ages[i])
            where k.name = names[i];
        end if;
        select p."offset", p.total into top, sum from catamaran.places p
        where p.stream = names[i] and p.epoch = s.epoch order by p."offset" desc limit 1;
        if not found then
            top := s.floor;
            sum := 0;
        end if;
        epochs[i] := s.epoch;
        offsets[i] := top + 1;
        insert into catamaran.places values (names[i], s.epoch, top + 1, publish.id, sum + octet_length(body));
    end loop;
    insert into catamaran.entries values (publish.id, sender, names, publish.epochs, publish.offsets, publish.body);
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
    where p.stream = called and p.epoch = s.epoch order by p."offset" desc limit 1;
    top := coalesce(top, s.floor);
    epoch := s.epoch;
    floor := s.floor;
    turned := coalesce(known_epoch = s.epoch, true) and (turn or coalesce(known > top, false));
    if turned then
        update catamaran.streams k
        set epoch = fresh, floor = 0, entries = 0, bytes = 0, age = 0, used = now() where k.name = called;
        insert into catamaran.entries
        values (pg_current_xact_id()::text::bigint, sender, array[called], array[fresh], array[]::bigint[], null);
        epoch := fresh;
        top := 0;
        floor := 0;
    elsif s.used < now() - interval '1 hour' then
        update catamaran.streams k set used = now() where k.name = called;
    end if;
end $$;

-- Deletes the entries of a stream up to an offset, unless they are kept for another stream.
create or replace function catamaran.cut(called bytea, counted text, upto bigint) returns void
language sql as $$
    with gone as (
        delete from catamaran.places p where p.stream = called and p.epoch = counted and p."offset" <= upto
        returning p.entry
    )
    delete from catamaran.entries e using gone
    where e.id = gone.entry and not exists (
        select from unnest(e.streams, e.epochs, e.offsets) u (stream, epoch, "offset")
        join catamaran.places p on p.stream = u.stream and p.epoch = u.epoch and p."offset" = u."offset"
        where not (p.stream = called and p.epoch = counted and p."offset" <= upto)
    );
$$;

-- The streams of the next entries that every node has read, whether there are more, and the last entry it looked at.
create or replace function catamaran.due(grace interval, out names bytea[], out upto bigint, out more boolean)
language plpgsql as $$
declare
    since bigint := (select cleaned from catamaran.server);
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
        select from catamaran.places p join catamaran.entries e on e.id = p.entry
        where p.stream = k.name and p.epoch = k.epoch and p."offset" = k.floor + 1
            and e.at < clock_timestamp() - greatest(grace, k.age * interval '1 millisecond')
    ));
end $$;

-- Deletes what streams need not keep, but nothing that a node may not have read yet; and streams that nobody uses.
create or replace function catamaran.trim(names bytea[], grace interval, unused interval) returns void
language plpgsql as $$
declare
    s catamaran.streams;
    newest catamaran.places;
    oldest record;
    upto bigint;
begin
    for s in select k.* from catamaran.streams k where k.name = any (names) order by k.name for update loop
        if s.used < now() - unused then
            perform catamaran.cut(s.name, s.epoch, 9223372036854775807);
            delete from catamaran.streams k where k.name = s.name;
            continue;
        end if;
        perform catamaran.cut(s.name, former.epoch, 9223372036854775807) from (
            select distinct p.epoch from catamaran.places p where p.stream = s.name and p.epoch < s.epoch
            union all
            select distinct p.epoch from catamaran.places p where p.stream = s.name and p.epoch > s.epoch
        ) former;
        select * into newest from catamaran.places p
        where p.stream = s.name and p.epoch = s.epoch order by p."offset" desc limit 1;
        upto := s.floor;
        for oldest in
            select p."offset", p.total, e.at from catamaran.places p join catamaran.entries e on e.id = p.entry
            where p.stream = s.name and p.epoch = s.epoch order by p."offset"
        loop
            exit when oldest.at > clock_timestamp() - grace
                or (oldest."offset" > newest."offset" - s.entries and oldest.total > newest.total - s.bytes
                    and oldest.at > clock_timestamp() - s.age * interval '1 millisecond');
            upto := oldest."offset";
        end loop;
        if upto > s.floor or s.used < now() - interval '1 hour' then
            update catamaran.streams k set floor = upto, used = now() where k.name = s.name;
            perform catamaran.cut(s.name, s.epoch, upto);
        end if;
    end loop;
end $$;

-- Entries up to this one need not be looked at again.
create or replace function catamaran.cleaned(upto bigint) returns void
language sql as $$
    delete from catamaran.entries e using catamaran.server s
    where e.id > s.cleaned and e.id <= upto and e.body is null;
    update catamaran.server set cleaned = upto;
$$;

-- Enters a node, and forgets what a former life of the server counted: that may be older than what its nodes applied.
create or replace function catamaran.enter(node bigint) returns void
language plpgsql as $$
begin
    perform pg_advisory_xact_lock(1667331169, 0);
    if not exists (select from catamaran.server where started = pg_postmaster_start_time()) then
        delete from catamaran.entries;
        delete from catamaran.places;
        delete from catamaran.streams;
        delete from catamaran.nodes;
        delete from catamaran.server;
        insert into catamaran.server values (pg_postmaster_start_time(), 0);
    end if;
    insert into catamaran.nodes values (node, clock_timestamp())
    on conflict (id) do update set seen = excluded.seen;
end $$;
