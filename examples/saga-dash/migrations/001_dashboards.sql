-- An identity column, a foreign key, and a view of each kind.
create table public.dashboards (
    id bigint generated always as identity primary key,
    title text not null,
    owner_email text not null,
    created_at timestamptz not null default now()
);

create table public.widgets (
    id bigint generated always as identity primary key,
    dashboard_id bigint not null references public.dashboards (id) on delete cascade,
    kind text not null,
    settings jsonb not null default '{}'
);

create view public.dashboard_sizes with (security_invoker = true) as
    select d.id, d.title, count(w.id) as widgets
    from public.dashboards d left join public.widgets w on w.dashboard_id = d.id
    group by d.id, d.title;

create materialized view public.widget_kinds as
    select kind, count(*) as used from public.widgets group by kind;

insert into public.dashboards (title, owner_email) values ('Attendance', 'dash@example.com');
insert into public.widgets (dashboard_id, kind) values (1, 'chart'), (1, 'table');
