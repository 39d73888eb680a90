// Owns the doctor's look at Consul: whether it answers, and each permission that a node needs, by name, asked of Consul itself. It
// writes nothing there.

import * as v from "valibot";
import { supervisorService } from "../../dcs/cluster-store.ts";
import { ConsulHttp } from "../../dcs/consul/http.ts";
import { serviceName } from "../../dcs/consul/service-entry.ts";
import { clusterKeys } from "../../dcs/keys.ts";
import type { Clock } from "../../model/clock.ts";
import { type Finding, fault, fine, unknown, warning } from "../../model/finding.ts";
import type { ConsulConfig, NodeConfig } from "../../model/node-config.ts";
import { ms } from "../../model/units.ts";

const ANSWERS_WITHIN_MS = 5_000;

/** One permission, in the words of Consul's policies. */
interface Right {
  readonly resource: "key" | "session" | "agent" | "node" | "service";
  readonly access: "read" | "write";
  readonly segment: string;
  /** The line of the policy that grants it. */
  readonly rule: string;
  readonly need: "must" | "should";
  readonly why: string;
}

const AgentSchema = v.object({ Config: v.object({ NodeName: v.string(), Version: v.optional(v.string(), "") }) });
const VerdictsSchema = v.array(v.object({ Allow: v.boolean() }));

/** A Consul that a node uses: as the section of its file that names it. */
interface UsedConsul {
  readonly section: "consul" | "discovery.consul";
  readonly consul: ConsulConfig;
  /** `agent`: the name of the agent's node. */
  readonly rights: (agent: string) => readonly Right[];
}

/** Of a node's configuration: the Consul that its lock is in, and the one of its site, where it has them. */
export async function consulFindings(config: NodeConfig, clock: Clock): Promise<readonly Finding[]> {
  const { consul, discovery } = config;
  const used: UsedConsul[] = [];
  if (consul !== null) used.push({ section: "consul", consul, rights: (agent) => rightsOf(config, agent) });
  if (discovery !== null) {
    const service = discovery.service ?? config.scope;
    used.push({ section: "discovery.consul", consul: discovery.consul, rights: (agent) => discoveryRights(service, agent) });
  }
  return (await Promise.all(used.map((each) => lookAt(each, clock)))).flat();
}

async function lookAt({ section, consul, rights }: UsedConsul, clock: Clock): Promise<readonly Finding[]> {
  let http: ConsulHttp;
  try {
    http = new ConsulHttp(consul, clock);
  } catch (error) {
    return [fault(section, messageOf(error), `name a file that this user can read under ${section}: cacert, cert, key`)];
  }
  try {
    const deadline = () => ms(clock.now() + ANSWERS_WITHIN_MS);
    const leader = await http.request({ method: "GET", path: "/v1/status/leader", deadline: deadline() });
    if (!leader.ok)
      return [
        fault(
          section,
          `${consul.url} does not answer: ${leader.error.reason}`,
          `start the agent, or correct ${section}.host, scheme and certificates`,
        ),
      ];
    if (leader.value.status === 200 && leader.value.text.trim() === '""')
      return [
        fault(
          section,
          "the agent answers, but its servers have no leader",
          "see `consul operator raft list-peers`: a majority has to be there",
        ),
      ];
    const agent = await http.request({ method: "GET", path: "/v1/agent/self", deadline: deadline() });
    const known = agent.ok && agent.value.status === 200 ? v.safeParse(AgentSchema, json(agent.value.text)) : null;
    const node = known?.success ? known.output.Config : null;
    const answers = fine(section, `${consul.url} answers${node === null ? "" : `: agent ${node.NodeName}, version ${node.Version}`}`);
    return [answers, ...(await rightsFindings(http, { section, rights: rights(node?.NodeName ?? "") }, deadline))];
  } finally {
    await http.close();
  }
}

/** What keeping an entry there, and the tags of a leader on one alone, stands on. */
function discoveryRights(service: string, agent: string): readonly Right[] {
  const node = 'node_prefix "" { policy = "read" }';
  const why = "the tags of a former leader are left on its entry until its check fails";
  return [
    serviceRight(service, "this node is not registered"),
    { resource: "node", access: "read", segment: agent, rule: node, need: "should", why },
  ];
}

