-- +goose Up
CREATE TABLE store (
    id         TEXT NOT NULL PRIMARY KEY, -- label dayclaude/store of its sandboxes
    created_at TIMESTAMP NOT NULL
);

CREATE TABLE threads (
    id            TEXT NOT NULL PRIMARY KEY,
    repository_id BIGINT NOT NULL,
    issue         INTEGER NOT NULL,
    generation    INTEGER NOT NULL,
    owner         TEXT NOT NULL,
    repo          TEXT NOT NULL,
    sandbox_id    TEXT NOT NULL DEFAULT '',
    branch        TEXT NOT NULL DEFAULT '',
    pull_request  INTEGER NOT NULL DEFAULT 0,
    comment_id    BIGINT NOT NULL DEFAULT 0,
    session_id    TEXT NOT NULL,
    created_at    TIMESTAMP NOT NULL,
    -- The lease: who drives the thread, until when, and for the how many-th
    -- time it was taken. A write with an older epoch fails.
    lease_owner   TEXT NOT NULL DEFAULT '',
    lease_since   TIMESTAMP,
    lease_until   TIMESTAMP,
    lease_epoch   BIGINT NOT NULL DEFAULT 0,
    UNIQUE (repository_id, issue, generation)
);

CREATE TABLE runs (
    id         TEXT NOT NULL PRIMARY KEY,
    thread_id  TEXT NOT NULL REFERENCES threads (id),
    number     INTEGER NOT NULL,
    state      TEXT NOT NULL,
    task       TEXT NOT NULL DEFAULT '',
    last_event BIGINT NOT NULL DEFAULT 0,
    commit_sha TEXT NOT NULL DEFAULT '',
    -- JSON, as internal/run spells it.
    options    TEXT NOT NULL,
    frozen     TEXT,
    result     TEXT,
    outcome    TEXT,
    cost       TEXT NOT NULL,
    created_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP,
    ended_at   TIMESTAMP,
    UNIQUE (thread_id, number)
);
CREATE INDEX runs_by_age ON runs (created_at);

-- One row for each time that a run entered a state.
CREATE TABLE steps (
    run_id     TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    state      TEXT NOT NULL,
    entered_at TIMESTAMP NOT NULL,
    PRIMARY KEY (run_id, number)
);

CREATE TABLE entries (
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number BIGINT NOT NULL,
    entry  TEXT NOT NULL, -- JSON: run.Entry
    PRIMARY KEY (run_id, number)
);

-- +goose Down
DROP TABLE entries;
DROP TABLE steps;
DROP TABLE runs;
DROP TABLE threads;
DROP TABLE store;
