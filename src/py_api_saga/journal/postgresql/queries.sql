-- All that is asked of a journal. {p} is the prefix of its tables, with the schema; {now} the time, in
-- milliseconds, by the clock of the database. What writes is about many sagas at once, and says of which
-- it was done. What it did not do it left alone, so it may be committed whatever it found; and it waits
-- for nobody who has locked the row of a saga.

-- name: begin
-- Whatever the role's defaults are.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;

-- name: begin_reading
-- Also on a standby.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: settings
-- For this transaction alone: through a pooler, a session is somebody else's the next moment. Plans that
-- were made while a table was empty read all of it for each commit until somebody analyzes it.
SELECT {now},
  set_config('synchronous_commit', {sync}, true),
  set_config('lock_timeout', '{lock_timeout}', true),
  set_config('statement_timeout', '{statement_timeout}', true),
  set_config('enable_seqscan', 'off', true),
  set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true),
  set_config('max_parallel_workers_per_gather', '0', true),
  set_config('jit', 'off', true);

-- name: commit
-- Everything, always.
COMMIT;

-- name: server
-- Whether a journal can be kept there.
SELECT current_setting('server_version_num')::integer, current_setting('server_encoding'),
  current_setting('fsync'), pg_is_in_recovery();

-- name: is_made
-- Whether there is one.
SELECT to_regclass('{p}format') IS NOT NULL;

-- name: version
-- Of the format.
SELECT version, readable_from FROM {p}format;

-- name: now
-- What time it is: the settings say so.
SELECT 1;

-- name: register
-- This process, from now on; and without those who have been gone for an hour.
WITH gone AS (
  DELETE FROM {p}owner WHERE number IN (
    SELECT number FROM {p}owner WHERE until < {now} - 3600000 FOR UPDATE SKIP LOCKED)
)
INSERT INTO {p}owner(number, until, host, pid, started)
VALUES (%(owner)s, {now} + %(lease)s, %(host)s, %(pid)s, {now})
ON CONFLICT (number) DO UPDATE SET until = excluded.until RETURNING number;

-- name: renew
-- Whoever is late is not refused, but looks which of its sagas are still its own. This waits for
-- whoever is taking one of them at this moment (see `take`), so `mine` sees what came of that.
WITH before AS (
  SELECT number, until > {now} AS was_alive FROM {p}owner WHERE number = %(owner)s FOR NO KEY UPDATE
)
UPDATE {p}owner o SET until = {now} + %(lease)s FROM before WHERE o.number = before.number
RETURNING was_alive;

-- name: mine
-- Which of these claims stand, and how many rows their sagas have. After a failover a number may be that
-- of another saga.
SELECT s.number, s.epoch, (SELECT max(n) FROM {p}entry WHERE saga = s.number)
FROM unnest(%(numbers)s::bigint[], %(ids)s::text[]) AS given(number, saga_id)
JOIN {p}saga s ON s.number = given.number AND s.saga_id = given.saga_id
WHERE s.owner = %(owner)s;

-- name: end_owner
-- This process drives nothing, and will not.
DELETE FROM {p}owner WHERE number = %(owner)s RETURNING number;

-- name: append
-- The lock is the fence: a claim passes over what is locked, and what was claimed has another epoch. A row
-- that is there was written by a commit of ours whose answer was lost; if that comes between what this
-- sees and its lock, the key is violated, and all is written again, each saga for itself. ON CONFLICT
-- would spare that, and log 48 bytes more for each row.
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(epochs)s::integer[], %(ns)s::integer[], %(bodies)s::text[],
                       %(statuses)s::smallint[], %(rested)s::boolean[])
    AS given(number, epoch, n, body, status, rested)
), held AS (
  SELECT given.number, given.n, given.body, given.status, given.rested
  FROM given JOIN {p}saga s ON s.number = given.number AND s.epoch = given.epoch
  WHERE s.owner = %(owner)s
  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED
), written AS (
  INSERT INTO {p}entry(saga, n, at, body) SELECT number, n, {now}, body FROM held
  WHERE NOT EXISTS (SELECT FROM {p}entry e WHERE e.saga = held.number AND e.n = held.n) RETURNING saga
), moved AS (
  UPDATE {p}saga s SET
    status = coalesce(held.status, s.status),
    owner = CASE WHEN held.status >= 2 THEN 0 ELSE s.owner END,
    changed = CASE WHEN held.status IS NULL THEN s.changed ELSE {now} END,
    tries = CASE WHEN held.rested THEN 0 ELSE s.tries END,
    due = CASE WHEN held.rested THEN 0 ELSE s.due END
  FROM held JOIN written ON written.saga = held.number
  WHERE s.number = held.number AND (held.status IS NOT NULL OR held.rested)
)
SELECT saga FROM written;

