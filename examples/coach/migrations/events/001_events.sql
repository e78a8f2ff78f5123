-- In the database `events`: a partitioned table with a partition and a default one.
create table public.events (
    id bigint generated always as identity,
    happened_at timestamptz not null,
    payload jsonb not null default '{}',
    primary key (id, happened_at)
) partition by range (happened_at);

create table public.events_2026 partition of public.events
    for values from ('2026-01-01') to ('2027-01-01');

create table public.events_other partition of public.events default;

insert into public.events (happened_at) values ('2026-03-01'), ('1999-12-31');
