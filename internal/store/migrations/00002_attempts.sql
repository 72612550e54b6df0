-- +goose Up

-- When somebody asked for the run to be cancelled, whoever drives it.
ALTER TABLE runs ADD COLUMN cancel_asked_at TIMESTAMP;

-- One row for each process that took a run up.
CREATE TABLE attempts (
    run_id   TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL,
    owner    TEXT NOT NULL,
    began_at TIMESTAMP NOT NULL,
    seen_at  TIMESTAMP NOT NULL, -- last sign of life
    ended    TEXT NOT NULL DEFAULT '', -- store.AttemptEnd
    PRIMARY KEY (run_id, number)
);
INSERT INTO attempts (run_id, number, owner, began_at, seen_at, ended)
SELECT runs.id, 1, CASE WHEN ended_at IS NULL THEN lease_owner ELSE '' END, runs.created_at,
    COALESCE((SELECT MAX(entered_at) FROM steps WHERE run_id = runs.id), runs.created_at),
    CASE WHEN ended_at IS NULL AND lease_owner <> '' THEN '' ELSE 'let_go' END
FROM runs JOIN threads ON threads.id = thread_id;

-- A run that is taken up enters its state again.
ALTER TABLE steps ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE steps ADD COLUMN cost_usd DOUBLE PRECISION NOT NULL DEFAULT 0; -- of the run so far

-- +goose Down
ALTER TABLE steps DROP COLUMN cost_usd;
ALTER TABLE steps DROP COLUMN attempt;
DROP TABLE attempts;
ALTER TABLE runs DROP COLUMN cancel_asked_at;
