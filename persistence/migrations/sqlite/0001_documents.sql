-- Documents, their update rows and snapshots, and notices between the servers of one store.
-- Ids are never used twice (autoincrement): a compaction that comes late must not find new rows under old ids.

create table doc (
    id integer primary key autoincrement,
    name text not null unique,
    created_at_ms integer not null,
    changed_at_ms integer not null,
    deleted_at_ms integer
);

-- authors is a JSON array of user ids.
create table doc_update (
    id integer primary key autoincrement,
    doc_id integer not null references doc (id),
    data blob not null,
    authors text not null default '[]',
    created_at_ms integer not null
);

create index doc_update_doc on doc_update (doc_id);

create table doc_snapshot (
    doc_id integer primary key references doc (id),
    data blob not null,
    index_data blob not null
);

create table notice (
    id integer primary key autoincrement,
    room text not null,
    kind text not null,
    at_ms integer not null
);

create index notice_at on notice (at_ms);
