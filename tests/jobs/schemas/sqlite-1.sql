CREATE TABLE fcgi_schema (version INTEGER NOT NULL);
CREATE TABLE fcgi_jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL DEFAULT (lower(hex(randomblob(16)))),
    task TEXT NOT NULL,
    data TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'ready'
        CHECK (state IN ('delayed', 'ready', 'running', 'done', 'dead', 'cancelled', 'in_doubt')),
    priority INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    due INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    unique_key TEXT,
    unique_until INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    on_loss TEXT,
    attempts INTEGER,
    started INTEGER,
    finished INTEGER,
    keep_until INTEGER,
    cancel INTEGER NOT NULL DEFAULT 0,
    progress INTEGER,
    progress_of INTEGER,
    batch TEXT,
    chain TEXT,
    trace TEXT,
    status INTEGER,
    error TEXT,
    stderr TEXT,
    result_headers TEXT,
    result BLOB
);
CREATE TABLE fcgi_batches (
    id TEXT NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)),
    open INTEGER NOT NULL DEFAULT 1,
    open_until INTEGER,
    total INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    next_done TEXT,
    next_failed TEXT,
    finished INTEGER
);
CREATE TABLE fcgi_tasks (
    name TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    seen INTEGER NOT NULL
);
CREATE TABLE fcgi_queues (name TEXT NOT NULL PRIMARY KEY, paused INTEGER NOT NULL DEFAULT 0);
CREATE TABLE fcgi_rates (task TEXT NOT NULL PRIMARY KEY, arrival INTEGER NOT NULL);
CREATE TABLE fcgi_workers (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    lease INTEGER
);
CREATE TABLE fcgi_crons (
    name TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    tick INTEGER NOT NULL
);
CREATE UNIQUE INDEX fcgi_jobs_id ON fcgi_jobs (id);
CREATE UNIQUE INDEX fcgi_jobs_unique ON fcgi_jobs (task, unique_key) WHERE unique_key IS NOT NULL;
CREATE INDEX fcgi_jobs_ready ON fcgi_jobs (task, priority DESC, due, number) WHERE state = 'ready';
CREATE INDEX fcgi_jobs_delayed ON fcgi_jobs (due, task) WHERE state = 'delayed';
CREATE INDEX fcgi_jobs_worker ON fcgi_jobs (worker, task) WHERE worker IS NOT NULL;
CREATE INDEX fcgi_jobs_stuck ON fcgi_jobs (state, task) WHERE state IN ('dead', 'in_doubt');
CREATE INDEX fcgi_jobs_kept ON fcgi_jobs (keep_until, state, task) WHERE keep_until IS NOT NULL;
CREATE INDEX fcgi_jobs_batch ON fcgi_jobs (batch) WHERE batch IS NOT NULL;
INSERT INTO fcgi_schema (version) VALUES (1);
