-- The tables of a journal. {p} is the prefix of their names with the schema before it, {n} the prefix alone.
-- All of it may be run again. Times are milliseconds since 1970, by the clock of the database.

-- name: saga
-- A saga at a glance; written when it is created, claimed or left, and when its status changes.
-- Columns of eight bytes come first, so that nothing is padded; and those that change with the last row
-- stand together, as PostgreSQL logs of a new version what is between the first change and the last.
CREATE TABLE IF NOT EXISTS {p}saga(
  number  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  created bigint NOT NULL,
  due     bigint NOT NULL,  -- recovery leaves it alone until then
  epoch   integer NOT NULL, -- how often it was claimed: older claims may not write
  tries   integer NOT NULL, -- claims by recovery
  changed bigint NOT NULL,
  owner   bigint NOT NULL,  -- the process that drives it, 0: none
  status  smallint NOT NULL CHECK (status BETWEEN 0 AND 4),
  -- 0 running      -> 1, 2, 3
  -- 1 compensating -> 2, 4
  -- 2 stuck        -> 0, 1, 3, 4: a person decided, or something landed late
  -- 3 completed
  -- 4 compensated  -> 1: something landed late
  saga_id text COLLATE "C" NOT NULL UNIQUE,
  name    text,
  digest  text              -- of what it was to do, once its rows are purged
);

-- name: saga_open
-- What recovery looks through: its cost is that of the sagas that are due.
CREATE INDEX IF NOT EXISTS {n}saga_open ON {p}saga(due, number) WHERE status < 2;

-- name: saga_tried
-- What was put off, beside what waits: of that alone a due far ahead is not believed.
CREATE INDEX IF NOT EXISTS {n}saga_tried ON {p}saga(due, number) WHERE status < 2 AND tries > 0;

-- name: saga_stuck
-- What a person looks for.
CREATE INDEX IF NOT EXISTS {n}saga_stuck ON {p}saga(number) WHERE status = 2;

-- name: saga_compensated
-- So that nobody has to go through what has completed to count the rest; pays who rolls back.
CREATE INDEX IF NOT EXISTS {n}saga_compensated ON {p}saga(number) WHERE status = 4;

-- name: saga_named
-- Sagas by name, newest first within it.
CREATE INDEX IF NOT EXISTS {n}saga_named ON {p}saga(name, number) WHERE name IS NOT NULL;

-- name: entry
-- A row for each commit of a saga. No foreign key: it would lock the saga's row for each of these. The
-- body is text, since json and jsonb refuse some of what JSON may hold.
CREATE TABLE IF NOT EXISTS {p}entry(
  saga bigint NOT NULL,
  at   bigint NOT NULL,
  n    integer NOT NULL, -- from 1
  body text NOT NULL,    -- [[what, operation, kind, attempt, generation, value], ...]
  PRIMARY KEY (saga, n)
);

-- name: mail
-- Answers to calls of sagas that wait, from whoever has them; gone with the rows of the saga. Who writes
-- here has the row of the saga locked.
CREATE TABLE IF NOT EXISTS {p}mail(
  saga  bigint NOT NULL,
  at    bigint NOT NULL,
  taken boolean NOT NULL,             -- the rows of the saga say what came of it
  key   text COLLATE "C" NOT NULL,    -- of the call
  body  text NOT NULL,                -- ["answered", value] or ["denied", error]
  PRIMARY KEY (saga, key)
);

-- name: mail_untaken
-- What recovery looks through, also for sagas that have ended.
CREATE INDEX IF NOT EXISTS {n}mail_untaken ON {p}mail(saga) WHERE NOT taken;

-- name: owner
-- The processes that drive sagas. Their numbers are random: those of a sequence come back once the
-- database is restored, or after a failover. Renewed in place, so half of each page is left free.
CREATE TABLE IF NOT EXISTS {p}owner(
  number  bigint PRIMARY KEY,
  until   bigint NOT NULL,  -- nobody takes its sagas before that
  host    text NOT NULL,    -- these three are for people
  pid     integer NOT NULL,
  started bigint NOT NULL
) WITH (fillfactor = 50);

