// Owns the rule that makes a replication slot's name out of a member's (contract §9).

/** PostgreSQL's limit for names, in bytes (NAMEDATALEN - 1). */
const SLOT_NAME_LENGTH_MAX = 63;

/** Slot of a member: lower case, dash and dot become `_`, any other character outside [a-z0-9_] becomes `u` and its code point, cut to 63. */
export function slotName(memberName: string): string {
  if (/^[a-z0-9_]{1,63}$/.test(memberName)) return memberName;
  const mapped = Array.from(memberName.toLowerCase(), (character) => {
    if (/^[a-z0-9_]$/.test(character)) return character;
    if (character === "-" || character === ".") return "_";
    return `u${(character.codePointAt(0) ?? 0).toString(10).padStart(4, "0")}`;
  });
  return mapped.join("").slice(0, SLOT_NAME_LENGTH_MAX);
}
