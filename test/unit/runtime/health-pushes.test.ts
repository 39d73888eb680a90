import { expect, test } from "bun:test";
import { ms } from "../../../lib/model/units.ts";
import { HealthPushes } from "../../../lib/runtime/health-pushes.ts";
import { ManualClock } from "../dcs/manual-clock.ts";

function pushes() {
  const clock = new ManualClock();
  const pushed: string[] = [];
  const failures: string[] = [];
  let answer: string | null = null;
  const subject = new HealthPushes<string>({
    clock,
    push: async (role) => {
      pushed.push(role);
      return answer;
    },
    onFailure: (reason) => failures.push(reason),
  });
  const pass = (time: number) => clock.advance(time);
  return { subject, pushed, failures, pass, answers: (next: string | null) => (answer = next) };
}

test("a health is told at once and then as often as is asked for, each new role at once, until nobody wants it", async () => {
  const { subject, pushed, pass } = pushes();
  subject.follow("replica", ms(1000));
  await pass(0);
  expect(pushed).toEqual(["replica"]);
  await pass(999);
  expect(pushed).toHaveLength(1);
  await pass(1);
  expect(pushed).toHaveLength(2);
  subject.follow("primary", ms(1000));
  await pass(0);
  expect(pushed).toEqual(["replica", "replica", "primary"]);
  subject.follow("primary", ms(1000));
  await pass(999);
  expect(pushed).toHaveLength(3);
  await pass(1);
  expect(pushed.slice(3)).toEqual(["primary"]);
  subject.follow(null, ms(1000));
  await pass(5000);
  expect(pushed).toHaveLength(4);
  subject.follow("replica", ms(200));
  await pass(0);
  await pass(200);
  expect(pushed.slice(4)).toEqual(["replica", "replica"]);
  await subject.stop();
  await pass(5000);
  expect(pushed).toHaveLength(6);
});

test("a failure is told once for each reason, and again after a push that succeeded", async () => {
  const { subject, failures, pass, answers } = pushes();
  answers("no agent");
  subject.follow("replica", ms(100));
  await pass(0);
  await pass(100);
  expect(failures).toEqual(["the health of the Consul service was not told: no agent"]);
  answers(null);
  await pass(100);
  answers("no agent");
  await pass(100);
  expect(failures).toHaveLength(2);
  await subject.stop();
});
