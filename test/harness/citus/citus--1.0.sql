-- A stand-in for the extension Citus, for tests: tables and functions with its names and shapes, and its refusals, as far as they
-- matter to whoever keeps pg_dist_node. No query is distributed.
\echo Use "CREATE EXTENSION citus" to load this file. \quit

CREATE SCHEMA citus;
CREATE TYPE citus.noderole AS ENUM ('primary', 'secondary', 'unavailable');
ALTER TYPE citus.noderole SET SCHEMA pg_catalog;

CREATE TABLE citus.pg_dist_node (
  nodeid int PRIMARY KEY,
  groupid int NOT NULL,
  nodename text NOT NULL DEFAULT 'localhost',
  nodeport int NOT NULL DEFAULT 5432,
  noderack text NOT NULL DEFAULT 'default',
  hasmetadata bool NOT NULL DEFAULT false,
  isactive bool NOT NULL DEFAULT true,
  noderole pg_catalog.noderole NOT NULL DEFAULT 'primary',
  nodecluster name NOT NULL DEFAULT 'default',
  metadatasynced boolean DEFAULT false,
  shouldhaveshards bool NOT NULL DEFAULT true,
  UNIQUE (nodename, nodeport)
);
CREATE UNIQUE INDEX one_primary ON citus.pg_dist_node (groupid) WHERE noderole = 'primary';
ALTER TABLE citus.pg_dist_node SET SCHEMA pg_catalog;
CREATE SEQUENCE citus.pg_dist_node_nodeid_seq;

CREATE TABLE citus.pg_dist_authinfo (nodeid int NOT NULL, rolename name NOT NULL, authinfo text NOT NULL);
ALTER TABLE citus.pg_dist_authinfo SET SCHEMA pg_catalog;

-- What was done to the table, in order, committed work only.
CREATE TABLE citus.calls (id serial, call text NOT NULL);

CREATE FUNCTION pg_catalog.citus_add_node(nodename text, nodeport int, groupid int DEFAULT -1, noderole pg_catalog.noderole DEFAULT 'primary',
  nodecluster name DEFAULT 'default') RETURNS int LANGUAGE plpgsql AS $$
DECLARE id int;
BEGIN
  IF current_setting('citus_stand_in.primary_moved', true) = 'yes' THEN
    RAISE EXCEPTION 'localhost is a metadata node, but is out of sync';
  END IF;
  INSERT INTO pg_catalog.pg_dist_node (nodeid, groupid, nodename, nodeport, noderole, nodecluster)
    VALUES (nextval('citus.pg_dist_node_nodeid_seq'), $3, $1, $2, $4, $5) RETURNING nodeid INTO id;
  INSERT INTO citus.calls (call) VALUES (format('add %s:%s to %s as %s', $1, $2, $3, $4));
  RETURN id;
END $$;

-- As Citus: force waits lock_cooldown for queries under way, then ends them.
CREATE FUNCTION pg_catalog.citus_update_node(node_id int, new_node_name text, new_node_port int, force bool DEFAULT false,
  lock_cooldown int DEFAULT 10000) RETURNS void LANGUAGE plpgsql AS $$
DECLARE moved bool;
BEGIN
  IF force THEN
    PERFORM set_config('lock_timeout', lock_cooldown::text, true);
    BEGIN
      LOCK TABLE citus.queries IN EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'citus.queries'::regclass AND granted AND pid <> pg_backend_pid();
      PERFORM set_config('lock_timeout', '0', true);
      LOCK TABLE citus.queries IN EXCLUSIVE MODE;
    END;
    PERFORM set_config('lock_timeout', '0', true);
  END IF;
  UPDATE pg_catalog.pg_dist_node SET nodename = $2, nodeport = $3 WHERE nodeid = $1 RETURNING noderole = 'primary' INTO STRICT moved;
  IF moved THEN PERFORM set_config('citus_stand_in.primary_moved', 'yes', true); END IF;
  INSERT INTO citus.calls (call) VALUES (format('update %s to %s:%s', $1, $2, $3));
END $$;

CREATE FUNCTION pg_catalog.citus_remove_node(nodename text, nodeport int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('citus_stand_in.primary_moved', true) = 'yes' THEN
    RAISE EXCEPTION 'localhost is a metadata node, but is out of sync';
  END IF;
  DELETE FROM pg_catalog.pg_dist_node n WHERE n.nodename = $1 AND n.nodeport = $2;
  IF NOT FOUND THEN RAISE EXCEPTION 'node at "%:%" does not exist', $1, $2; END IF;
  INSERT INTO citus.calls (call) VALUES (format('remove %s:%s', $1, $2));
END $$;

CREATE FUNCTION pg_catalog.citus_set_coordinator_host(host text, port int DEFAULT current_setting('port')::int,
  node_role pg_catalog.noderole DEFAULT 'primary', node_cluster name DEFAULT 'default') RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_catalog.citus_add_node($1, $2, 0, $3, $4);
END $$;

-- A query takes a share of this table for its time: a stand-in for the locks on shards.
CREATE TABLE citus.queries ();

-- A stand-in for a distributed statement: it waits while its group is held, then runs where the group's primary is.
CREATE FUNCTION citus.run_on_group(groupid int, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE node record;
BEGIN
  LOCK TABLE citus.queries IN ROW SHARE MODE;
  SELECT nodename, nodeport INTO STRICT node FROM pg_catalog.pg_dist_node n WHERE n.groupid = $1 AND noderole = 'primary';
  RETURN public.dblink_exec(format('host=%s port=%s dbname=%s user=%s %s', node.nodename, node.nodeport, current_database(), current_user,
    (SELECT authinfo FROM pg_catalog.pg_dist_authinfo LIMIT 1)), statement);
END $$;
