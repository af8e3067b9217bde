"""fcgi_enqueue(): puts a job from SQL, in the caller's transaction."""

from __future__ import annotations

from typing import Final

__all__ = ("FUNCTIONS",)

_ARGUMENTS: Final = """delay double precision DEFAULT 0, priority integer DEFAULT 0,
    "unique" text DEFAULT NULL, unique_for double precision DEFAULT 0"""

# returns the job's id, or NULL if another job holds the unique key; text that is not JSON is an error
_TEXT: Final = f"""CREATE FUNCTION fcgi_enqueue(name text, data text DEFAULT 'null', {_ARGUMENTS}) RETURNS text
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $fcgi$
    #variable_conflict use_column
    DECLARE
        moment bigint := extract(epoch FROM clock_timestamp()) * 1000;
        later bigint := round(fcgi_enqueue.delay * 1000);
        made text;
    BEGIN
        IF later < 0 OR fcgi_enqueue.unique_for < 0 THEN
            RAISE EXCEPTION 'delay and unique_for must not be less than 0';
        END IF;
        PERFORM fcgi_enqueue.data::json;
        IF fcgi_enqueue."unique" IS NOT NULL THEN
            UPDATE fcgi_jobs SET unique_key = NULL
                WHERE task = fcgi_enqueue.name AND unique_key = fcgi_enqueue."unique" AND unique_until <= moment
                AND state IN ('done', 'dead', 'cancelled');
        END IF;
        INSERT INTO fcgi_jobs (task, data, state, priority, created, due, unique_key, unique_until)
            VALUES (fcgi_enqueue.name, fcgi_enqueue.data, CASE WHEN later > 0 THEN 'delayed' ELSE 'ready' END,
                fcgi_enqueue.priority, moment, moment + later, fcgi_enqueue."unique",
                CASE WHEN fcgi_enqueue."unique" IS NOT NULL THEN moment + round(fcgi_enqueue.unique_for * 1000) END)
            ON CONFLICT DO NOTHING RETURNING id INTO made;
        IF made IS NOT NULL THEN
            PERFORM pg_notify('fcgi_jobs_work', '');
        END IF;
        RETURN made;
    END $fcgi$"""
_JSONB: Final = f"""CREATE FUNCTION fcgi_enqueue(name text, data jsonb, {_ARGUMENTS}) RETURNS text
    LANGUAGE sql SET search_path FROM CURRENT AS $fcgi$
    SELECT fcgi_enqueue(name, data::text, delay, priority, "unique", unique_for) $fcgi$"""

FUNCTIONS: Final = (_TEXT, _JSONB)
