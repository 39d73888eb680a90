import { describe, expect, test } from "bun:test";
import { clientConfig, parseRaftUrl } from "../../../../lib/dcs/raft/url.ts";
import { redactUrl } from "../../../../lib/dcs/redact-url.ts";

function parsed(text: string) {
  const result = parseRaftUrl(text);
  if (!result.ok) throw new Error(`${result.error.path}: ${result.error.message}`);
  return result.value;
}

describe("raft URL", () => {
  test("several members, names, IPv6 and a missing port are read", () => {
    expect(parsed("raft://10.0.0.1:5011,node2,[::1]:7,node3:9").addresses).toEqual([
      { host: "10.0.0.1", port: 5011 },
      { host: "node2", port: 5010 },
      { host: "::1", port: 7 },
      { host: "node3", port: 9 },
    ]);
  });

  test("each parameter reaches its option, and what is missing is taken from the base", () => {
    const whole = parsed("raft://h:1/?password=se%26cret&cafile=/a&certfile=/c&keyfile=/k&insecure=false");
    expect(whole).toMatchObject({ password: "se&cret", cafile: "/a", certfile: "/c", keyfile: "/k", insecure: false });
    const base = { ...clientConfig(parsed("raft://b:2?password=base&insecure=true"), null), selfAddr: { host: "b", port: 2 } };
    const client = clientConfig(parsed("raft://h:1"), base);
    expect(client).toMatchObject({ selfAddr: null, partnerAddrs: [{ host: "h", port: 1 }], password: "base", insecure: true });
  });

  test("each fault names its part and never the password", () => {
    const cases: readonly [string, string][] = [
      ["raft:h:1?password=geheim", "url"],
      ["consul://h:1?password=geheim", "url"],
      ["raft://?password=geheim", "url"],
      ["raft://h:1,?password=geheim", "url"],
      ["raft://h:99999?password=geheim", "url"],
      ["raft://:geheim@h:1", "url"],
      ["raft://h:1/path?password=geheim", "url"],
      ["raft://h:1?pasword=geheim", "pasword"],
      ["raft://h:1?insecure=perhaps&password=geheim", "insecure"],
    ];
    for (const [url, path] of cases) {
      const result = parseRaftUrl(url);
      expect([url, result.ok ? null : result.error.path]).toEqual([url, path]);
      if (!result.ok) expect(result.error.message).not.toContain("geheim");
    }
  });

  test("a redacted URL keeps everything but the secret", () => {
    expect(redactUrl("raft://h:1?cafile=/a&password=geheim&insecure=true")).toBe("raft://h:1?cafile=/a&password=***&insecure=true");
  });
});
