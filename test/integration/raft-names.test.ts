// Goal: a member that is known by a name is found again when the name means another address.
// Method: three members, each in a mount namespace with an /etc/hosts of its own; one of them moves to another loopback address
// and cannot resolve the others' names itself, so that only they can connect to it.

import { afterAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { askEveryone, statusesOf } from "../../lib/cli/raft/conversation.ts";
import { openMembersLink } from "../../lib/cli/raft/members-link.ts";
import type { RaftStatus } from "../../lib/dcs/raft/kv/client-protocol.ts";
import { ms } from "../../lib/model/units.ts";
import { realClock } from "../../lib/runtime/clock.ts";
import { serverPorts } from "../harness/ports.ts";
import { RaftProcess } from "../harness/raft-processes.ts";
import { recordingLog } from "../harness/recording-log.ts";
import { raftClient } from "../harness/store-sight.ts";
import { until } from "../harness/wait.ts";

/** Runs a command with the given file as /etc/hosts. */
const withHosts = (file: string): readonly string[] => [
  ...["unshare", "--mount", "--propagation", "private", "sh", "-c"],
  `mount --bind '${file}' /etc/hosts && exec "$@"`,
  "sh",
];

const folder = mkdtempSync(join(tmpdir(), "raft-names-"));
const members: RaftProcess[] = [];
afterAll(async () => {
  await Promise.all(members.map((member) => member.kill()));
  rmSync(folder, { recursive: true, force: true });
});

function whyNoHosts(): string | null {
  const tried = spawnSync("unshare", withHosts("/etc/hosts").slice(1).concat("true"), { encoding: "utf8" });
  return tried.status === 0 ? null : `no mount namespace: ${tried.error?.message ?? tried.stderr.trim()}`;
}

const reason = whyNoHosts();
if (reason !== null) console.log(`skipped: ${reason}`);

test.skipIf(reason !== null)(
  "a member whose name has got another address is connected to again by the others, and follows",
  async () => {
    const ports = await serverPorts(3);
    const names = ["first", "second", "third"] as const;
    const addressOf = (index: number): string => `${names[index]}.raft.test:${ports[index]}`;
    const hosts = (of: number, lines: readonly (readonly [string, number])[]): void =>
      writeFileSync(join(folder, `hosts${of}`), `${lines.map(([ip, index]) => `${ip} ${names[index]}.raft.test`).join("\n")}\n`);
    for (const index of names.keys()) {
      hosts(index, [
        ["127.0.0.1", 0],
        ["127.0.0.1", 1],
        ["127.0.0.1", 2],
      ]);
      const partners = () => [0, 1, 2].filter((other) => other !== index).map(addressOf);
      const prefix = withHosts(join(folder, `hosts${index}`));
      members.push(new RaftProcess({ address: addressOf(index), folder: join(folder, `member${index}`), partners, prefix }));
    }
    const boundTo = (ip: string, index: number) => ({ PATRONI_RAFT_BIND_ADDR: `${ip}:${ports[index]}` });
    members.forEach((member, index) => {
      member.start(boundTo("127.0.0.1", index));
    });
    await until("three serve", async () => (await look("127.0.0.1", ports)).filter(isFollowed).length === 3, { withinMs: 20_000 });
    const third = members[2] as RaftProcess;
    await third.kill();
    for (const index of [0, 1])
      hosts(index, [
        ["127.0.0.1", 0],
        ["127.0.0.1", 1],
        ["127.0.0.2", 2],
      ]);
    hosts(2, [["127.0.0.2", 2]]);
    third.start(boundTo("127.0.0.2", 2));
    const moved = await until(
      "the third has a leader and all that it confirmed",
      async () => {
        const [own] = await look("127.0.0.2", ports.slice(2));
        const leader = (await look("127.0.0.1", ports.slice(0, 2))).find(({ role }) => role === "leader");
        return own !== undefined && leader !== undefined && own.leader?.id === leader.member.id && own.applied >= leader.commit
          ? own
          : null;
      },
      { withinMs: 15_000 },
    );
    expect(moved.member.address).toBe(addressOf(2));
    expect(third.log).toContain(`${names[0]}.raft.test cannot be resolved`);
  },
  60_000,
);

function isFollowed({ state, leader }: RaftStatus): boolean {
  return state === "serving" && leader !== null;
}

/** What the members at these ports of one address say of themselves. */
async function look(host: string, ports: readonly number[]): Promise<readonly RaftStatus[]> {
  const link = openMembersLink(raftClient(ports.map((raftPort) => ({ host, raftPort }))), { clock: realClock(), log: recordingLog() });
  if (!link.ok) throw new Error(link.error.message);
  try {
    const deadline = ms(realClock().now() + 2_000);
    return statusesOf(
      await askEveryone(
        link.value,
        ports.map((port) => `${host}:${port}`),
        deadline,
      ),
    );
  } finally {
    await link.value.close();
  }
}
