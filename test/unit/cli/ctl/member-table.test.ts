// What ctl's listings look like, held against recordings of patronictl 4.1.5.

import { describe, expect, test } from "bun:test";
import { type ListedCluster, type ListedMember, memberListing, treeOrder } from "../../../../lib/cli/ctl/member-table.ts";

const plain = { format: "pretty", extended: false, names: "plain" } as const;

const leader: ListedMember = { name: "node1", role: "leader", state: "running", host: "127.0.0.1", port: 19001, timeline: 1 };
const streaming = { role: "replica", state: "streaming", host: "127.0.0.1", timeline: 1, receive_lag: 0n, replay_lag: 0n } as const;
const node2: ListedMember = {
  ...streaming,
  name: "node2",
  port: 19002,
  receive_lsn: "0/4000000",
  replay_lsn: "0/4000000",
  tags: { clonefrom: true },
};
const node3: ListedMember = { ...streaming, name: "node3", port: 19003, receive_lsn: "0/4000000", replay_lsn: "0/4000000" };
const demo: ListedCluster = { scope: "demo", systemIdentifier: "7710744159307945845", group: null, members: [leader, node2, node3] };

describe("the table", () => {
  test("has patronictl's columns, title and widths", () => {
    expect(memberListing([demo], plain)).toBe(
      `
+ Cluster: demo (7710744159307945845) -----------+----+-------------+-----+------------+-----+-----------------+
| Member | Host            | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Tags            |
+--------+-----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+
| node1  | 127.0.0.1:19001 | Leader  | running   |  1 |             |     |            |     |                 |
| node2  | 127.0.0.1:19002 | Replica | streaming |  1 |   0/4000000 |   0 |  0/4000000 |   0 | clonefrom: true |
| node3  | 127.0.0.1:19003 | Replica | streaming |  1 |   0/4000000 |   0 |  0/4000000 |   0 |                 |
+--------+-----------------+---------+-----------+----+-------------+-----+------------+-----+-----------------+
`.slice(1),
    );
  });

  test("as a tree, tags stand in one line and names below their source", () => {
    const members = treeOrder(demo.members);
    expect(memberListing([{ ...demo, members }], { ...plain, names: "tree" })).toBe(
      `
+ Cluster: demo (7710744159307945845) +-----------+----+-------------+-----+------------+-----+-------------------+
| Member  | Host            | Role    | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Tags              |
+---------+-----------------+---------+-----------+----+-------------+-----+------------+-----+-------------------+
| node1   | 127.0.0.1:19001 | Leader  | running   |  1 |             |     |            |     |                   |
| + node2 | 127.0.0.1:19002 | Replica | streaming |  1 |   0/4000000 |   0 |  0/4000000 |   0 | {clonefrom: true} |
| + node3 | 127.0.0.1:19003 | Replica | streaming |  1 |   0/4000000 |   0 |  0/4000000 |   0 |                   |
+---------+-----------------+---------+-----------+----+-------------+-----+------------+-----+-------------------+
`.slice(1),
    );
  });

  test("rules off every row where a cell has two lines", () => {
    const reason = {
      max_connections: { old_value: "50", new_value: "60" },
      wal_level: { old_value: "replica", new_value: "logical" },
    };
    const text = memberListing(
      [{ ...demo, members: [{ ...leader, pending_restart: true, pending_restart_reason: reason }, node3] }],
      plain,
    );
    expect(text.split("\n").filter((line) => line.startsWith("+"))).toHaveLength(4);
    expect(text).toContain("| *               | max_connections: 50->60     |");
    expect(text).toContain("|                 | wal_level: replica->logical |");
  });

  test("leaves the port out where everybody has PostgreSQL's own and a host of his own", () => {
    const members = [
      { ...leader, host: "10.0.0.1", port: 5432 },
      { ...node3, host: "10.0.0.2", port: 5432 },
    ];
    expect(memberListing([{ ...demo, members }], plain)).toContain("| node1  | 10.0.0.1 |");
    const shared = members.map((member) => ({ ...member, host: "10.0.0.1" }));
    expect(memberListing([{ ...demo, members: shared }], plain)).toContain("| node1  | 10.0.0.1:5432 |");
    expect(memberListing([{ ...demo, members: [{ name: "q", role: "replica", state: "running" }] }], plain)).toContain("| q      |      |");
  });

  test("says below that the cluster is paused, and what is scheduled", () => {
    const text = memberListing(
      [{ ...demo, pause: true, scheduled_switchover: { at: "2026-11-21T22:46:03+00:00", from: "node2", to: "a" } }],
      plain,
    );
    expect(text.split("\n").slice(-5)).toEqual([
      " Maintenance mode: on",
      " Switchover scheduled at: 2026-11-21T22:46:03+00:00",
      "                    from: node2",
      "                      to: a",
      "",
    ]);
  });

  test("names a cluster whose identifier is not known, and cuts a title that does not fit", () => {
    expect(memberListing([{ ...demo, systemIdentifier: null, members: [] }], plain)).toStartWith("+ Cluster: demo (uninitialized) --");
    expect(memberListing([{ ...demo, systemIdentifier: "", members: [] }], plain)).toStartWith("+ Cluster: demo (initializing) +--");
    const [top, heads] = memberListing([{ ...demo, scope: "long".repeat(40), members: [] }], plain).split("\n");
    expect(top?.length).toBe(heads?.length ?? 0);
  });

  test("shows the groups of an MPP cluster in one table", () => {
    const text = memberListing(
      [
        { ...demo, group: 0, members: [leader] },
        { ...demo, group: 1, members: [leader], pause: true },
      ],
      plain,
    );
    expect(text).toStartWith("+ Citus cluster: demo -");
    expect(text).toContain("| Group | Member |");
    expect(text).toContain("|     1 | node1  |");
    expect(text).toEndWith("Citus group: 1\n Maintenance mode: on\n");
    expect(memberListing([{ ...demo, group: 1 }], plain)).toStartWith("+ Citus cluster: demo (group: 1, 7710744159307945845) ");
  });

  test("extended, all columns are there", () => {
    expect(memberListing([{ ...demo, members: [leader] }], { ...plain, extended: true })).toContain(
      "| Pending restart | Pending restart reason | Scheduled restart | Tags |",
    );
  });
});

