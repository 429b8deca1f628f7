// Asks the service: with the key, if there is one; its errors as `Problem`; streams as events.
// Seeds go to 2^63 - 1: an integer that is no exact JavaScript number is a BigInt, both ways.
import { keyFor, wantKey } from "./key.js";

const BASE = new URL("../", import.meta.url); // of the service, whatever a proxy puts before its paths

/** A URL of the service. */
export function urlOf(path) {
  return new URL(path, BASE);
}

/** An answer of the service that is none of what was asked for. */
export class Problem extends Error {
  constructor(facts, retrySeconds = null) {
    super(facts.detail || facts.title);
    this.facts = facts; // {title, detail, status, …}
    this.retrySeconds = retrySeconds;
  }
}

/** The answer to a request; a key is asked for, if one is needed.
 *
 * Throws Problem for what the service refuses, and TypeError where it cannot be reached. */
export async function ask(path, { body, accept = "application/json", signal } = {}) {
  for (;;) {
    const key = keyFor();
    const headers = { Accept: accept };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const method = body === undefined ? "GET" : "POST";
    const content = body === undefined ? undefined : toJson(body);
    const answer = await fetch(urlOf(path), { method, headers, body: content, signal, cache: "no-store" });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await problemOf(answer);
    await wantKey(key, signal);
  }
}

/** The events of a stream, as {event, data}. */
export async function* events(answer) {
  let rest = "";
  for await (const text of pieces(answer.body.pipeThrough(new TextDecoderStream()))) {
    const parts = (rest + text).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => !line.startsWith(":"));
      const event = fieldOf(lines, "event");
      if (event) yield { event, data: fromJson(fieldOf(lines, "data")) };
    }
  }
}

/** A value as JSON, a BigInt as the integer that it is. */
export function toJson(value) {
  const marked = (_, part) => (typeof part === "bigint" ? `\u0000${part}` : part);
  return JSON.stringify(value, marked).replace(/"\\u0000(\d+)"/g, "$1");
}

/** The value of a JSON text, an integer that would not be exact as a BigInt. */
export function fromJson(text) {
  const exact = (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) && /^\d+$/.test(context?.source ?? "")
      ? BigInt(context.source)
      : value;
  return JSON.parse(text, exact);
}

/** The bytes of a base64 text. */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function* pieces(stream) {
  const reader = stream.getReader(); // streams are not iterable everywhere
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function fieldOf(lines, name) {
  const found = lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1));
  return found.map((text) => text.replace(/^ /, "")).join("\n");
}

async function problemOf(answer) {
  const milliseconds = Number(answer.headers.get("Retry-After-Ms")) || 1000 * Number(answer.headers.get("Retry-After"));
  let facts = { title: `The service answered ${answer.status}`, detail: "", status: answer.status };
  try {
    facts = { ...facts, ...fromJson(await answer.text()) };
  } catch {
    // a proxy's own page: its status says what there is to say
  }
  return new Problem(facts, milliseconds ? milliseconds / 1000 : null);
}