-- name: post
-- Answers to calls, each once. The lock is that of an append: whoever lets a saga wait has it from before
-- it looks into the mail until its commit. So either that finds what is written here, or this process finds
-- afterwards that nobody drives the saga. What is locked is passed over, else a row that one person holds
-- would stop all that this process writes, and two journals might wait for each other.
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(ids)s::text[], %(keys)s::text[], %(bodies)s::text[])
    AS given(number, saga_id, key, body)
), held AS (
  SELECT given.number, given.key, given.body
  FROM given JOIN {p}saga s ON s.number = given.number AND s.saga_id = given.saga_id
  WHERE s.digest IS NULL
  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED
)
INSERT INTO {p}mail(saga, at, taken, key, body)
SELECT number, greatest({now}, (SELECT max(at) + 1 FROM {p}mail WHERE saga = number)), false, key, body FROM held
ON CONFLICT (saga, key) DO NOTHING RETURNING saga;

-- name: mailing
-- What rows of this transaction have said of the mail of their sagas. A statement of its own after `append`,
-- as what that one sees may be older than its locks. Of the mail that is left all is told; a saga without
-- any that is to wait is let go, and one with some is kept by whoever has ended it.
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(ns)s::integer[], %(suspends)s::boolean[], %(dues)s::bigint[])
    AS given(number, n, suspends, due)
), written AS (
  SELECT given.* FROM given JOIN {p}entry e ON e.saga = given.number AND e.n = given.n
  WHERE e.xmin = pg_current_xact_id()::xid
), taken AS (
  SELECT took.saga, took.key FROM unnest(%(taken)s::bigint[], %(keys)s::text[]) AS took(saga, key)
  JOIN written ON written.number = took.saga
), marked AS (
  UPDATE {p}mail m SET taken = true FROM taken WHERE m.saga = taken.saga AND m.key = taken.key
), left_over AS (
  SELECT m.saga, m.at, m.key, m.body FROM written JOIN {p}mail m ON m.saga = written.number
  WHERE NOT m.taken AND NOT EXISTS (SELECT FROM taken WHERE taken.saga = m.saga AND taken.key = m.key)
), known AS (
  SELECT written.*, EXISTS (SELECT FROM left_over WHERE saga = number) AS has_mail FROM written
), moved AS (
  UPDATE {p}saga s SET
    owner = CASE WHEN has_mail THEN %(owner)s::bigint ELSE 0 END,
    tries = CASE WHEN has_mail THEN s.tries ELSE 0 END,
    due = CASE WHEN has_mail THEN s.due ELSE known.due END
  FROM known
  WHERE s.number = known.number AND CASE WHEN has_mail THEN s.owner = 0 ELSE suspends END
)
SELECT number, key, body FROM written LEFT JOIN left_over ON saga = number ORDER BY number, at, key;

