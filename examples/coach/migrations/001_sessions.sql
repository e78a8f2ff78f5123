-- In the database `main`.
create table public.sessions (
    id uuid primary key default gen_random_uuid(),
    coach text not null,
    student text not null,
    held_at timestamptz not null default now()
);

create procedure public.close_old_sessions(days integer)
    language sql
    as 'delete from public.sessions where held_at < now() - make_interval(days => days)';
