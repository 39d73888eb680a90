// Owns the leader's word in the catalogue of all nodes: whose entries carry the tags of a leader. An entry that a dead or cut-off
// leader left behind cannot be changed at its own agent, but its tags can be overridden in the catalogue (EnableTagOverride).

import * as v from "valibot";
import type { StoreError } from "../../model/errors.ts";
import { err, ok, type Result } from "../../model/result.ts";
import type { RequestOptions } from "../store.ts";
import { noAnswerError, parseJson, statusError, unreadable } from "./answers.ts";
import type { ConsulHttp } from "./http.ts";
import { CLUSTER_META, LEADER_TAGS, REPLICA_TAGS, roleWord, type ServiceDefinition } from "./service-entry.ts";

/**
 * `there`: our entry has its tags, and no other has a leader's. `absent`: our agent has not told the servers of it yet.
 * `unseen`: the same of what could be seen; these datacenters could not.
 */
export type Standing =
  | { readonly kind: "unseen"; readonly datacenters: readonly string[] }
  | { readonly kind: "there" }
  | { readonly kind: "absent" }
  | { readonly kind: "corrected"; readonly ids: readonly string[] }
  | { readonly kind: "not-leading" };

export interface LeaderEntryOptions extends RequestOptions {
  /** Asked at the last moment: the entries of others are touched by the holder of the lock alone. */
  readonly mayCorrect: () => boolean;
  /**
   * `all`: entries of the service in every datacenter that the agent's servers know. A standby cluster may stand there under the same
   * name: a primary then leaves the entries of standby leaders alone, and a standby leader those of primaries and of other datacenters.
   */
  readonly datacenters: "own" | "all";
  /** Whether an entry of this ID that does not say of which cluster it is (a Patroni's) is of ours. */
  readonly isMember: (id: string) => boolean;
}

const CatalogueEntry = v.looseObject({
  Node: v.string(),
  ServiceID: v.string(),
  ServiceName: v.string(),
  ServiceTags: v.nullish(v.array(v.string()), []),
  ServiceAddress: v.string(),
  ServicePort: v.number(),
  ServiceMeta: v.nullish(v.record(v.string(), v.string()), {}),
  ServiceWeights: v.optional(v.unknown()),
  ServiceEnableTagOverride: v.boolean(),
  ModifyIndex: v.number(),
});
type CatalogueEntry = v.InferOutput<typeof CatalogueEntry>;

const STANDBY_LEADER_TAG = roleWord("standby_leader");

/** A transaction of Consul takes 64 operations; more leaders than that nobody has left behind. */
const CORRECTIONS_MAX = 32;
/** Each costs a request at every change of leader. */
const DATACENTERS_MAX = 16;

/**
 * Looks whether `own`, a leader's entry, is the only one of its service with the tags of a leader, and makes it so: the others' are
 * taken from them, ours are put back where they were overridden, and those of a former role of ours end. Each correction counts only
 * where the entry is still as it was read. One request, two where there is something to correct; two more, and as many for each, with
 * other datacenters. Errors: unavailable, unknown-outcome, rejected, condition-failed.
 */
export async function leaderEntryStands(
  http: ConsulHttp,
  own: ServiceDefinition,
  options: LeaderEntryOptions,
): Promise<Result<Standing, StoreError>> {
  const listed = await entriesOf(http, own.Name, undefined, options);
  if (!listed.ok) return listed;
  const isThere = listed.value.some((entry) => entry.ServiceID === own.ID && isOfCluster(entry, own));
  if (!isThere) return ok({ kind: "absent" });
  const here = await correct(http, correctionsOf(listed.value, own, options), undefined, options);
  if (!here.ok || here.value.kind === "not-leading" || options.datacenters === "own" || isStandby(own.Tags)) return here;
  return await elsewhere(http, own, here.value, options);
}

/** What is silent there is told, and does not hold up the rest. */
async function elsewhere(
  http: ConsulHttp,
  own: ServiceDefinition,
  here: Standing,
  options: LeaderEntryOptions,
): Promise<Result<Standing, StoreError>> {
  const others = await otherDatacenters(http, options);
  if (!others.ok) return others;
  const results = await Promise.all(
    others.value.map(async (dc) => {
      const listed = await entriesOf(http, own.Name, dc, options);
      return listed.ok ? await correct(http, correctionsOf(listed.value, { ...own, ID: "" }, options), dc, options) : listed;
    }),
  );
  if (results.some((result) => result.ok && result.value.kind === "not-leading")) return ok({ kind: "not-leading" });
  const unseen = others.value.filter((_, index) => results[index]?.ok === false);
  if (unseen.length > 0) return ok({ kind: "unseen", datacenters: unseen });
  const standings = [here, ...results.flatMap((result) => (result.ok ? [result.value] : []))];
  const ids = standings.flatMap((standing) => (standing.kind === "corrected" ? standing.ids : []));
  return ok(ids.length === 0 ? { kind: "there" } : { kind: "corrected", ids });
}

