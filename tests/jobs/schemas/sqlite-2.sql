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
    result BLOB,
    CONSTRAINT fcgi_jobs_priority_is_integer CHECK (priority IS NULL OR typeof(priority) = 'integer'),
    CONSTRAINT fcgi_jobs_created_is_integer CHECK (created IS NULL OR typeof(created) = 'integer'),
    CONSTRAINT fcgi_jobs_due_is_integer CHECK (due IS NULL OR typeof(due) = 'integer'),
    CONSTRAINT fcgi_jobs_unique_until_is_integer CHECK (unique_until IS NULL OR typeof(unique_until) = 'integer'),
    CONSTRAINT fcgi_jobs_attempt_is_integer CHECK (attempt IS NULL OR typeof(attempt) = 'integer'),
    CONSTRAINT fcgi_jobs_failed_is_integer CHECK (failed IS NULL OR typeof(failed) = 'integer'),
    CONSTRAINT fcgi_jobs_attempts_is_integer CHECK (attempts IS NULL OR typeof(attempts) = 'integer'),
    CONSTRAINT fcgi_jobs_started_is_integer CHECK (started IS NULL OR typeof(started) = 'integer'),
    CONSTRAINT fcgi_jobs_finished_is_integer CHECK (finished IS NULL OR typeof(finished) = 'integer'),
    CONSTRAINT fcgi_jobs_keep_until_is_integer CHECK (keep_until IS NULL OR typeof(keep_until) = 'integer'),
    CONSTRAINT fcgi_jobs_cancel_is_integer CHECK (cancel IS NULL OR typeof(cancel) = 'integer'),
    CONSTRAINT fcgi_jobs_progress_is_integer CHECK (progress IS NULL OR typeof(progress) = 'integer'),
    CONSTRAINT fcgi_jobs_progress_of_is_integer CHECK (progress_of IS NULL OR typeof(progress_of) = 'integer'),
    CONSTRAINT fcgi_jobs_status_is_integer CHECK (status IS NULL OR typeof(status) = 'integer'),
    CONSTRAINT fcgi_jobs_id_is_text CHECK (id IS NULL OR typeof(id) = 'text'),
    CONSTRAINT fcgi_jobs_task_is_text CHECK (task IS NULL OR typeof(task) = 'text'),
    CONSTRAINT fcgi_jobs_data_is_text CHECK (data IS NULL OR typeof(data) = 'text'),
    CONSTRAINT fcgi_jobs_unique_key_is_text CHECK (unique_key IS NULL OR typeof(unique_key) = 'text'),
    CONSTRAINT fcgi_jobs_worker_is_text CHECK (worker IS NULL OR typeof(worker) = 'text'),
    CONSTRAINT fcgi_jobs_on_loss_is_text CHECK (on_loss IS NULL OR typeof(on_loss) = 'text'),
    CONSTRAINT fcgi_jobs_batch_is_text CHECK (batch IS NULL OR typeof(batch) = 'text'),
    CONSTRAINT fcgi_jobs_chain_is_text CHECK (chain IS NULL OR typeof(chain) = 'text'),
    CONSTRAINT fcgi_jobs_trace_is_text CHECK (trace IS NULL OR typeof(trace) = 'text'),
    CONSTRAINT fcgi_jobs_error_is_text CHECK (error IS NULL OR typeof(error) = 'text'),
    CONSTRAINT fcgi_jobs_stderr_is_text CHECK (stderr IS NULL OR typeof(stderr) = 'text'),
    CONSTRAINT fcgi_jobs_result_headers_is_text CHECK (result_headers IS NULL OR typeof(result_headers) = 'text'),
    CONSTRAINT fcgi_jobs_result_is_blob CHECK (result IS NULL OR typeof(result) = 'blob')
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
CREATE INDEX fcgi_jobs_held ON fcgi_jobs (unique_until) WHERE unique_key IS NOT NULL AND state IN ('done', 'dead', 'cancelled');
CREATE INDEX fcgi_batches_open ON fcgi_batches (open_until) WHERE open = 1;
CREATE INDEX fcgi_batches_finished ON fcgi_batches (finished) WHERE finished IS NOT NULL;
INSERT INTO fcgi_schema (version) VALUES (2);
