-- The history of documents: segments and checkpoints on one line, and named versions.

-- Whether all that the snapshot holds is on the line. What older programs wrote is not.
alter table doc_snapshot add column in_history boolean not null default false;

-- Every key begins with the document: the planner must not look for the newest of one among the newest of all.

-- authors is a JSON array of user ids. Ids are drawn under the document's compaction lock, which is held until the
-- commit, so within a document they grow in the order of the commits.
create table doc_segment (
    id bigint generated always as identity,
    doc_id bigint not null,
    from_ms bigint not null,
    to_ms bigint not null,
    updates_count bigint not null,
    bytes_total bigint not null,
    authors text not null,
    data bytea not null,
    primary key (doc_id, id) include (to_ms, bytes_total)
);

create index doc_segment_end on doc_segment (to_ms, doc_id);

-- The id is a place on the line: that of the segment at whose end it stands, or one of its own between two, drawn
-- from the same sequence.
create table doc_checkpoint (
    id bigint not null,
    doc_id bigint not null,
    at_ms bigint not null,
    bytes_total bigint not null,
    data bytea not null,
    primary key (doc_id, id) include (at_ms, bytes_total)
);

create table doc_version (
    id bigint generated always as identity,
    doc_id bigint not null,
    at_ms bigint not null,
    pinned boolean not null,
    bytes_total bigint not null,
    name text not null,
    author text,
    data bytea not null,
    primary key (doc_id, id) include (bytes_total)
);

create index doc_version_unpinned on doc_version (at_ms, doc_id) where not pinned;

-- As in the first script: not every server has lz4.
do $$
begin
    execute 'alter table doc_segment alter column data set compression lz4';
    execute 'alter table doc_checkpoint alter column data set compression lz4';
    execute 'alter table doc_version alter column data set compression lz4';
exception
    when feature_not_supported or syntax_error or invalid_parameter_value then null;
end
$$;
