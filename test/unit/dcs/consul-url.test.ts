import { describe, expect, test } from "bun:test";
import { parseConsulUrl } from "../../../lib/dcs/consul/url.ts";
import { openStore, reconfigureStore } from "../../../lib/dcs/open-store.ts";
import { clientConfig, parseRaftUrl } from "../../../lib/dcs/raft/url.ts";
import { redactUrl } from "../../../lib/dcs/redact-url.ts";
import { StoreChoiceError } from "../../../lib/dcs/store-choice.ts";
import { realClock } from "../../../lib/runtime/clock.ts";
import { recordingLog } from "../../harness/recording-log.ts";

function parsed(text: string) {
  const result = parseConsulUrl(text);
  if (!result.ok) throw new Error(`${result.error.path}: ${result.error.message}`);
  return result.value;
}

describe("consul URL", () => {
  test("host and port alone leave everything at its default", () => {
    expect(parsed("consul://10.0.0.1:8501")).toMatchObject({
      url: "http://10.0.0.1:8501",
      token: null,
      verify: true,
      dc: null,
      checks: [],
    });
    expect(parsed("consul://localhost").url).toBe("http://localhost:8500");
    expect(parsed("consul://[::1]:8500/").url).toBe("http://[::1]:8500");
    expect(parsed("https://consul.example:8501").url).toBe("https://consul.example:8501");
    expect(parsed("https://consul.example").url).toBe("https://consul.example:443");
  });

  test("each parameter reaches its option", () => {
    const url =
      "consul://h:1?token=se%26cret&scheme=https&verify=false&cacert=/ca&cert=/c&key=/k&dc=east&consistency=stale&checks=a&checks=b";
    expect(parsed(url)).toMatchObject({
      url: "https://h:1",
      token: "se&cret",
      verify: false,
      cacert: "/ca",
      cert: "/c",
      key: "/k",
      dc: "east",
      consistency: "stale",
      checks: ["a", "b"],
    });
  });

  test("each fault names its part and never the token", () => {
    const cases: readonly [string, string][] = [
      ["127.0.0.1:8500?token=geheim", "url"],
      ["etcd://h:1?token=geheim", "url"],
      ["consul://?token=geheim", "url"],
      ["consul://user:geheim@h:1", "url"],
      ["consul://h:1/path?token=geheim", "url"],
      ["consul://h:1?tokn=geheim", "tokn"],
      ["consul://h:1?scheme=ftp&token=geheim", "scheme"],
      ["consul://h:1?consistency=strong&token=geheim", "consistency"],
      ["consul://h:1?verify=perhaps&token=geheim", "verify"],
    ];
    for (const [url, path] of cases) {
      const result = parseConsulUrl(url);
      expect([url, result.ok ? null : result.error.path]).toEqual([url, path]);
      if (!result.ok) expect(result.error.message).not.toContain("geheim");
    }
  });

  test("a redacted URL keeps everything but the secret", () => {
    expect(redactUrl("consul://h:1?dc=x&token=geheim&scheme=https")).toBe("consul://h:1?dc=x&token=***&scheme=https");
    expect(redactUrl("consul://u:geheim@h:1")).toBe("consul://***@h:1");
  });
});

describe("the choice of the store", () => {
  const options = { clock: realClock(), log: recordingLog() };

  test("a consul URL and a consul section open the store over Consul", async () => {
    const fromUrl = await openStore("consul://127.0.0.1:8500", options);
    const fromConfig = await openStore({ consul: parsed("consul://127.0.0.1:8500"), raft: null }, options);
    expect([fromUrl.kind, fromConfig.kind]).toEqual(["consul", "consul"]);
    await fromUrl.close();
    await fromConfig.close();
  });

  test("a raft URL and a raft section open the store over the members; nothing is sent yet", async () => {
    const fromUrl = await openStore("raft://127.0.0.1:1,127.0.0.1:2", options);
    const parsedUrl = parseRaftUrl("raft://10.0.0.1:1?password=p");
    if (!parsedUrl.ok) throw new Error(parsedUrl.error.message);
    const fromConfig = await openStore({ consul: null, raft: clientConfig(parsedUrl.value, null) }, options);
    expect([fromUrl.kind, fromConfig.kind]).toEqual(["raft", "raft"]);
    await fromUrl.close();
    await fromConfig.close();
  });

  test("a changed section is taken over, a store that is gone from the configuration needs a restart, a bad file changes nothing", async () => {
    const store = await openStore("consul://127.0.0.1:8500", options);
    expect(await reconfigureStore(store, { consul: parsed("consul://127.0.0.1:8501"), raft: null })).toBe("taken-over");
    expect(await reconfigureStore(store, { consul: null, raft: null })).toBe("needs-restart");
    const bad = parsed("consul://127.0.0.1:8500?scheme=https&cacert=/does/not/exist");
    await expect(reconfigureStore(store, { consul: bad, raft: null })).rejects.toThrow(StoreChoiceError);
    await store.close();
  });

  test("no store, an unknown one and a missing certificate are told apart in words", async () => {
    const complaint = async (source: Parameters<typeof openStore>[0]): Promise<string> => {
      try {
        await openStore(source, options);
      } catch (error) {
        if (error instanceof StoreChoiceError) return error.message;
      }
      throw new Error("opened");
    };
    expect(await complaint({ consul: null, raft: null })).toContain("no store is configured");
    expect(await complaint("raft://h:1")).toContain("raft.password: h is not a loopback address");
    expect(await complaint("raft://?password=geheim")).toBe("url: a host is missing or wrong; write raft://host:port,host:port");
    expect(await complaint("zookeeper://h:1?token=geheim")).toBe("url: another scheme; write consul://host:port");
    expect(await complaint("consul://h:1?scheme=https&cacert=/does/not/exist")).toContain("consul.cacert: cannot read /does/not/exist");
  });
});
