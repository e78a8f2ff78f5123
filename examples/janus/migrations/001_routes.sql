create table public.routes (
    id integer generated always as identity primary key,
    host text not null unique,
    upstream text not null,
    enabled boolean not null default true
);

create table public.hits (
    route_id integer not null references public.routes (id),
    day date not null,
    hits bigint not null default 0,
    primary key (route_id, day)
);

create function public.count_hit(route integer) returns bigint
    language sql
    as 'insert into public.hits values (route, current_date, 1)
        on conflict (route_id, day) do update set hits = hits.hits + 1 returning hits';

insert into public.routes (host, upstream) values ('dash.example.com', 'saga-dash');