-- name: release
-- Nobody drives these any more, except those that were claimed since. What recovery came to nothing with
-- gets back what it had before.
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(epochs)s::integer[], %(tries)s::integer[], %(dues)s::bigint[],
                       %(statuses)s::smallint[], %(changed)s::bigint[])
    AS given(number, epoch, tries, due, status, changed)
), held AS (
  SELECT given.* FROM given JOIN {p}saga s ON s.number = given.number AND s.epoch = given.epoch
  WHERE s.owner = %(owner)s
  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE {p}saga s SET owner = 0, tries = coalesce(held.tries, s.tries), due = coalesce(held.due, s.due),
  changed = CASE WHEN s.status = held.status THEN held.changed ELSE s.changed END
FROM held WHERE s.number = held.number RETURNING s.number;

-- name: create
-- New sagas with their first rows. An id is tried for, and never waited for: somebody's open transaction
-- may hold it for long, and all sagas of this process would wait behind it.
WITH given AS (
  SELECT * FROM unnest(%(ids)s::text[], %(names)s::text[], %(bodies)s::text[], %(driven)s::boolean[])
    AS given(saga_id, name, body, driven)
  WHERE pg_try_advisory_xact_lock(hashtextextended('{p}' || saga_id, 0))
), created AS (
  INSERT INTO {p}saga(saga_id, name, status, epoch, owner, tries, created, changed, due)
  SELECT saga_id, name, 0, driven::integer, CASE WHEN driven THEN %(owner)s::bigint ELSE 0 END, 0, t, t, 0
  FROM given, (SELECT {now} AS t) AS clock ORDER BY saga_id
  ON CONFLICT (saga_id) DO NOTHING RETURNING number, saga_id, created
), first AS (
  INSERT INTO {p}entry(saga, n, at, body)
  SELECT created.number, 1, created.created, given.body FROM created JOIN given USING (saga_id)
)
SELECT saga_id, number, created FROM created;

-- name: start
-- A new saga with its first row, in a transaction of the user's; or what there is, as much of it as tells
-- whether it is the same. One row in any case. It sets nothing, since all that is set would be set for the
-- user too; so it is written for one saga, and found by indexes without being told to.
WITH given AS (
  SELECT {now} AS t FROM {p}format
  WHERE {version} BETWEEN readable_from AND version
    AND pg_try_advisory_xact_lock(hashtextextended('{p}' || CAST(%(saga_id)s AS text), 0))
), created AS (
  INSERT INTO {p}saga(saga_id, name, status, epoch, owner, tries, created, changed, due)
  SELECT CAST(%(saga_id)s AS text), CAST(%(name)s AS text), 0, 0, 0, 0, t, t, 0 FROM given
  ON CONFLICT (saga_id) DO NOTHING RETURNING number, created
), first AS (
  INSERT INTO {p}entry(saga, n, at, body) SELECT number, 1, created, CAST(%(body)s AS text) FROM created
)
SELECT f.version, f.readable_from, EXISTS (SELECT FROM given), created.number,
  s.number, s.saga_id, s.name, s.status, s.owner, s.epoch, s.tries, s.created, s.changed, s.due, s.digest,
  e.at, e.body
FROM (VALUES (1)) AS one
LEFT JOIN {p}format f ON true
LEFT JOIN created ON true
LEFT JOIN {p}saga s ON s.saga_id = CAST(%(saga_id)s AS text)
LEFT JOIN {p}entry e ON e.saga = s.number AND e.n = 1;

-- name: take
-- Claims: nothing happens to a saga unless it is as it was seen, or was left since, and nobody who lives
-- drives it. That somebody is dead is looked up with a lock on its row, so it cannot come back to life
-- until the claim is committed, and is told of it then (see `renew`).
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(epochs)s::integer[], %(statuses)s::smallint[],
                       %(owners)s::bigint[], %(force)s::boolean[], %(counted)s::integer[], %(delays)s::bigint[])
    AS given(number, epoch, status, owner, force, counted, delay)
), dead AS (
  SELECT o.number FROM {p}owner o
  WHERE o.number = ANY(%(owners)s::bigint[]) AND o.until <= {now}
  ORDER BY o.number FOR SHARE SKIP LOCKED
), free AS (
  SELECT s.number, given.counted, given.delay
  FROM given JOIN {p}saga s ON s.number = given.number AND s.epoch = given.epoch AND s.status = given.status
  WHERE s.owner IN (0, given.owner) AND (
    given.force OR s.owner IN (0, %(owner)s) OR s.owner IN (SELECT number FROM dead)
    OR NOT EXISTS (SELECT FROM {p}owner o WHERE o.number = s.owner))
  ORDER BY s.number FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE {p}saga s SET owner = %(owner)s, epoch = s.epoch + 1, tries = s.tries + free.counted, changed = {now},
  due = CASE WHEN free.delay <= 0 THEN 0 ELSE {now} + free.delay END
FROM free WHERE s.number = free.number RETURNING s.number;

-- name: last_rows
-- A statement of its own after `take`: what that one sees may be older than its locks.
SELECT given, (SELECT max(n) FROM {p}entry WHERE saga = given) FROM unnest(%(numbers)s::bigint[]) AS given;

-- name: look
-- What became of sagas with which something was not done; and a row of each.
SELECT s.number, s.owner, s.epoch, s.digest, (SELECT body FROM {p}entry WHERE saga = s.number AND n = given.n),
  (SELECT max(n) FROM {p}entry WHERE saga = s.number),
  EXISTS (SELECT FROM {p}mail WHERE saga = s.number AND NOT taken)
FROM unnest(%(numbers)s::bigint[], %(ns)s::integer[]) AS given(number, n)
JOIN {p}saga s ON s.number = given.number;

-- name: look_for
-- The same by id, of those that were not created.
SELECT saga_id, number, owner, epoch, created FROM {p}saga WHERE saga_id = ANY(%(ids)s::text[]);

-- name: look_mail
-- What became of answers that were not written: the saga, and the one of the same key.
SELECT given.number, s.number IS NOT NULL, s.digest IS NOT NULL, m.key, m.body
FROM unnest(%(numbers)s::bigint[], %(ids)s::text[], %(keys)s::text[]) AS given(number, saga_id, key)
LEFT JOIN {p}saga s ON s.number = given.number AND s.saga_id = given.saga_id
LEFT JOIN {p}mail m ON m.saga = s.number AND m.key = given.key;

-- name: hold
-- Locks sagas that are to be purged, so that the next statement sees all mail that there is.
SELECT s.number FROM unnest(%(numbers)s::bigint[]) AS given JOIN {p}saga s ON s.number = given
ORDER BY s.number FOR UPDATE OF s SKIP LOCKED;

-- name: purge
-- Ended sagas without their rows. Whoever had one, and comes back to life, has it no more.
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(ids)s::text[], %(epochs)s::integer[], %(statuses)s::smallint[],
                       %(digests)s::text[])
    AS given(number, saga_id, epoch, status, digest)
), held AS (
  SELECT given.number, given.digest
  FROM given JOIN {p}saga s ON s.number = given.number AND s.saga_id = given.saga_id
    AND s.epoch = given.epoch AND s.status = given.status
  WHERE s.digest IS NULL AND s.xmax = pg_current_xact_id()::xid
    AND (s.owner = 0 OR NOT EXISTS (SELECT FROM {p}owner o WHERE o.number = s.owner AND o.until > {now}))
    AND NOT EXISTS (SELECT FROM {p}mail m WHERE m.saga = s.number AND NOT m.taken)
), gone AS (
  UPDATE {p}saga s SET digest = held.digest, owner = 0 FROM held WHERE s.number = held.number RETURNING s.number
), cleared AS (DELETE FROM {p}entry USING gone WHERE saga = gone.number
), emptied AS (DELETE FROM {p}mail USING gone WHERE saga = gone.number)
SELECT number FROM gone;

