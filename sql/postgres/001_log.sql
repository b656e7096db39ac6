-- Shared logs. All that a daemon may do is in the five functions whose names end in _v1: they run with the rights of the owner,
-- and look in `members` whether the login (session_user, which no SET changes) may use the log. No role gets rights on a table.

CREATE TABLE treadle.logs (
  log_id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE CHECK (name <> '' AND length(name) <= 100),
  head bigint NOT NULL DEFAULT 0,
  format int NOT NULL DEFAULT 1
) WITH (fillfactor = 10); -- each append updates its row: with room in the page, without a new entry in an index (HOT)

CREATE TABLE treadle.members (
  log_id uuid NOT NULL REFERENCES treadle.logs,
  role name NOT NULL,
  may text NOT NULL CHECK (may IN ('read', 'write', 'erase')), -- each includes the one before it
  PRIMARY KEY (log_id, role)
);

-- scopes: what the event changes, as names; an append conflicts if it has read one of them. append_id: of its append.
CREATE TABLE treadle.events (
  log_id uuid NOT NULL REFERENCES treadle.logs,
  sequence bigint NOT NULL,
  append_id uuid NOT NULL,
  actor name NOT NULL,
  scopes text[] NOT NULL,
  payload text NOT NULL,
  PRIMARY KEY (log_id, sequence)
);

CREATE TABLE treadle.commands (
  log_id uuid NOT NULL REFERENCES treadle.logs,
  command_id text NOT NULL,
  digest text NOT NULL,
  first_sequence bigint NOT NULL,
  last_sequence bigint NOT NULL,
  parts text,
  PRIMARY KEY (log_id, command_id)
);

-- holder: who has the lease; chosen at random, so that a copy of a data directory has another one. applied: how far its replica
-- is. until: the end of its lease, by the clock of this server.
CREATE TABLE treadle.machines (
  log_id uuid NOT NULL REFERENCES treadle.logs,
  machine_id text NOT NULL CHECK (machine_id <> '' AND length(machine_id) <= 128),
  holder uuid NOT NULL,
  actor name NOT NULL,
  applied bigint NOT NULL,
  seen timestamptz NOT NULL,
  until timestamptz NOT NULL,
  PRIMARY KEY (log_id, machine_id)
);

CREATE FUNCTION treadle.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'events are never changed, but erased, or deleted';
END $$;
CREATE TRIGGER events_are_permanent BEFORE DELETE OR TRUNCATE ON treadle.events
  FOR EACH STATEMENT EXECUTE FUNCTION treadle.refuse_change();
-- An erasure changes texts in a payload: not what it is, nor when and for which thread it was.
CREATE TRIGGER events_are_only_erased BEFORE UPDATE ON treadle.events FOR EACH ROW
  WHEN (
    (NEW.log_id, NEW.sequence, NEW.append_id, NEW.actor, NEW.scopes)
      IS DISTINCT FROM (OLD.log_id, OLD.sequence, OLD.append_id, OLD.actor, OLD.scopes)
    OR substring(NEW.payload FROM '^\{"type":"[A-Za-z]+","at":"[^"]*"(?:,"threadId":"[^"]*")?')
      IS DISTINCT FROM substring(OLD.payload FROM '^\{"type":"[A-Za-z]+","at":"[^"]*"(?:,"threadId":"[^"]*")?')
  )
  EXECUTE FUNCTION treadle.refuse_change();

