CREATE TABLE IF NOT EXISTS "public".saga_saga(
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

CREATE INDEX IF NOT EXISTS saga_saga_open ON "public".saga_saga(due, number) WHERE status < 2;

CREATE INDEX IF NOT EXISTS saga_saga_stuck ON "public".saga_saga(number) WHERE status = 2;

CREATE INDEX IF NOT EXISTS saga_saga_compensated ON "public".saga_saga(number) WHERE status = 4;

CREATE INDEX IF NOT EXISTS saga_saga_named ON "public".saga_saga(name, number) WHERE name IS NOT NULL;

CREATE TABLE IF NOT EXISTS "public".saga_entry(
  saga bigint NOT NULL,
  at   bigint NOT NULL,
  n    integer NOT NULL, -- from 1
  body text NOT NULL,    -- [[what, operation, kind, attempt, generation, value], ...]
  PRIMARY KEY (saga, n)
);

CREATE TABLE IF NOT EXISTS "public".saga_owner(
  number  bigint PRIMARY KEY,
  expires bigint NOT NULL,  -- nobody takes its sagas until then
  host    text NOT NULL,    -- these three are for people
  pid     integer NOT NULL,
  started bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE IF NOT EXISTS "public".saga_format(
  version       integer NOT NULL,
  readable_from integer NOT NULL
);

INSERT INTO "public".saga_format(version, readable_from)
SELECT 1, 1 WHERE NOT EXISTS (SELECT FROM "public".saga_format);

CREATE OR REPLACE FUNCTION "public".saga_json(body text) RETURNS json LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN body::json;
EXCEPTION WHEN others THEN
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION "public".saga_text(value json) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  RETURN value #>> '{}';
EXCEPTION WHEN others THEN
  RETURN value::text;
END $$;

CREATE OR REPLACE VIEW "public".saga_needs_attention AS
SELECT
  saga_id,
  name,
  CASE status WHEN 0 THEN 'running' WHEN 1 THEN 'compensating' ELSE 'stuck' END AS status,
  to_char(to_timestamp(changed / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since,
  tries,
  (SELECT body FROM "public".saga_entry WHERE saga = number ORDER BY n DESC LIMIT 1) AS last
FROM "public".saga_saga
WHERE status = 2 OR (status < 2 AND (tries > 0 OR due > 0));

CREATE OR REPLACE VIEW "public".saga_timeline AS
SELECT
  saga_id,
  n,
  to_char(to_timestamp(at / 1000.0) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at,
  coalesce("public".saga_text(line -> 0), 'unreadable') AS what,
  operation,
  (SELECT "public".saga_text("public".saga_json(body) -> 0 -> 1 -> 'operations' -> operation -> 'name')
   FROM "public".saga_entry WHERE saga = number AND n = 1 AND operation >= 0) AS name,
  "public".saga_text(line -> 2) AS kind,
  "public".saga_text(line -> 3) AS attempt,
  "public".saga_text(line -> 4) AS generation,
  "public".saga_text(CASE WHEN operation IS NOT NULL THEN line -> 5
    WHEN "public".saga_text(line -> 0) <> 'defined' THEN line -> 1
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
  FROM "public".saga_saga s
  JOIN "public".saga_entry e ON e.saga = s.number
  CROSS JOIN LATERAL (
    SELECT of_it.place, CASE json_typeof(of_it.line) WHEN 'array' THEN of_it.line ELSE '[]' END AS line
    FROM json_array_elements(
      CASE json_typeof("public".saga_json(e.body)) WHEN 'array' THEN "public".saga_json(e.body) ELSE '[0]' END
    ) WITH ORDINALITY AS of_it(line, place)
  ) AS item
) AS lines
ORDER BY number, n, place;