-- name: forget
-- … and their ids are free.
WITH given AS (
  SELECT * FROM unnest(%(numbers)s::bigint[], %(ids)s::text[], %(epochs)s::integer[], %(statuses)s::smallint[])
    AS given(number, saga_id, epoch, status)
), held AS (
  SELECT given.number
  FROM given JOIN {p}saga s ON s.number = given.number AND s.saga_id = given.saga_id
    AND s.epoch = given.epoch AND s.status = given.status
  WHERE s.xmax = pg_current_xact_id()::xid
    AND (s.owner = 0 OR NOT EXISTS (SELECT FROM {p}owner o WHERE o.number = s.owner AND o.until > {now}))
    AND NOT EXISTS (SELECT FROM {p}mail m WHERE m.saga = s.number AND NOT m.taken)
), gone AS (
  DELETE FROM {p}saga s USING held WHERE s.number = held.number RETURNING s.number
), cleared AS (DELETE FROM {p}entry USING gone WHERE saga = gone.number
), emptied AS (DELETE FROM {p}mail USING gone WHERE saga = gone.number)
SELECT number FROM gone;

-- name: take_in
-- Sagas that have ended elsewhere, with all their rows and the answers that they have taken in; an id that
-- is there stays what it is.
WITH made AS (
  INSERT INTO {p}saga(saga_id, name, status, epoch, owner, tries, created, changed, due, digest)
  SELECT saga_id, name, status, epoch, 0, tries, created, changed, 0, digest
  FROM unnest(%(ids)s::text[], %(names)s::text[], %(statuses)s::smallint[], %(epochs)s::integer[],
              %(tries)s::integer[], %(created)s::bigint[], %(changed)s::bigint[], %(digests)s::text[])
    WITH ORDINALITY AS given(saga_id, name, status, epoch, tries, created, changed, digest, place)
  ORDER BY place
  ON CONFLICT (saga_id) DO NOTHING
  RETURNING number, saga_id
), written AS (
  INSERT INTO {p}entry(saga, n, at, body)
  SELECT made.number, row.n, row.at, row.body
  FROM unnest(%(of)s::text[], %(n)s::integer[], %(at)s::bigint[], %(bodies)s::text[])
    AS row(saga_id, n, at, body)
  JOIN made USING (saga_id)
), answered AS (
  INSERT INTO {p}mail(saga, at, taken, key, body)
  SELECT made.number, letter.at, true, letter.key, letter.body
  FROM unnest(%(answered)s::text[], %(came)s::bigint[], %(keys)s::text[], %(letters)s::text[])
    AS letter(saga_id, at, key, body)
  JOIN made USING (saga_id)
)
SELECT saga_id FROM made;

