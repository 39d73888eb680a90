// Owns the bugs that can be planted in the core: each is a change of its source that a check has to find. Applied to a copy of
// the tree by scripts/raft-plants.ts; the tree itself never has them.

import type { Plant } from "./plant.ts";

const CORE = "lib/dcs/raft/core";

export const CORE_PLANTS: readonly Plant[] = [
  {
    name: "vote-not-persisted",
    what: "the vote is kept in memory alone",
    file: `${CORE}/state.ts`,
    find: `  core.outbox.write({ kind: "hard-state", state: { term, votedFor } });`,
    replace: `  if (votedFor === null) core.outbox.write({ kind: "hard-state", state: { term, votedFor } });`,
  },
  {
    name: "term-not-persisted",
    what: "a new term is kept in memory until there is a vote",
    file: `${CORE}/state.ts`,
    find: `  core.outbox.write({ kind: "hard-state", state: { term, votedFor } });`,
    replace: `  if (votedFor !== null) core.outbox.write({ kind: "hard-state", state: { term, votedFor } });`,
  },
  {
    name: "promise-before-sync",
    what: "votes and requests leave before what they promise is durable",
    file: `${CORE}/outbox.ts`,
    find: `    if (sequence <= this.#durable) {`,
    replace: `    if (sequence >= 0) {`,
  },
  {
    name: "acknowledge-before-sync",
    what: "a follower acknowledges entries that are not durable yet",
    file: `${CORE}/following.ts`,
    find: `  const index = logIndex(Math.min(core.matched, core.log.durable));
  const outcome`,
    replace: `  const index = core.matched;
  const outcome`,
  },
  {
    name: "count-self-before-sync",
    what: "a leader counts itself before its own disk has the entry",
    file: `${CORE}/leading.ts`,
    find: `quorumValue(leading.tracked, core.log.durable, durableAt)`,
    replace: `quorumValue(leading.tracked, core.log.lastIndex, durableAt)`,
  },
  {
    name: "own-vote-before-sync",
    what: "a candidate counts its own vote before it is durable",
    file: `${CORE}/election.ts`,
    find: `  if (core.role !== "candidate" || core.votes.has(core.id) || !core.outbox.hasHardStateDurable) return;`,
    replace: `  if (core.role !== "candidate" || core.votes.has(core.id)) return;`,
  },
  {
    name: "commit-old-terms",
    what: "entries of earlier terms are committed by counting (figure 8 of the paper)",
    file: `${CORE}/leading.ts`,
    find: `  if (reached <= core.commit || reached < leading.firstIndex) return;`,
    replace: `  if (reached <= core.commit) return;`,
  },
  {
    name: "truncate-matching-suffix",
    what: "an append truncates what stands behind it although nothing contradicts",
    file: `${CORE}/following.ts`,
    find: `    if (log.termAt(entry.index) === entry.term) return;
`,
    replace: "",
  },
  {
    name: "vote-ignores-log",
    what: "a vote is granted to a candidate with a shorter log",
    file: `${CORE}/election.ts`,
    find: `  return request.lastIndex >= core.log.lastIndex;`,
    replace: `  return request.lastIndex >= 0;`,
  },
  {
    name: "vote-ignores-last-term",
    what: "logs are compared by length alone",
    file: `${CORE}/election.ts`,
    find: `  if (request.lastTerm !== core.log.lastTerm) return request.lastTerm > core.log.lastTerm;
`,
    replace: "",
  },
  {
    name: "vote-twice",
    what: "a second candidate of the same term gets the vote as well",
    file: `${CORE}/election.ts`,
    find: `(asked === core.term && (core.votedFor === null || core.votedFor === candidate));`,
    replace: `asked === core.term;`,
    also: [
      {
        file: `${CORE}/state.ts`,
        find: `  if (term === core.term && core.votedFor !== null && votedFor !== core.votedFor) {
    throw new Error(\`a second vote in term \${term}\`);
  }
`,
        replace: "",
      },
    ],
  },
  {
    name: "uncapped-commit",
    what: "a follower takes the leader's commit index for entries that the leader has not confirmed",
    file: `${CORE}/following.ts`,
    find: `Math.min(append.commit, core.matched)`,
    replace: `Math.min(append.commit, log.lastIndex)`,
    also: [
      {
        file: `${CORE}/following.ts`,
        find: `  if (index <= core.commit) throw new Error(\`entry \${index} is committed and contradicts the leader of term \${core.term}\`);
`,
        replace: "",
      },
    ],
  },
  {
    name: "leader-of-two-terms",
    what: "what a follower knows of a leader outlives that leader's term, where the same member leads the next one",
    scenario: "leader-of-two-terms",
    file: `${CORE}/state.ts`,
    find: `  const sameLeader = leader !== null && leader === core.leader && term === core.term;`,
    replace: `  const sameLeader = leader !== null && leader === core.leader;`,
  },
  {
    name: "stale-acknowledgement",
    what: "a leader takes an acknowledgement of an earlier term for one of its own",
    scenario: "stale-acknowledgement",
    file: `${CORE}/raft.ts`,
    find: `      if (message.term < core.term || core.leading === null) return;`,
    replace: `      if (core.leading === null) return;`,
  },
  {
    name: "heartbeat-matches-anything",
    what: "a heartbeat is taken for a match without a look at the entry before it",
    file: `${CORE}/following.ts`,
    find: `  if (previousTerm !== append.previousTerm) {`,
    replace: `  if (previousTerm !== append.previousTerm && append.entries.length > 0) {`,
  },
  {
    name: "old-sync-covers-new-entries",
    what: "a sync that was under way when entries were replaced makes the new ones durable",
    file: `${CORE}/following.ts`,
    find: `  for (const batch of core.pending) batch.lastIndex = logIndex(Math.min(batch.lastIndex, index - 1));
`,
    replace: "",
  },
  {
    name: "change-without-own-term",
    scenario: "change-before-own-commit",
    what: "single-server changes without a commit of the own term (the bug of 2015)",
    file: `${CORE}/membership.ts`,
    find: `function whyNotNow(core: CoreState, leading: Leading): Refusal | null {
  if (core.commit < leading.firstIndex)`,
    replace: `function whyNotNow(core: CoreState, leading: Leading): Refusal | null {
  if (core.commit < 0)`,
    also: [
      {
        file: `${CORE}/membership.ts`,
        find: `  const wanted = { voters, outgoing: configuration.voters, learners };`,
        replace: `  const wanted = { voters, outgoing: null, learners };`,
      },
      {
        file: `${CORE}/membership.ts`,
        find: `    outgoing: configuration.voters,
    learners: configuration.learners.filter`,
        replace: `    outgoing: null,
    learners: configuration.learners.filter`,
      },
    ],
  },
  {
    name: "joint-counts-new-set-alone",
    what: "while a change is under way the new voters decide alone",
    file: `${CORE}/configuration.ts`,
    find: `  return isMajority(voters, test) && (outgoing === null || isMajority(outgoing, test));`,
    replace: `  return isMajority(voters, test) && (outgoing === null || voters.length > 0);`,
    also: [
      {
        file: `${CORE}/configuration.ts`,
        find: `  return outgoing === null ? reached : Math.min(reached, majorityValue(outgoing, own, reachedBy));`,
        replace: `  return outgoing === null ? reached : Math.min(reached, Number.POSITIVE_INFINITY);`,
      },
    ],
  },
  {
    name: "configuration-survives-truncation",
    what: "a configuration stays in force although its entry was replaced",
    scenario: "change-before-own-commit",
    file: `${CORE}/following.ts`,
    find: `  while (core.configurations.length > 1 && (core.configurations.at(-1)?.index ?? 0) >= index) core.configurations.pop();
`,
    replace: "",
  },
  {
    name: "read-without-quorum",
    what: "a leader answers reads without asking whether it still is one",
    file: `${CORE}/reads.ts`,
    find: `    if (read.round > answered) break;
`,
    replace: "    if (answered < -1) break;\n",
  },
  {
    name: "read-before-own-commit",
    what: "a new leader answers reads before it knows what was committed",
    file: `${CORE}/reads.ts`,
    find: `  if (leading.earlyReads.length === 0 || core.commit < leading.firstIndex) return;`,
    replace: `  if (leading.earlyReads.length === 0) return;`,
  },
  {
    name: "damaged-votes",
    what: "a member with a corrupt log votes",
    file: `${CORE}/election.ts`,
    find: `  return core.health === "whole" && core.receiving?.state !== "installing";`,
    replace: `  return core.receiving?.state !== "installing";`,
  },
  {
    name: "damaged-acknowledges",
    what: "a member with a corrupt log acknowledges as if it were whole",
    file: `${CORE}/following.ts`,
    find: `  const outcome = core.health === "whole" ? "matched" : "damaged";`,
    replace: `  const outcome = core.health === "whole" || core.term > 0 ? "matched" : "damaged";`,
  },
  {
    name: "mended-too-early",
    what: "a corrupt log counts as whole as soon as a leader has sent anything",
    file: `${CORE}/following.ts`,
    find: `  if (Math.min(core.matched, core.log.durable) < repairThrough) return;
`,
    replace: "",
  },
  {
    name: "fence-of-an-earlier-damage",
    what: "a log that was found corrupt again before it was heard of counts as the one that has just been repaired",
    scenario: "corrupt-again-before-an-acknowledgement",
    file: `${CORE}/following.ts`,
    find: `append.repair !== null && append.repair.damage === core.damage ?`,
    replace: `append.repair !== null ?`,
    also: [{ file: `${CORE}/progress.ts`, find: ` || progress.fence?.damage !== damage`, replace: "" }],
  },
  {
    name: "who-leaves-never-stands",
    what: "a leader that is being removed cannot be elected again, although nobody else has the end of that change",
    scenario: "who-leaves-has-the-longest-log",
    file: `${CORE}/state.ts`,
    find: `  return before !== undefined && core.configurationIndex > core.commit && isVoter(before.configuration, core.id);`,
    replace: `  return before !== undefined && core.configurationIndex < 0;`,
  },
  {
    name: "removal-without-a-look",
    what: "a voter is removed although a majority of the others is not well",
    scenario: "removal-beside-a-damaged-log",
    file: `${CORE}/membership.ts`,
    find: `  return isQuorum(wanted, (voter) => canCount(core, leading, voter)) ? wanted : tooFewLeft(core, leading, voters);`,
    replace: `  return isQuorum(wanted, (voter) => canCount(core, leading, voter)) || core.term > 0 ? wanted : tooFewLeft(core, leading, voters);`,
  },
  {
    name: "removal-beside-a-restart",
    what: "a removal counts on a member whose process has ended, by what it said before",
    scenario: "removal-beside-a-restarted-member",
    file: `${CORE}/membership.ts`,
    find: ` || progress.answeredRound <= progress.lostRound`,
    replace: "",
  },
  {
    name: "cluster-time-from-own-clock",
    what: "cluster time is the leader's own clock",
    file: `${CORE}/leading.ts`,
    find: `  return Math.max(core.log.lastTime, leading.timeBase + (core.now - leading.timeSince));`,
    replace: `  return core.now;`,
  },
  {
    name: "cluster-time-heard-twice",
    what: "a new leader adds what it heard of cluster time to what the log says",
    file: `${CORE}/leading.ts`,
    find: `    timeBase: timeFound(core),`,
    replace: `    timeBase: timeFound(core) + (core.heard?.time ?? 0),`,
  },
  {
    name: "cluster-time-of-another-leader",
    what: "a new leader goes on from what any leader said of cluster time, also one that did not write its log",
    scenario: "cluster-time-of-another-leader",
    file: `${CORE}/leading.ts`,
    find: `heard !== null && heard.term === log.lastTerm ?`,
    replace: `heard !== null ?`,
  },
  {
    name: "cluster-time-runs-on",
    what: "cluster time counts the leader's whole uptime, not its term",
    file: `${CORE}/leading.ts`,
    find: `  return Math.max(core.log.lastTime, leading.timeBase + (core.now - leading.timeSince));`,
    replace: `  return Math.max(core.log.lastTime, leading.timeBase + (core.now - core.startedAt));`,
    also: [
      {
        file: `${CORE}/state.ts`,
        find: `  readonly id: MemberId;
  readonly timings: RaftTimings;
  readonly random`,
        replace: `  readonly id: MemberId;
  startedAt = 0;
  readonly timings: RaftTimings;
  readonly random`,
      },
      {
        file: `${CORE}/state.ts`,
        find: `    this.now = start.now;`,
        replace: `    this.now = start.now;
    this.startedAt = start.now;`,
      },
    ],
  },
  {
    name: "snapshot-keeps-another-history",
    what: "an installed snapshot leaves entries behind it that tell another history",
    scenario: "snapshot-over-another-history",
    file: `${CORE}/snapshots.ts`,
    find: `  if (log.termAt(meta.index) === meta.term) {`,
    replace: `  if (log.termAt(meta.index) !== null) {`,
  },
  {
    name: "learners-count",
    what: "members that do not vote count for commits",
    file: `${CORE}/progress.ts`,
    find: `  const voters = configuration.voters.map(progressOf);`,
    replace: `  const voters = [...configuration.voters, ...configuration.learners].map(progressOf);`,
    also: [
      {
        file: `${CORE}/configuration.ts`,
        find: `const DESCENDING = new Float64Array(VOTERS_MAX);`,
        replace: `const DESCENDING = new Float64Array(VOTERS_MAX + LEARNERS_MAX);`,
      },
    ],
  },
];