-- The next events after a sequence, in order: at most `how_many`, and no more once they have 1 MiB. At least one, if there is one.
--
-- enable_seqscan = off, here and in `append`: in a plan for any arguments, `sequence > known` counts as a third of the table, so
-- that from the sixth append of a connection on the server would read all of it each time.
CREATE FUNCTION treadle.events_after(log uuid, known bigint, how_many int)
RETURNS TABLE (sequence bigint, append_id uuid, actor name, payload text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
  SELECT e.sequence, e.append_id, e.actor, e.payload
  FROM (
    SELECT e.*, sum(octet_length(e.payload)) OVER (ORDER BY e.sequence) - octet_length(e.payload) AS bytes_before
    FROM (
      SELECT e.* FROM treadle.events e WHERE e.log_id = log AND e.sequence > known ORDER BY e.sequence LIMIT how_many
    ) e
  ) e
  WHERE e.bytes_before < 1048576 ORDER BY e.sequence
$$;

-- Whether a replica that has applied `known` events, the last of them of the append `mark`, is a prefix of this log.
-- It is not if the log was rewound: restored from a backup, or taken over by a standby that had not received everything.
CREATE FUNCTION treadle.is_prefix(log uuid, known bigint, mark uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT known = 0 OR EXISTS (
    SELECT FROM treadle.events e WHERE e.log_id = log AND e.sequence = known AND e.append_id = mark
  )
$$;

-- Append events, and the records of their commands, for a login that has the right, unless what they were decided by has changed since `known`.
--
-- reads: the scopes that the decision has read. scopes_: of each event, separated by spaces. firsts, lasts: of the events of each
-- command, from 1. format_: the newest format that the caller knows. needs: the format of these events. rejected: ids of commands
-- that were rejected, which another machine may have carried out. `*` among the scopes in `reads` stands for every scope.
--
-- status: appended, after the sequence `base`; again: an earlier call with this append_id_ did it, after `base`; conflict: a
-- read scope has changed; repeated: a command was carried out before (`records`); behind: pull first; older: the log has
-- events that the caller does not know; diverged: the caller has other events than the log. With appended, conflict and repeated
-- come the next events after `known` that were there before: sequences, append_ids, actors, missed.
CREATE FUNCTION treadle.append(
  log uuid, known bigint, mark uuid, format_ int, needs int, append_id_ uuid, reads text[], scopes_ text[], payloads text[],
  command_ids text[], digests text[], firsts int[], lasts int[], partss text[], rejected text[], right_ text,
  OUT status text, OUT base bigint, OUT sequences bigint[], OUT append_ids uuid[], OUT actors text[], OUT missed text[],
  OUT records text[]
)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
  l treadle.logs;
BEGIN
  IF NOT EXISTS (SELECT FROM treadle.members m WHERE m.log_id = log AND m.role = session_user AND m.may IN (right_, 'erase')) THEN
    RAISE insufficient_privilege USING MESSAGE = 'no such log, or this login may not write to it';
  END IF;
  -- With a NULL a comparison would be neither true nor false, and the append would go through.
  IF num_nulls(known, format_, needs, append_id_, reads, scopes_, payloads, command_ids, digests, firsts, lasts, partss, rejected) > 0
    OR array_position(reads, NULL) > 0 OR known < 0 OR cardinality(scopes_) <> cardinality(payloads)
    OR cardinality(command_ids) <> ANY (
      ARRAY[cardinality(digests), cardinality(firsts), cardinality(lasts), cardinality(partss)])
  THEN
    RAISE invalid_parameter_value USING MESSAGE = 'an argument is NULL, negative or of another length';
  END IF;
  -- The type comes first, as treadle writes it, so that it can be seen without decoding what may be large.
  IF EXISTS (SELECT FROM unnest(payloads) AS u (payload) WHERE u.payload !~ '^\{"type":"[A-Za-z]+"[,}]') THEN
    RAISE invalid_parameter_value USING MESSAGE = 'a payload is no event';
  END IF;
  -- The one lock: the order of sequences is that of commits. It writes to the WAL, so that `again` too is answered only when a
  -- synchronous standby has the events.
  SELECT * INTO l FROM treadle.logs WHERE log_id = log FOR UPDATE;
  IF NOT treadle.is_prefix(log, known, mark) THEN
    status := 'diverged';
    RETURN;
  END IF;
  SELECT min(e.sequence) - 1 INTO base FROM treadle.events e
    WHERE e.log_id = log AND e.sequence > known AND e.append_id = append_id_;
  IF base IS NOT NULL THEN
    status := 'again';
    RETURN;
  END IF;
  IF format_ < l.format THEN
    status := 'older';
    RETURN;
  END IF;
  IF l.head - known > 5000 THEN
    status := 'behind';
    RETURN;
  END IF;
  IF l.head > known THEN
    SELECT array_agg(e.sequence ORDER BY e.sequence), array_agg(e.append_id ORDER BY e.sequence),
        array_agg(e.actor::text ORDER BY e.sequence), array_agg(e.payload ORDER BY e.sequence)
      INTO sequences, append_ids, actors, missed FROM treadle.events_after(log, known, 500) e;
  END IF;
  SELECT array_agg(json_build_array(c.command_id, c.digest, c.first_sequence, c.last_sequence, c.parts)::text)
    INTO records FROM treadle.commands c WHERE c.log_id = log AND c.command_id = ANY (command_ids || rejected);
  IF records IS NOT NULL THEN
    status := 'repeated';
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM treadle.events e WHERE e.log_id = log AND e.sequence > known AND (e.scopes && reads OR '*' = ANY (reads))) THEN
    status := 'conflict';
    RETURN;
  END IF;
  base := l.head;
  INSERT INTO treadle.events (log_id, sequence, append_id, actor, scopes, payload)
    SELECT log, base + u.place, append_id_, session_user, string_to_array(u.scopes, ' '), u.payload
    FROM unnest(payloads, scopes_) WITH ORDINALITY AS u (payload, scopes, place);
  INSERT INTO treadle.commands (log_id, command_id, digest, first_sequence, last_sequence, parts)
    SELECT log, u.command_id, u.digest, base + u.first, base + u.last, u.parts
    FROM unnest(command_ids, digests, firsts, lasts, partss) AS u (command_id, digest, first, last, parts);
  IF cardinality(payloads) > 0 THEN
    UPDATE treadle.logs SET head = base + cardinality(payloads), format = greatest(l.format, needs) WHERE log_id = log;
  END IF;
  status := 'appended';
END $$;

-- Append, see `append`. Events that erase are refused: they are of `erase_v1`.
CREATE FUNCTION treadle.append_v1(
  log uuid, known bigint, mark uuid, format_ int, needs int, append_id_ uuid, reads text[], scopes_ text[], payloads text[],
  command_ids text[], digests text[], firsts int[], lasts int[], partss text[], rejected text[],
  OUT status text, OUT base bigint, OUT sequences bigint[], OUT append_ids uuid[], OUT actors text[], OUT missed text[],
  OUT records text[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (
    SELECT FROM unnest(payloads) AS u (payload) WHERE u.payload ~ '^\{"type":"(ThreadErased|EventsRedacted)"'
  ) THEN
    RAISE insufficient_privilege USING MESSAGE = 'only erase_v1 appends events that erase';
  END IF;
  SELECT a.* INTO status, base, sequences, append_ids, actors, missed, records FROM treadle.append(
    log, known, mark, format_, needs, append_id_, reads, scopes_, payloads, command_ids, digests, firsts, lasts, partss, rejected,
    'write') AS a;
END $$;

-- Append events that erase, and put other payloads in the place of older ones, in one transaction. For members who may erase.
-- erased: the sequences. cleaned: their payloads.
CREATE FUNCTION treadle.erase_v1(
  log uuid, known bigint, mark uuid, format_ int, needs int, append_id_ uuid, reads text[], scopes_ text[], payloads text[],
  command_ids text[], digests text[], firsts int[], lasts int[], partss text[], rejected text[], erased bigint[], cleaned text[],
  OUT status text, OUT base bigint, OUT sequences bigint[], OUT append_ids uuid[], OUT actors text[], OUT missed text[],
  OUT records text[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  SELECT a.* INTO status, base, sequences, append_ids, actors, missed, records FROM treadle.append(
    log, known, mark, format_, needs, append_id_, reads, scopes_, payloads, command_ids, digests, firsts, lasts, partss, rejected,
    'erase') AS a;
  IF status = 'appended' THEN
    UPDATE treadle.events e SET payload = u.payload FROM unnest(erased, cleaned) AS u (sequence, payload)
      WHERE e.log_id = log AND e.sequence = u.sequence AND e.sequence <= base;
    -- The digest of a short text can be guessed.
    UPDATE treadle.commands c SET digest = 'erased' WHERE c.log_id = log AND EXISTS (
      SELECT FROM unnest(erased) AS u (sequence) WHERE u.sequence BETWEEN c.first_sequence AND c.last_sequence);
  END IF;
END $$;

-- The next events after `known`: an empty page if there are none. Raises TR001 if the caller has other events than the log.
CREATE FUNCTION treadle.pull_v1(log uuid, known bigint, mark uuid, how_many int)
RETURNS TABLE (sequence bigint, append_id uuid, actor name, payload text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM treadle.members m WHERE m.log_id = log AND m.role = session_user) THEN
    RAISE insufficient_privilege USING MESSAGE = 'no such log, or this login may not read it';
  END IF;
  IF num_nulls(known, how_many) > 0 OR known < 0 OR how_many < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'an argument is NULL or negative';
  END IF;
  IF NOT treadle.is_prefix(log, known, mark) THEN
    RAISE EXCEPTION 'the log was rewound' USING ERRCODE = 'TR001';
  END IF;
  RETURN QUERY SELECT * FROM treadle.events_after(log, known, least(how_many, 5000));
END $$;

-- Say that a machine is there, for the next 60 seconds, and return all machines. away: seconds since the lease of one ended, 0
-- while it holds.
-- Raises TR002 if another holder has the lease of this machine: its data directory is a copy of the other one's.
CREATE FUNCTION treadle.beat_v1(log uuid, machine text, holder_ uuid, applied_ bigint)
RETURNS TABLE (machine_id text, actor name, applied bigint, seen timestamptz, away float8)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
  IF NOT EXISTS (SELECT FROM treadle.members m WHERE m.log_id = log AND m.role = session_user) THEN
    RAISE insufficient_privilege USING MESSAGE = 'no such log, or this login may not read it';
  END IF;
  INSERT INTO treadle.machines AS m (log_id, machine_id, holder, actor, applied, seen, until)
    VALUES (log, machine, holder_, session_user, applied_, now(), now() + interval '60 seconds')
    ON CONFLICT (log_id, machine_id) DO UPDATE
      SET holder = excluded.holder, actor = excluded.actor, applied = excluded.applied, seen = excluded.seen,
        until = excluded.until
      WHERE m.holder = excluded.holder OR m.until < now();
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another holder has the lease of this machine' USING ERRCODE = 'TR002';
  END IF;
  RETURN QUERY SELECT m.machine_id, m.actor, m.applied, m.seen, greatest(0, extract(epoch FROM now() - m.until)::float8) FROM treadle.machines m
    WHERE m.log_id = log ORDER BY m.machine_id;
END $$;

-- The logs of this login, what it may do, and the version of this schema.
CREATE FUNCTION treadle.logs_v1()
RETURNS TABLE (log_id uuid, name text, head bigint, format int, may text, version int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT l.log_id, l.name, l.head, l.format, m.may, (SELECT max(s.version) FROM treadle.schema_migrations s)
  FROM treadle.members m JOIN treadle.logs l USING (log_id) WHERE m.role = session_user ORDER BY l.name
$$;

-- For the owner: give a role a right, or another one than it had. It must exist.
CREATE FUNCTION treadle.grant_member(log uuid, role_ text, may_ text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  EXECUTE format('GRANT USAGE ON SCHEMA treadle TO %I', role_);
  INSERT INTO treadle.members (log_id, role, may) VALUES (log, role_, may_)
    ON CONFLICT (log_id, role) DO UPDATE SET may = excluded.may;
END $$;

-- For the owner: take the right away; returns whether there was one. A role that has no log left cannot call a function.
CREATE FUNCTION treadle.revoke_member(log uuid, role_ text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was_member boolean;
BEGIN
  DELETE FROM treadle.members m WHERE m.log_id = log AND m.role = role_::name;
  was_member := FOUND;
  IF NOT EXISTS (SELECT FROM treadle.members m WHERE m.role = role_::name)
    AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role_::name)
  THEN
    EXECUTE format('REVOKE USAGE ON SCHEMA treadle FROM %I', role_);
  END IF;
  RETURN was_member;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA treadle FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA treadle FROM PUBLIC;
-- They check the login themselves, and nobody gets at them without USAGE on the schema, which `grant_member` gives.
GRANT EXECUTE ON FUNCTION
  treadle.append_v1(uuid, bigint, uuid, int, int, uuid, text[], text[], text[], text[], text[], int[], int[], text[], text[]),
  treadle.erase_v1(
    uuid, bigint, uuid, int, int, uuid, text[], text[], text[], text[], text[], int[], int[], text[], text[], bigint[], text[]),
  treadle.pull_v1(uuid, bigint, uuid, int),
  treadle.beat_v1(uuid, text, uuid, bigint),
  treadle.logs_v1()
TO PUBLIC;