function serviceRight(service: string, why: string): Right {
  const segment = serviceName(service);
  const rule = `service_prefix "${segment}" { policy = "write" }`;
  return { resource: "service", access: "write", segment, rule, need: "must", why };
}

function rightsOf(config: NodeConfig, agent: string): readonly Right[] {
  const place = clusterKeys({ namespace: config.namespace, scope: config.scope, group: config.citus?.group ?? null });
  const keys = `key_prefix "${place.prefix.slice(0, -1)}" { policy = "write" }`;
  const rights: Right[] = [
    { resource: "key", access: "read", segment: place.prefix, rule: keys, need: "must", why: "nothing of the cluster can be read" },
    { resource: "key", access: "write", segment: place.leader, rule: keys, need: "must", why: "no lock can be taken" },
    {
      resource: "key",
      access: "write",
      segment: place.leaseMark,
      rule: keys,
      need: "must",
      why: "the lease mark beside the cluster's keys cannot be written",
    },
    {
      resource: "session",
      access: "write",
      segment: agent,
      rule: 'session_prefix "" { policy = "write" }',
      need: "must",
      why: "no session can be opened",
    },
    {
      resource: "agent",
      access: "read",
      segment: agent,
      rule: 'agent_prefix "" { policy = "read" }',
      need: "should",
      why: "session_ttl_min is not known, and a ttl below 20 s is not offered",
    },
    {
      resource: "node",
      access: "read",
      segment: agent,
      rule: 'node_prefix "" { policy = "read" }',
      need: "should",
      why: "the catalogue cannot be read",
    },
  ];
  if (config.consul?.registerService === true) rights.push(serviceRight(config.scope, "register_service cannot register"));
  if (config.consul != null && config.consul.sessionCheckTtlMs !== null)
    rights.push(serviceRight(supervisorService(config.scope), "session_check_ttl has no check, and no session is opened"));
  return rights;
}

/** Consul judges the token that the node uses. Source: Consul, agent/acl_endpoint.go (`/v1/internal/acl/authorize`, from 1.7 on). */
async function rightsFindings(
  http: ConsulHttp,
  { section, rights }: { readonly section: UsedConsul["section"]; readonly rights: readonly Right[] },
  deadline: () => ReturnType<typeof ms>,
): Promise<readonly Finding[]> {
  const subject = `${section} acl`;
  const body = JSON.stringify(rights.map(({ resource, access, segment }) => ({ Resource: resource, Access: access, Segment: segment })));
  const answer = await http.request({ method: "POST", path: "/v1/internal/acl/authorize", body, deadline: deadline() });
  if (!answer.ok) return [unknown(subject, `the permissions could not be asked for: ${answer.error.reason}`)];
  const { status, text } = answer.value;
  if (/ACL support disabled/i.test(text)) return [fine(subject, "ACLs are off: everybody may do everything")];
  if (status === 403)
    return [
      fault(
        subject,
        `the token is not known to Consul: ${text.trim()}`,
        `correct ${section}.token (or token_file), or create the token again`,
      ),
    ];
  const verdicts = status === 200 ? v.safeParse(VerdictsSchema, json(text)) : null;
  if (verdicts === null || !verdicts.success || verdicts.output.length !== rights.length)
    return [
      unknown(
        subject,
        `this Consul does not say what the token may do (status ${status})`,
        "hold the token's policy against docs/consul.md",
      ),
    ];
  return rights.map((right, index) => {
    const name = `${right.resource}:${right.access} on "${right.segment}"`;
    if (verdicts.output[index]?.Allow === true) return fine(subject, `${name} is allowed`);
    const fix = `add to the token's policy: ${right.rule}`;
    return (right.need === "must" ? fault : warning)(subject, `${name} is denied: ${right.why}`, fix);
  });
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON is an answer that is not understood; the schema refuses it.
    return null;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
