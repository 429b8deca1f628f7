// Asks the service: with the key, if there is one; its refusals as `Problem`; streams as events.
// A seed goes to 2^63 - 1: an integer that is no exact JavaScript number is a BigInt, both ways.
import { keyFor, wantKey } from "./key.js";

/** The URL of a path of the service, whatever a proxy puts before it. */
export function urlOf(path) {
  return new URL(`../${path}`, import.meta.url);
}

/** What the service says that is no answer; `facts` is its document. */
export class Problem extends Error {
  constructor(facts, retrySeconds = null) {
    super(facts.detail || facts.title);
    Object.assign(this, { facts, retrySeconds });
  }
}

/** The answer to a request. Throws Problem for a refusal, TypeError where the service cannot be reached. */
export async function ask(path, { body, accept = "application/json", signal } = {}) {
  for (;;) {
    const key = keyFor();
    const headers = { Accept: accept, ...(key && { Authorization: `Bearer ${key}` }) };
    const post = body && { method: "POST", body: toJson(body) };
    if (post) headers["Content-Type"] = "application/json";
    const answer = await fetch(urlOf(path), { ...post, headers, signal, cache: "no-store" });
    if (answer.ok) return answer;
    if (answer.status !== 401) throw await problemOf(answer);
    await wantKey(key, signal);
  }
}

/** The events of a stream, as {event, data}. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let rest = ""; ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const [, event] = /^event: ?(.*)$/m.exec(part) ?? [];
        if (event) yield { event, data: fromJson(/^data: ?(.*)$/m.exec(part)[1]) };
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // who reads no further gives up what is not made
  }
}

/** A value as JSON, a BigInt as the integer that it is. */
export function toJson(value) {
  const marked = (_, part) => (typeof part === "bigint" ? `\u0000${part}` : part);
  return JSON.stringify(value, marked).replace(/"\\u0000(\d+)"/g, "$1");
}

/** The value of a JSON text. */
export function fromJson(text) {
  const exact = (_, value, context) =>
    Number.isInteger(value) && !Number.isSafeInteger(value) && /^\d+$/.test(context?.source)
      ? BigInt(context.source)
      : value;
  return JSON.parse(text, exact);
}

async function problemOf(answer) {
  const facts = { title: `The service answered ${answer.status}`, status: answer.status };
  const after = (name) => Number(answer.headers.get(name)); // 0 if it is not there
  const seconds = after("Retry-After-Ms") / 1000 || after("Retry-After") || null;
  // What is no JSON comes from a proxy, and its status says what there is to say.
  return new Problem({ ...facts, ...(await answer.json().catch(() => ({}))) }, seconds);
}
