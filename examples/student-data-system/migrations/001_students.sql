create schema if not exists staging;
create schema if not exists reporting;

create table public.students (
    id bigint generated always as identity primary key,
    external_id text not null unique,
    name text not null
);

create table staging.rows (
    batch integer not null,
    line integer not null,
    content jsonb not null,
    primary key (batch, line)
) partition by list (batch);

create table staging.rows_1 partition of staging.rows for values in (1);

create sequence staging.batches;

create function public.student_count() returns bigint
    language sql stable as 'select count(*) from public.students';

create view reporting.students as select id, name from public.students;

insert into public.students (external_id, name) values ('s-1', 'Grace Example');
