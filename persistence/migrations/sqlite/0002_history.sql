-- The history of documents: segments and checkpoints on one line, and named versions.
-- Contents come last in their rows: what stands before them is read without them.

-- Whether all that the snapshot holds is on the line. What older programs wrote is not.
alter table doc_snapshot add column in_history integer not null default 0;

-- authors is a JSON array of user ids.
create table doc_segment (
    id integer primary key autoincrement,
    doc_id integer not null references doc (id),
    from_ms integer not null,
    to_ms integer not null,
    updates_count integer not null,
    bytes_total integer not null,
    authors text not null,
    data blob not null
);

create index doc_segment_doc on doc_segment (doc_id, id, to_ms, bytes_total);
create index doc_segment_end on doc_segment (to_ms, doc_id);

-- The id is a place on the line: that of the segment at whose end it stands, or one of its own between two.
create table doc_checkpoint (
    id integer primary key autoincrement,
    doc_id integer not null references doc (id),
    at_ms integer not null,
    bytes_total integer not null,
    data blob not null
);

create index doc_checkpoint_doc on doc_checkpoint (doc_id, id, at_ms, bytes_total);

create table doc_version (
    id integer primary key autoincrement,
    doc_id integer not null references doc (id),
    at_ms integer not null,
    pinned integer not null,
    bytes_total integer not null,
    name text not null,
    author text,
    data blob not null
);

create index doc_version_doc on doc_version (doc_id, id, bytes_total);
create index doc_version_unpinned on doc_version (at_ms, doc_id) where not pinned;