describe("machine formats", () => {
  const two = { ...demo, members: [leader, node2] };

  test("JSON leaves empty cells out and keeps the types", () => {
    expect(memberListing([two], { ...plain, format: "json" })).toBe(
      '[{"Cluster": "demo", "Member": "node1", "Host": "127.0.0.1:19001", "Role": "Leader", "State": "running", "TL": 1}, {"Cluster": "demo", "Member": "node2", "Host": "127.0.0.1:19002", "Role": "Replica", "State": "streaming", "TL": 1, "Receive LSN": "0/4000000", "Receive Lag": 0, "Replay LSN": "0/4000000", "Replay Lag": 0, "Tags": {"clonefrom": true}}]\n',
    );
  });

  test("TSV has one line for each member and a cell for each column", () => {
    expect(memberListing([two], { ...plain, format: "tsv" })).toBe(
      [
        "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tTags",
        "demo\tnode1\t127.0.0.1:19001\tLeader\trunning\t1\t\t\t\t\t",
        "demo\tnode2\t127.0.0.1:19002\tReplica\tstreaming\t1\t0/4000000\t0\t0/4000000\t0\t{clonefrom: true}",
        "",
      ].join("\n"),
    );
  });

  test("YAML sorts its keys", () => {
    expect(memberListing([two], { ...plain, format: "yaml" })).toStartWith(
      "- Cluster: demo\n  Host: 127.0.0.1:19001\n  Member: node1\n  Role: Leader\n  State: running\n  TL: 1\n- Cluster: demo\n",
    );
  });

  test.each([
    [0n, 0],
    [1_500_000n, 1],
    [1_997_152n, 2],
    [293n * 1_048_576n + 5n, 293],
  ])("a lag of %p bytes is %p MB", (bytes, megabytes) => {
    const [row] = JSON.parse(memberListing([{ ...demo, members: [{ ...node2, replay_lag: bytes }] }], { ...plain, format: "json" })) as [
      Record<string, unknown>,
    ];
    expect(row["Replay Lag"]).toBe(megabytes);
  });

  test("a lag that is not known is empty, beside a position that says so", () => {
    const unknown = { ...node2, replay_lsn: "unknown", replay_lag: "unknown" };
    const [row] = JSON.parse(memberListing([{ ...demo, members: [unknown] }], { ...plain, format: "json" })) as [Record<string, unknown>];
    expect([row["Replay LSN"], row["Replay Lag"]]).toEqual(["unknown", undefined]);
  });
});

describe("the tree", () => {
  const member = (name: string, replicatefrom?: string): ListedMember => ({
    name,
    role: name === "a" ? "leader" : "replica",
    state: "running",
    ...(replicatefrom === undefined ? {} : { tags: { replicatefrom } }),
  });
  const names = (members: readonly ListedMember[]) => treeOrder(members).map(({ name }) => name);

  test("goes down along replicatefrom; a source that is not there counts as the leader", () => {
    expect(names([member("a"), member("b"), member("c", "b"), member("d", "gone"), member("f", "c")])).toEqual([
      "a",
      "+ b",
      "  + c",
      "    + f",
      "+ d",
    ]);
  });

  test("without a leader everybody stands at its edge, and a circle loses nobody", () => {
    expect(names([member("x"), member("y", "y"), member("z", "gone")])).toEqual(["+ x", "+ y", "+ z"]);
    expect(names([member("a"), member("p", "q"), member("q", "p")])).toEqual(["a", "+ p", "  + q"]);
  });
});