-- name: find
-- A summary by id.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM {p}saga WHERE saga_id = %(id)s;

-- name: lives
-- Which of these processes live.
SELECT number FROM {p}owner WHERE number = ANY(%(owners)s::bigint[]) AND until > {now};

-- name: rows
-- All rows of sagas, in order.
SELECT saga, n, at, body FROM unnest(%(numbers)s::bigint[]) AS given JOIN {p}entry ON saga = given ORDER BY saga, n;

-- name: mail
-- The answers to sagas that nobody has taken.
SELECT saga, key, body FROM {p}mail WHERE saga = ANY(%(numbers)s::bigint[]) AND NOT taken ORDER BY saga, at, key;

-- name: left_mail
-- Sagas that have not taken in an answer that came before a time, newest first.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM {p}saga WHERE number = ANY(ARRAY(SELECT saga FROM {p}mail WHERE NOT taken AND at < %(before)s::bigint))
ORDER BY number DESC;

-- name: waiting
-- Open sagas that are due and that nobody drives, those first that have been due for longest; then those
-- that were tried and are due so late that a clock was set back since; and then those whose mail has what
-- nobody has taken, also if they have ended.
(SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
 FROM {p}saga s WHERE status < 2 AND due <= %(now)s AND number <> ALL(%(skip)s::bigint[])
   AND (owner IN (0, %(owner)s) OR NOT EXISTS (SELECT FROM {p}owner o WHERE o.number = s.owner AND o.until > {now}))
 ORDER BY due, number LIMIT %(limit)s::bigint)
