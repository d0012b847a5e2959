-- Whose tokens are void: those of a user, of a session, for a room, or what these have in common.
-- Ids are drawn under a lock that is held until the commit, so they grow in the order of the commits.

create table revocation (
    id bigint generated always as identity primary key,
    at_ms bigint not null,
    until_ms bigint not null,
    user_id text collate "C",
    session_id text collate "C",
    room text collate "C"
);

create index revocation_until on revocation (until_ms);
