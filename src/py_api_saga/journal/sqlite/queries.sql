-- All that is asked of a journal, apart from PRAGMAs and the ends of transactions.

-- name: next_number
-- Where the numbers of new sagas begin.
SELECT max(coalesce((SELECT max(number) FROM saga), 0) + 1, next_number) FROM counter;

-- name: create
-- A new saga; an id that is taken violates UNIQUE.
INSERT INTO saga(number, saga_id, name, status, owner, epoch, tries, created, changed, due)
VALUES(?, ?, ?, 0, ?, ?, 0, ?, ?, 0);

-- name: first
-- Its first row.
INSERT INTO entry(saga, n, at, body) VALUES(?, 1, ?, ?);

-- name: append
-- One more row, unless the saga was taken over: then no row is affected.
INSERT INTO entry(saga, n, at, body)
SELECT number, ?, ?, ? FROM saga WHERE number = ? AND owner = ? AND epoch = ?;

-- name: move
-- Another status, after an append in the same transaction.
UPDATE saga SET status = ?, owner = ?, changed = ? WHERE number = ? AND owner = ? AND epoch = ?;

-- name: rest
-- The same, and recovery counts anew.
UPDATE saga SET tries = 0, due = 0 WHERE number = ? AND epoch = ?;

-- name: suspend
-- The same, and nobody drives it until an answer comes or it is due.
UPDATE saga SET owner = 0, tries = 0, due = ? WHERE number = ? AND owner = ? AND epoch = ?;

-- name: post
-- An answer, unless there is one: then no row is affected.
INSERT INTO mail(key, saga, at, taken, body) VALUES(?, ?, ?, 0, ?) ON CONFLICT(key) DO NOTHING;

-- name: posted
-- … which this is.
SELECT key, body, at FROM mail WHERE key = ?;

-- name: take_in
-- The rows of a saga say all of an answer.
UPDATE mail SET taken = 1 WHERE key = ? AND saga = ?;

-- name: mail
-- The answers that a saga has not taken in, oldest first.
SELECT key, body FROM mail INDEXED BY mail_new WHERE taken = 0 AND saga = ? ORDER BY rowid;

-- name: has_mail
-- Whether there can be any: not in a file of an earlier release that nobody has written to since.
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'mail';

-- name: take
-- A claim: nothing happens unless the saga is as it was seen, or was left since.
UPDATE saga SET owner = ?, epoch = epoch + 1, tries = tries + ?, changed = ?, due = ?
WHERE number = ? AND owner IN (0, ?) AND epoch = ? AND status = ?;

-- name: release
-- Nobody drives it any more, unless somebody has claimed it since.
UPDATE saga SET owner = 0 WHERE number = ? AND owner = ? AND epoch = ?;

-- name: give_back
-- The same, for a saga that recovery has never claimed.
UPDATE saga SET owner = 0, tries = ?, due = ?,
  changed = CASE WHEN status = ? THEN ? ELSE changed END
WHERE number = ? AND owner = ? AND epoch = ?;

-- name: clear
-- A purge begins with the rows of a saga.
DELETE FROM entry WHERE saga = ?;

-- name: mail_gone
-- … and the answers to it.
DELETE FROM mail WHERE saga = ?;

-- name: digest
-- … and keeps what came of it.
UPDATE saga SET digest = ?
WHERE number = ? AND saga_id = ? AND owner IN (0, ?) AND epoch = ? AND status = ?
  AND digest IS NULL;

-- name: forget
-- … or nothing.
DELETE FROM saga WHERE number = ? AND saga_id = ? AND owner IN (0, ?) AND epoch = ? AND status = ?;

-- name: number_gone
-- The number of a saga that is forgotten is that of no other.
UPDATE counter SET next_number = max(next_number, ? + 1);

-- name: last_row
-- How many rows a saga has: they are never removed one by one.
SELECT coalesce(max(n), 0) FROM entry WHERE saga = ?;

-- name: whose
-- Who may write to a saga.
SELECT owner, epoch, digest FROM saga WHERE number = ?;

