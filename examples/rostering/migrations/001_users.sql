-- In the database `main` (iam_db).
create table public.users (
    id uuid primary key default gen_random_uuid(),
    display_name text not null,
    login text not null unique,
    created_at timestamptz not null default now()
);

create table public.memberships (
    user_id uuid not null references public.users (id),
    team text not null,
    primary key (user_id, team)
);

create table public.audit_log (
    id bigserial primary key,
    actor uuid,
    action text not null,
    at timestamptz not null default now()
);

create materialized view public.team_sizes as
    select team, count(*) as members from public.memberships group by team
    with no data;

create function public.refresh_team_sizes() returns void
    language sql security definer set search_path = pg_catalog, pg_temp
    as 'refresh materialized view public.team_sizes';

create function public.refresh_nothing(times integer default 1) returns integer
    language sql immutable as 'select times';

insert into public.users (display_name, login) values ('Ada', 'ada'), ('Grace', 'grace');
