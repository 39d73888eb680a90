import { describe, expect, test } from "bun:test";
import { parseAppointment } from "../../../lib/core/appointment.ts";

describe("an appointment", () => {
  test.each([
    ["2099-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"],
    ["2099-01-01T12:00+00", "2099-01-01T12:00:00+00:00"],
    ["2099-01-01 12:00:00.5 +0230", "2099-01-01T12:00:00.500000+02:30"],
    ["20990101T120000Z", "2099-01-01T12:00:00+00:00"],
    ["2099-01-01T12:00:00 UTC", "2099-01-01T12:00:00+00:00"],
    ["2099-01-01T00:30:00-11:00", "2099-01-01T00:30:00-11:00"],
  ])("%s is written as %s", (text, normal) => {
    expect(parseAppointment(text)).toEqual({ kind: "ok", text: normal, epochMs: Date.parse(normal.replace(/\.(\d{3})\d*/, ".$1")) });
  });

  test("without a time zone is told apart from one that cannot be read", () => {
    expect(parseAppointment("2099-01-01T00:00:00").kind).toBe("no-time-zone");
    for (const text of ["garbage", "", "2099-13-01T00:00Z", "2099-02-31T00:00Z", "2099-01-01T25:00Z", "tomorrow"]) {
      expect([text, parseAppointment(text).kind]).toEqual([text, "unreadable"]);
    }
  });
});
