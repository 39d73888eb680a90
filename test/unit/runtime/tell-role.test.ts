// Goal: callbacks hear of a PostgreSQL that ran before its supervisor did, once, and of no other by that way.
// Method: real state; PostgreSQL is facts that the test sets.

import { expect, test } from "bun:test";
import { tellAdopted, tellStarted } from "../../../lib/runtime/tell-role.ts";
import { Bench, RUNNING } from "./fenced-node.ts";

async function given(role: "primary" | "replica") {
  const node = await new Bench().node(role);
  const told: string[] = [];
  node.postgres.callback = (action, as) => void told.push(`${action} ${as}`);
  return { node, told };
}

test("a server that is taken over as it is is told by on_start, once", async () => {
  for (const role of ["primary", "replica"] as const) {
    const { node, told } = await given(role);
    for (let cycle = 0; cycle < 3; cycle++) tellAdopted(node);
    expect(told).toEqual([`on_start ${role}`]);
  }
});

test("not before it answers, and not where this process started it", async () => {
  const { node, told } = await given("replica");
  const { status } = node.state.local;
  Object.assign(node.state.local, { status: null });
  tellAdopted(node);
  Object.assign(node.state.local, { status, process: { kind: "none" } });
  tellAdopted(node);
  expect(told).toEqual([]);
  Object.assign(node.state.local, { process: RUNNING });
  tellStarted(node, "replica");
  tellAdopted(node);
  expect(told).toEqual(["on_start replica"]);
});
