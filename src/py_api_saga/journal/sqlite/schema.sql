-- The tables of a journal. What is inside a statement stays in the file: `.schema` shows it.

-- name: saga
-- A saga at a glance; written when it is created, claimed or left, and when its status changes.
CREATE TABLE saga(
  number  INTEGER PRIMARY KEY,
  saga_id TEXT NOT NULL UNIQUE,
  name    TEXT,
  status  INTEGER NOT NULL CHECK(status BETWEEN 0 AND 4),
  -- 0 running      -> 1, 2, 3
  -- 1 compensating -> 2, 4
  -- 2 stuck        -> 0, 1, 3, 4: a person decided, or something landed late
  -- 3 completed
  -- 4 compensated  -> 1: something landed late
  owner   INTEGER NOT NULL, -- the process that drives it, 0: none
  epoch   INTEGER NOT NULL, -- how often it was claimed: older claims may not write
  tries   INTEGER NOT NULL, -- claims by recovery
  created INTEGER NOT NULL, -- times are milliseconds since 1970
  changed INTEGER NOT NULL,
  due     INTEGER NOT NULL, -- recovery leaves it alone until then
  digest  TEXT              -- of what it was to do, once its rows are purged
);

-- name: saga_open
-- What recovery looks through: its cost is that of the sagas that are due. By number within it, which is
-- in every index. Before sagas could wait for answers it was by number alone.
CREATE INDEX saga_open ON saga(due) WHERE status < 2;

-- name: saga_stuck
-- What a person looks for. This one and the next four were not there from the beginning: whoever opens a
-- file to write makes them, and whoever can only read a file without them reads all of it.
CREATE INDEX IF NOT EXISTS saga_stuck ON saga(number) WHERE status = 2;

-- name: saga_compensated
-- So that nobody has to go through what has completed to count the rest; pays who rolls back.
CREATE INDEX IF NOT EXISTS saga_compensated ON saga(number) WHERE status = 4;

-- name: saga_named
-- Sagas by name; by number within it, which is in every index.
CREATE INDEX IF NOT EXISTS saga_named ON saga(name) WHERE name IS NOT NULL;

-- name: saga_later
-- Those that wait for answers or were put off, by number: with it, all that are open are found newest first,
-- since those that are due from the beginning are so in the first index. Pays who waits.
CREATE INDEX IF NOT EXISTS saga_later ON saga(number) WHERE status < 2 AND due > 0;

-- name: saga_tried
-- Those that recovery has claimed: for how long it leaves them alone is not believed if that is far.
CREATE INDEX IF NOT EXISTS saga_tried ON saga(due) WHERE status < 2 AND tries > 0;

-- name: entry
-- A row for each commit of a saga. With a rowid, so rows lie in the order of the commits: pages fill
-- up however many sagas run at once, and rows up to 4 KB need no overflow page. WITHOUT ROWID, sagas
-- side by side leave split pages behind, and a row beyond 1 KB takes 4 KB more.
CREATE TABLE entry(
  saga INTEGER NOT NULL,
  n    INTEGER NOT NULL, -- from 1
  at   INTEGER NOT NULL,
  body TEXT NOT NULL,    -- [[what, operation, kind, attempt, generation, value], ...]
  PRIMARY KEY(saga, n)
);

-- name: mail
-- Answers to calls whose results come later, each for good: what comes again is known.
CREATE TABLE IF NOT EXISTS mail(
  key   TEXT PRIMARY KEY, -- the idempotency key of the call
  saga  INTEGER NOT NULL,
  at    INTEGER NOT NULL,
  taken INTEGER NOT NULL, -- 1: the rows of its saga say all of it
  body  TEXT NOT NULL     -- ["answered", value, note] or ["denied", error, note]
);

-- name: mail_saga
-- So that they go with their saga.
CREATE INDEX IF NOT EXISTS mail_saga ON mail(saga);

-- name: mail_new
-- What a saga is to be gone on with for.
CREATE INDEX IF NOT EXISTS mail_new ON mail(saga) WHERE taken = 0;

-- name: counter
-- Numbers of owners are never used again, nor are those of sagas that were forgotten.
CREATE TABLE counter(next_owner INTEGER NOT NULL, next_number INTEGER NOT NULL);

-- name: counting
-- 0 says that nobody drives a saga, so owners begin with 1.
INSERT INTO counter VALUES(1, 1);

-- name: needs_attention
-- For a person with nothing but sqlite3: what is stuck, and what recovery tries in vain. What waits for an
-- answer is here once that is overdue.
CREATE VIEW needs_attention AS
SELECT
  saga_id,
  name,
  CASE status WHEN 0 THEN 'running' WHEN 1 THEN 'compensating' ELSE 'stuck' END AS status,
  strftime('%Y-%m-%dT%H:%M:%SZ', changed / 1000, 'unixepoch') AS since,
  tries,
  (SELECT body FROM entry WHERE saga = number ORDER BY n DESC LIMIT 1) AS last
FROM saga
WHERE status = 2 OR (
  status < 2 AND (tries > 0 OR due BETWEEN 1 AND CAST(strftime('%s', 'now') AS INTEGER) * 1000)
);

-- name: timeline
-- For people, too: what was written down, line by line. What is not JSON is one line of its own, and what
-- is not an entry has empty columns.
CREATE VIEW timeline AS
SELECT
  saga_id,
  n,
  at,
  coalesce(json_extract(line, '$[0]'), 'unreadable') AS what,
  CASE WHEN operation >= 0 THEN operation END AS operation,
  CASE WHEN operation >= 0 THEN
    (SELECT json_extract(body, '$[0][1].operations[' || operation || '].name')
     FROM entry WHERE saga = number AND n = 1 AND json_valid(body))
  END AS name,
  json_extract(line, '$[2]') AS kind,
  json_extract(line, '$[3]') AS attempt,
  json_extract(line, '$[4]') AS generation,
  CASE WHEN operation IS NOT NULL THEN json_extract(line, '$[5]')
    WHEN json_extract(line, '$[0]') <> 'defined' THEN json_extract(line, '$[1]')
  END AS value
FROM (
  SELECT
    saga.saga_id,
    saga.number,
    entry.n,
    strftime('%Y-%m-%dT%H:%M:%fZ', entry.at / 1000.0, 'unixepoch') AS at,
    item.key AS place,
    CASE item.type WHEN 'array' THEN item.value ELSE '[]' END AS line,
    CASE item.type WHEN 'array' THEN
      CASE json_type(item.value, '$[1]') WHEN 'integer' THEN json_extract(item.value, '$[1]') END
    END AS operation
  FROM saga
  JOIN entry ON entry.saga = saga.number
  JOIN json_each(CASE WHEN json_valid(entry.body) THEN entry.body ELSE '[0]' END) AS item
)
ORDER BY number, n, place;
