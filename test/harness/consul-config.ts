// Owns the `consul` section as tests write it: defaults, with what matters to the test laid over them.

import type { ConsulConfig } from "../../lib/model/node-config.ts";

export function consulConfig(url: string, more: Partial<ConsulConfig> = {}): ConsulConfig {
  return {
    url,
    token: null,
    verify: true,
    cacert: null,
    cert: null,
    key: null,
    dc: null,
    checks: [],
    sessionCheckTtlMs: null,
    consistency: "default",
    registerService: false,
    serviceTags: [],
    serviceCheck: "http",
    serviceDetails: false,
    serviceCheckInterval: "5s",
    serviceCheckTlsServerName: null,
    ...more,
  };
}
