-- In the database `pii` (iam_pii_db), which no identity of another database reaches.
create table public.persons (
    user_id uuid primary key,
    legal_name text not null,
    born_on date not null
);

create view public.persons_born with (security_invoker = true) as
    select user_id, extract(year from born_on)::integer as year from public.persons;

insert into public.persons values ('00000000-0000-0000-0000-000000000001', 'Ada Example', '1815-12-10');
