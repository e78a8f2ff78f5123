-- A serial column (its sequence needs USAGE), an enum, a materialized view and what refreshes it.
create type public.question_state as enum ('draft', 'open', 'closed');

create table public.questions (
    id serial primary key,
    body text not null,
    state public.question_state not null default 'draft'
);

create table public.answer_log (
    id bigserial primary key,
    question_id integer not null references public.questions (id),
    answer text not null,
    answered_at timestamptz not null default now()
);

create materialized view public.answer_counts as
    select question_id, count(*) as answers from public.answer_log group by question_id
    with no data;

create function public.refresh_answer_counts() returns void
    language sql security definer set search_path = pg_catalog, pg_temp
    as 'refresh materialized view public.answer_counts';

create schema if not exists archive;

create table archive.questions (
    id integer primary key,
    body text not null,
    archived_at timestamptz not null default now()
);

insert into public.questions (body, state) values ('What is 6 × 7?', 'open');
