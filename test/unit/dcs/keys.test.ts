// Goal: the key layout is the one that Patroni's tools expect. Method: examples.

import { expect, test } from "bun:test";
import { clusterKeys, groupKeys, memberKey, placeOf } from "../../../lib/dcs/keys.ts";

test("keys stand below namespace and scope, without a slash in front; the lease mark beside them", () => {
  const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
  expect(keys.leader).toBe("service/demo/leader");
  expect(memberKey(keys, "node1")).toBe("service/demo/members/node1");
  expect(keys.leaseMark).toBe("service/demo.lease");
  expect(keys.leaseMark.startsWith(keys.prefix)).toBe(false);
});

test("a group adds its number, and a tool finds the same keys from the scope", () => {
  const keys = clusterKeys({ namespace: "service", scope: "demo", group: 0 });
  expect(keys.prefix).toBe("service/demo/0/");
  expect(keys.leaseMark).toBe("service/demo/0.lease");
  expect(groupKeys(clusterKeys({ namespace: "service", scope: "demo", group: null }), "0")).toEqual(keys);
});

test("an empty namespace leaves no slash in front", () => {
  expect(clusterKeys({ namespace: "", scope: "demo", group: null }).config).toBe("demo/config");
});

test("a key is a member's, a group's, or plain; what is nested below members is nobody's", () => {
  const keys = clusterKeys({ namespace: "service", scope: "demo", group: null });
  expect(placeOf(keys, "service/demo/members/a b")).toEqual({ kind: "member", name: "a b" });
  expect(placeOf(keys, "service/demo/members/a/b")).toBeNull();
  expect(placeOf(keys, "service/demo/members/")).toBeNull();
  expect(placeOf(keys, "service/demo/12/leader")).toEqual({ kind: "group", group: "12" });
  expect(placeOf(keys, "service/demo/0.lease")).toEqual({ kind: "plain", name: "0.lease" });
  expect(placeOf(keys, "service/demo/optime/leader")).toEqual({ kind: "plain", name: "optime/leader" });
});