-- name: number_of
-- What a saga that seems to exist is, and whose.
SELECT number, owner, epoch, created FROM saga WHERE saga_id = ?;

-- name: body
-- What one commit made durable.
SELECT body FROM entry WHERE saga = ? AND n = ?;

-- name: owner
-- A number for a process that begins.
SELECT next_owner FROM counter;

-- name: owner_taken
-- Nobody else gets it.
UPDATE counter SET next_owner = ?;

-- name: find
-- A summary by id.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga WHERE saga_id = ?;

-- name: rows
-- All rows of a saga, in order; what is of another type, as somebody may have made it, is cast.
SELECT n, CAST(at AS INTEGER), CAST(body AS TEXT) FROM entry WHERE saga = ? ORDER BY n;

-- name: due
-- A page of the open sagas that are due, after one of them; by when they are, the oldest first within it. In
-- the end those that recovery has put off for so long that a clock was set back since. Reads the partial
-- indexes, whatever else there is.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga INDEXED BY saga_open
WHERE status < 2 AND due = :due AND number > :number AND (due <= :now OR tries > 0)
UNION ALL
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga INDEXED BY saga_open WHERE status < 2 AND due > :due AND due <= :now
UNION ALL
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga WHERE status < 2 AND tries > 0 AND due > max(:far, :due)
ORDER BY due, number LIMIT :size;

-- name: answered
-- A page of the sagas that have not taken in an answer, after one of them, oldest first.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga WHERE number IN (
  SELECT DISTINCT saga FROM mail INDEXED BY mail_new WHERE taken = 0 AND saga > ? ORDER BY saga LIMIT ?
)
ORDER BY number;

-- name: taken_mail
-- The answers that a saga has taken in, oldest first, for whoever copies it.
SELECT at, key, body FROM mail INDEXED BY mail_saga WHERE saga = ? AND taken = 1 ORDER BY rowid;

-- name: left_mail
-- Sagas that have not taken in an answer that came before a time, newest first.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga WHERE number IN (SELECT saga FROM mail INDEXED BY mail_new WHERE taken = 0 AND at < ?)
ORDER BY number DESC;

-- name: select
-- Summaries; statuses are the bits of one number. In place of {which} stands what an index is for.
SELECT number, saga_id, name, status, owner, epoch, tries, created, changed, due, digest
FROM saga
WHERE {which}
  AND (:statuses >> status) & 1
  AND (:name IS NULL OR name = :name)
  AND (:before IS NULL OR changed < :before)
  AND (:after IS NULL OR changed > :after)
  AND number < :below
  AND (:first IS NULL OR saga_id >= :first)
  AND saga_id < coalesce(:past, x'');

-- name: newest
-- … in this order.
ORDER BY number DESC LIMIT :limit;

-- name: newest_found
-- … or after an index of something else has found them: else all are gone through in this order.
ORDER BY +number DESC LIMIT :limit;

-- name: tally
-- How many sagas there are of each status but the third, and in all, as status -1. Each part reads one
-- index, by number: in any other order what it looks up is all over the file. Without a condition SQLite
-- counts the cells of pages, and looks into none.
SELECT status, count(*) FROM saga INDEXED BY saga_open WHERE status < 2 AND due = 0 GROUP BY status
UNION ALL
SELECT status, count(*) FROM saga WHERE status < 2 AND due > 0 AND number > 0 GROUP BY status
UNION ALL SELECT 2, count(*) FROM saga WHERE status = 2
UNION ALL SELECT 4, count(*) FROM saga WHERE status = 4
UNION ALL SELECT -1, (SELECT count(*) FROM saga);

-- name: counts_by_name
-- … and of each name.
SELECT name, status, count(*) FROM saga GROUP BY name, status;

-- name: owners
-- Who drives open sagas, and how many, or 0: of those that are due or that recovery has claimed, as whoever
-- claims one has made it. All others wait for answers.
SELECT owner, count(*) FROM (
  SELECT owner FROM saga INDEXED BY saga_open WHERE status < 2 AND due <= :now
  UNION ALL SELECT owner FROM saga WHERE status < 2 AND tries > 0 AND due > :now
)
GROUP BY owner;