-- name: fence
-- A process of the first release that has a connection looks at no format any more, and would park what
-- waits, which it can't read. It can claim nothing, nor renew its lease, where this column has another name.
DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = '{p}owner'::regclass AND attname = 'expires') THEN
    ALTER TABLE {p}owner RENAME COLUMN expires TO until;
  END IF;
END $$;

-- name: format
-- Which format all of this has, and the first one whose programs can use it as it is.
CREATE TABLE IF NOT EXISTS {p}format(
  version       integer NOT NULL,
  readable_from integer NOT NULL
);

-- name: version
-- Once.
INSERT INTO {p}format(version, readable_from)
SELECT {version}, {version} WHERE NOT EXISTS (SELECT FROM {p}format);

-- name: json
-- For the views: the JSON of a text, nothing if it is none.
CREATE OR REPLACE FUNCTION {p}json(body text) RETURNS json LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN body::json;
EXCEPTION WHEN others THEN
  RETURN NULL;
END $$;

-- name: text
-- For the views: a value of JSON as a text; as it is written, if PostgreSQL has no such text.
CREATE OR REPLACE FUNCTION {p}text(value json) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN value #>> '{}';
EXCEPTION WHEN others THEN
  RETURN value::text;
END $$;

-- name: needs_attention
-- For a person with nothing but psql: what is stuck, and what recovery tries in vain or was to try. What
-- waits for an answer, and is not too late, is as it should be.
CREATE OR REPLACE VIEW {p}needs_attention AS
SELECT
  saga_id,
  name,
  CASE status WHEN 0 THEN 'running' WHEN 1 THEN 'compensating' ELSE 'stuck' END AS status,
  to_char(to_timestamp(changed / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since,
  tries,
  (SELECT body FROM {p}entry WHERE saga = number ORDER BY n DESC LIMIT 1) AS last
FROM {p}saga
WHERE status = 2 OR (status < 2 AND (tries > 0 OR (due > 0 AND due < {now})));

-- name: timeline
-- For people, too: what was written down, line by line. What is not JSON is one line of its own, and what
-- is not an entry has empty columns.
CREATE OR REPLACE VIEW {p}timeline AS
SELECT
  saga_id,
  n,
  to_char(to_timestamp(at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at,
  coalesce({p}text(line -> 0), 'unreadable') AS what,
  operation,
  (SELECT {p}text({p}json(body) -> 0 -> 1 -> 'operations' -> operation -> 'name')
   FROM {p}entry WHERE saga = number AND n = 1 AND operation >= 0) AS name,
  {p}text(line -> 2) AS kind,
  {p}text(line -> 3) AS attempt,
  {p}text(line -> 4) AS generation,
  {p}text(CASE WHEN operation IS NOT NULL THEN line -> 5
    WHEN {p}text(line -> 0) <> 'defined' THEN line -> 1
  END) AS value
FROM (
  SELECT
    s.saga_id,
    s.number,
    e.n,
    e.at,
    item.place,
    item.line,
    CASE WHEN json_typeof(item.line -> 1) = 'number' AND (item.line -> 1)::text ~ '^[0-9]{1,6}$'
      THEN (item.line -> 1)::text::integer
    END AS operation
  FROM {p}saga s
  JOIN {p}entry e ON e.saga = s.number
  CROSS JOIN LATERAL (
    SELECT of_it.place, CASE json_typeof(of_it.line) WHEN 'array' THEN of_it.line ELSE '[]' END AS line
    FROM json_array_elements(
      CASE json_typeof({p}json(e.body)) WHEN 'array' THEN {p}json(e.body) ELSE '[0]' END
    ) WITH ORDINALITY AS of_it(line, place)
  ) AS item
) AS lines
ORDER BY number, n, place;

-- name: renewed
-- All that an earlier format lacks is there by now.
UPDATE {p}format SET version = {version}, readable_from = {version} WHERE version < {version};
