-- Whose tokens are void: those of a user, of a session, for a room, or what these have in common.

create table revocation (
    id integer primary key autoincrement,
    at_ms integer not null,
    until_ms integer not null,
    user_id text,
    session_id text,
    room text
);

create index revocation_until on revocation (until_ms);
