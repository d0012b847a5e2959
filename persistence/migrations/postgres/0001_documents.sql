-- Documents, their update rows and snapshots, and notices between the servers of one store.
-- Names are compared by their bytes ("C"), which is the order of code points.

create table doc (
    id bigint generated always as identity primary key,
    name text collate "C" not null unique,
    created_at_ms bigint not null,
    -- As of the last compaction; the rows that came after it tell their own times. An append must not update this
    -- row, or servers that write to one document would wait for each other's commits.
    changed_at_ms bigint not null,
    deleted_at_ms bigint
);

-- No foreign key: an append locks the document's row by itself, once, and not again for each of its updates.
-- authors is a JSON array of user ids.
create table doc_update (
    id bigint generated always as identity primary key,
    doc_id bigint not null,
    data bytea not null,
    authors text not null,
    created_at_ms bigint not null
);

create index doc_update_doc on doc_update (doc_id, id);

-- Rows come and go all the time: clean up early and often.
alter table doc_update set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.1);

create table doc_snapshot (
    doc_id bigint primary key,
    data bytea not null,
    index_data bytea not null
);

create table notice (
    id bigint generated always as identity primary key,
    room text collate "C" not null,
    kind text not null,
    at_ms bigint not null
);

create index notice_at on notice (at_ms);

-- lz4 costs a quarter of the default's time; not every server is built with it, and old ones have no such clause.
do $$
begin
    execute 'alter table doc_snapshot alter column data set compression lz4';
    execute 'alter table doc_update alter column data set compression lz4';
exception
    when feature_not_supported or syntax_error or invalid_parameter_value then null;
end
$$;
