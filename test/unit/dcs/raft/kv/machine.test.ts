// Owns the cases on what single commands do; the model (machine-model.test.ts) has the rest.

import { describe, expect, test } from "bun:test";
import { ms } from "../../../../../lib/model/units.ts";
import { LogDriver } from "./log-driver.ts";

const SESSION = { kind: "open-session", id: "s1", name: "test", ttl: ms(1_000), place: null } as const;

describe("exactly once", () => {
  test("a repeated request gets the first answer and is not applied again", () => {
    const log = new LogDriver();
    const client = log.client();
    const command = { kind: "change", changes: [{ kind: "put", key: "k", value: "1", condition: { kind: "absent" } }] } as const;
    const first = client.repeat(command, 1);
    expect(first.ok).toBe(true);
    expect(client.repeat(command, 1)).toEqual(first);
    expect(log.machine.revision as number).toBe(1);
  });

  test("two registrations of one name are two clients", () => {
    const log = new LogDriver();
    expect(log.client("same").id).not.toBe(log.client("same").id);
  });
});

describe("sessions", () => {
  test("an expiry applies only at the deadline and with the renewal that it saw", () => {
    const log = new LogDriver();
    const client = log.client();
    client.send(SESSION);
    const refused = { ok: false, error: { kind: "condition-failed" } };
    log.time += 999;
    expect(log.own({ kind: "expire-session", id: "s1", renewal: 1 })).toEqual(refused as never);
    client.send({ kind: "renew-session", id: "s1" });
    log.time += 5_000;
    expect(log.own({ kind: "expire-session", id: "s1", renewal: 1 })).toEqual(refused as never);
    expect(log.machine.dueExpiries(log.time)).toEqual([{ kind: "expire-session", id: "s1", renewal: 2 }]);
    expect(log.own({ kind: "expire-session", id: "s1", renewal: 2 }).ok).toBe(true);
    expect(log.machine.nextExpiryAt).toBeNull();
  });
});