async function otherDatacenters(http: ConsulHttp, { deadline }: RequestOptions): Promise<Result<readonly string[], StoreError>> {
  const [self, all] = await Promise.all([
    http.request({ method: "GET", path: "/v1/agent/self", deadline }),
    http.request({ method: "GET", path: "/v1/catalog/datacenters", deadline }),
  ]);
  for (const answer of [self, all]) {
    if (!answer.ok) return err(noAnswerError(answer.error, "read"));
    if (answer.value.status !== 200) return err(statusError(answer.value, "read"));
  }
  const own = self.ok ? parseJson(OwnDatacenter, self.value.text) : null;
  const names = all.ok ? parseJson(v.array(v.string()), all.value.text) : null;
  if (own === null || names === null) return err(unreadable("the datacenters were listed", "read"));
  return ok(names.filter((name) => name !== own.Config.Datacenter).slice(0, DATACENTERS_MAX));
}

const OwnDatacenter = v.object({ Config: v.object({ Datacenter: v.string() }) });

async function entriesOf(
  http: ConsulHttp,
  service: string,
  dc: string | undefined,
  { deadline }: RequestOptions,
): Promise<Result<readonly CatalogueEntry[], StoreError>> {
  const path = `/v1/catalog/service/${encodeURIComponent(service)}`;
  const answer = await http.request({ method: "GET", path, query: { consistent: "", dc }, deadline });
  if (!answer.ok) return err(noAnswerError(answer.error, "read"));
  if (answer.value.status !== 200) return err(statusError(answer.value, "read"));
  const entries = parseJson(v.array(CatalogueEntry), answer.value.text);
  return entries === null ? err(unreadable("the catalogue was listed", "read")) : ok(entries);
}

export interface Correction {
  readonly entry: CatalogueEntry;
  readonly tags: readonly string[];
}

/**
 * Entries of other clusters are not ours to touch, whatever their name. Entries that somebody registered without EnableTagOverride are
 * their agents' own: what is overridden there does not last.
 */
export function correctionsOf(
  entries: readonly CatalogueEntry[],
  own: Pick<ServiceDefinition, "ID" | "Tags" | "Meta">,
  { datacenters, isMember }: Pick<LeaderEntryOptions, "datacenters" | "isMember">,
): readonly Correction[] {
  const corrections = entries.flatMap((entry): readonly Correction[] => {
    const tags = entry.ServiceTags ?? [];
    if (!isOfCluster(entry, own) && (hasIdentity(entry) || !isMember(entry.ServiceID))) return [];
    if (entry.ServiceID === own.ID && isOfCluster(entry, own)) {
      const isTold = own.Tags.every((tag) => tags.includes(tag) || !LEADER_TAGS.has(tag));
      const foreign = tags.filter((tag) => !own.Tags.includes(tag));
      // Those of a former role: what is written here the agent takes over, and would keep for good.
      const added = foreign.filter((tag) => !LEADER_TAGS.has(tag) && !REPLICA_TAGS.has(tag));
      return isTold && added.length === foreign.length ? [] : [{ entry, tags: [...added, ...own.Tags] }];
    }
    if (datacenters === "all" && isStandby(tags) !== isStandby(own.Tags)) return [];
    if (!entry.ServiceEnableTagOverride || !tags.some((tag) => LEADER_TAGS.has(tag))) return [];
    return [{ entry, tags: tags.filter((tag) => !LEADER_TAGS.has(tag)) }];
  });
  return corrections.slice(0, CORRECTIONS_MAX);
}

function hasIdentity({ ServiceMeta }: CatalogueEntry): boolean {
  return ServiceMeta?.[CLUSTER_META] !== undefined;
}

function isOfCluster({ ServiceMeta }: CatalogueEntry, own: Pick<ServiceDefinition, "Meta">): boolean {
  return ServiceMeta?.[CLUSTER_META] === own.Meta[CLUSTER_META];
}

function isStandby(tags: readonly string[]): boolean {
  return tags.includes(STANDBY_LEADER_TAG);
}

async function correct(
  http: ConsulHttp,
  corrections: readonly Correction[],
  dc: string | undefined,
  { deadline, mayCorrect }: LeaderEntryOptions,
): Promise<Result<Standing, StoreError>> {
  if (corrections.length === 0) return ok({ kind: "there" });
  if (!mayCorrect()) return ok({ kind: "not-leading" });
  const body = JSON.stringify(corrections.map(({ entry, tags }) => ({ Service: operationOf(entry, tags) })));
  const answer = await http.request({ method: "PUT", path: "/v1/txn", query: { dc }, body, deadline });
  if (!answer.ok) return err(noAnswerError(answer.error, "write"));
  // Somebody changed an entry since it was read: whoever looks next sees what is left to do.
  if (answer.value.status === 409 && /index is stale/.test(answer.value.text)) return err({ kind: "condition-failed" });
  if (answer.value.status !== 200) return err(statusError(answer.value, "write"));
  return ok({ kind: "corrected", ids: corrections.map(({ entry }) => entry.ServiceID) });
}

/** A compare-and-set: an entry that is gone since is not made anew. */
function operationOf(entry: CatalogueEntry, tags: readonly string[]): Readonly<Record<string, unknown>> {
  return {
    Verb: "cas",
    Node: entry.Node,
    Service: {
      ID: entry.ServiceID,
      Service: entry.ServiceName,
      Tags: tags,
      Address: entry.ServiceAddress,
      Port: entry.ServicePort,
      Meta: entry.ServiceMeta ?? {},
      Weights: entry.ServiceWeights,
      EnableTagOverride: true,
      ModifyIndex: entry.ModifyIndex,
    },
  };
}
