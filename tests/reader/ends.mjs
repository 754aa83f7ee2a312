// Line ends: which kind a text mostly has, and turning it.

const count = (text, what) => text.match(what)?.length ?? 0;

/** The register `ends` of a new text, or null where it has none. */
export function endsOf(text) {
  const crlf = count(text, /\r\n/g);
  const others = count(text, /\n/g) - crlf;
  const stray = count(text, /\r/g) > crlf;
  return crlf > others && !stray ? "\r\n" : null;
}

/** A text as a document with this register holds it, or what it holds as the file has it. */
export const turn = (ends, text) =>
  ends === "\r\n" ? text.replace(/\r?\n/g, (end) => (end === "\n" ? "\r\n" : "\n")) : text;