UNION ALL
(SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
 FROM {p}saga s WHERE status < 2 AND tries > 0 AND due > %(late)s AND number <> ALL(%(skip)s::bigint[])
   AND (owner IN (0, %(owner)s) OR NOT EXISTS (SELECT FROM {p}owner o WHERE o.number = s.owner AND o.until > {now}))
 ORDER BY due, number LIMIT %(limit)s::bigint)
UNION ALL
(SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
 FROM {p}saga s WHERE number = ANY(ARRAY(SELECT DISTINCT saga FROM {p}mail WHERE NOT taken))
   AND number <> ALL(%(skip)s::bigint[])
   AND (owner IN (0, %(owner)s) OR NOT EXISTS (SELECT FROM {p}owner o WHERE o.number = s.owner AND o.until > {now}))
 ORDER BY number LIMIT %(limit)s::bigint);

-- name: select
-- Summaries, newest first. In place of {which} stands what an index is for; there is one of each.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM {p}saga
WHERE {which}
  AND (%(statuses)s::smallint[] IS NULL OR status = ANY(%(statuses)s::smallint[]))
  AND (%(name)s::text IS NULL OR name = %(name)s)
  AND (%(before)s::bigint IS NULL OR changed < %(before)s)
  AND (%(after)s::bigint IS NULL OR changed > %(after)s)
  AND number < %(below)s::bigint
ORDER BY {order} DESC LIMIT %(limit)s::bigint;

-- name: tally
-- How many sagas there are of each status but the third, each by its index; and in all, as status -1, but no
-- more than are asked for and the others.
WITH counted AS (
  SELECT status, count(*) AS many FROM {p}saga WHERE status < 2 GROUP BY status
  UNION ALL SELECT 2::smallint, count(*) FROM {p}saga WHERE status = 2
  UNION ALL SELECT 4::smallint, count(*) FROM {p}saga WHERE status = 4
)
SELECT status, many FROM counted
UNION ALL SELECT (-1)::smallint, count(*) FROM (
  SELECT number FROM {p}saga ORDER BY number
  LIMIT %(most)s::bigint + (SELECT sum(many) FROM counted)) AS first;

-- name: counts_by_name
-- … and of each name.
SELECT name, status, count(*) FROM {p}saga GROUP BY name, status;

-- name: owners
-- Who drives open sagas, and how many.
SELECT owner, count(*) FROM {p}saga WHERE status < 2 GROUP BY owner;

-- name: living
-- The processes whose leases run, and for how many milliseconds.
SELECT number, host, pid, until - {now} FROM {p}owner WHERE until > {now} ORDER BY host, pid;

-- name: facts
-- What a person wants to know of the server. What the role has set is what the session goes back to.
SELECT current_setting('server_version') AS server_version,
  (SELECT reset_val FROM pg_settings WHERE name = 'synchronous_commit') AS synchronous_commit,
  current_setting('fsync') AS fsync,
  pg_is_in_recovery() AS standby,
  (SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async') AS asynchronous_standbys,
  pg_backend_pid() AS backend,
  pg_total_relation_size('{p}saga') + pg_total_relation_size('{p}entry') + pg_total_relation_size('{p}mail') AS size,
  (SELECT extract(epoch FROM clock_timestamp() - min(xact_start))::bigint FROM pg_stat_activity
   WHERE datname = current_database() AND pid <> pg_backend_pid()) AS oldest_transaction;

-- name: lacking_indexes
-- Which of these are not there.
SELECT name FROM unnest(ARRAY['saga_open', 'saga_tried', 'saga_stuck', 'saga_compensated', 'saga_named',
  'mail_untaken']) AS name
WHERE to_regclass('{p}' || name) IS NULL;

-- name: slow_vacuum
-- Tables so large that the defaults of autovacuum leave many dead rows.
SELECT c.oid::regclass::text FROM pg_class c
WHERE c.oid IN ('{p}saga'::regclass, '{p}entry'::regclass, '{p}mail'::regclass) AND c.reltuples > 100000
  AND NOT coalesce(c.reloptions::text LIKE '%autovacuum_vacuum_scale_factor%', false)
ORDER BY 1;
