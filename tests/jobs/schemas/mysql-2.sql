CREATE TABLE fcgi_schema (version INTEGER NOT NULL PRIMARY KEY) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_jobs (
    number bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id varchar(200) NOT NULL DEFAULT (REPLACE(UUID(), '-', '')),
    task varchar(200) NOT NULL,
    data longtext NOT NULL,
    state varchar(200) NOT NULL DEFAULT 'ready'
        CHECK (state IN ('delayed', 'ready', 'running', 'done', 'dead', 'cancelled', 'in_doubt')),
    priority INTEGER NOT NULL DEFAULT 0,
    created bigint NOT NULL DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000),
    due bigint NOT NULL DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000),
    unique_key varchar(200),
    unique_until bigint,
    attempt INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    worker varchar(200),
    on_loss varchar(200),
    attempts INTEGER,
    started bigint,
    finished bigint,
    keep_until bigint,
    cancel INTEGER NOT NULL DEFAULT 0,
    progress bigint,
    progress_of bigint,
    batch varchar(200),
    chain longtext,
    trace varchar(200),
    status INTEGER,
    error longtext,
    stderr longtext,
    result_headers longtext,
    result longblob
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_batches (
    id varchar(200) NOT NULL PRIMARY KEY,
    created bigint NOT NULL DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000),
    open INTEGER NOT NULL DEFAULT 1,
    open_until bigint,
    total INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    next_done longtext,
    next_failed longtext,
    finished bigint
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_tasks (
    name varchar(200) NOT NULL PRIMARY KEY,
    queue varchar(200) NOT NULL,
    seen bigint NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_queues (name varchar(200) NOT NULL PRIMARY KEY, paused INTEGER NOT NULL DEFAULT 0) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_rates (task varchar(200) NOT NULL PRIMARY KEY, arrival bigint NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_workers (
    id varchar(200) NOT NULL PRIMARY KEY,
    host varchar(200) NOT NULL,
    pid INTEGER NOT NULL,
    started bigint NOT NULL,
    seen bigint NOT NULL,
    lease bigint
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE TABLE fcgi_crons (
    name varchar(200) NOT NULL PRIMARY KEY,
    definition longtext NOT NULL,
    tick bigint NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin ROW_FORMAT=DYNAMIC;
CREATE UNIQUE INDEX fcgi_jobs_id ON fcgi_jobs (id);
CREATE UNIQUE INDEX fcgi_jobs_unique ON fcgi_jobs (task, unique_key);
CREATE INDEX fcgi_jobs_ready ON fcgi_jobs (state, task, priority DESC, due, number);
CREATE INDEX fcgi_jobs_delayed ON fcgi_jobs (state, due, task);
CREATE INDEX fcgi_jobs_worker ON fcgi_jobs (worker, task);
CREATE INDEX fcgi_jobs_stuck ON fcgi_jobs (state, task);
CREATE INDEX fcgi_jobs_kept ON fcgi_jobs (keep_until, state, task);
CREATE INDEX fcgi_jobs_batch ON fcgi_jobs (batch);
CREATE INDEX fcgi_jobs_held ON fcgi_jobs (state, unique_until);
CREATE INDEX fcgi_batches_open ON fcgi_batches (open, open_until);
CREATE INDEX fcgi_batches_finished ON fcgi_batches (finished);
INSERT INTO fcgi_schema (version) VALUES (2);
