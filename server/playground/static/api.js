// Asking the server: fields to a query, refusals to errors that say what the server said, and patience where it asks
// for some.

const KEY = "longjump-key";
const PATIENCE = 8; // times that a refused request is sent again
const SHORTEST_WAIT = 0.05; // seconds
const LONGEST_WAIT = 30; // seconds; who is to wait longer is told, and asks again

// In this tab only, and gone with it.
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

// The server's address, for people and for programs.
export const base = new URL("./", document.baseURI).href.replace(/\/$/, "");

// The server refused: `status`, its `kind`, what it said, and the seconds after which it may be asked again.
export class Refused extends Error {
  constructor(status, document, retryAfter) {
    const inner = document.error?.message; // OpenAI's shape
    super(document.detail ?? inner ?? document.title ?? `the server answered ${status}`);
    this.status = status;
    this.document = document;
    this.kind = (document.type ?? "").split(":").pop();
    this.retryAfter = document.retry_after_seconds ?? retryAfter;
  }
}

// Nothing answered.
export class Gone extends Error {}

// `fields` without those that are not given, as a query string.
export function query(fields) {
  const given = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return new URLSearchParams(given).toString();
}

// A reply that is not an error, unread. `fresh`: no cache on the way answers, so that what is measured was done.
export async function ask(path, fields = {}, { method, body, headers = {}, signal, fresh = false } = {}) {
  const text = query(fields);
  const all = { ...headers };
  if (key.get()) all.authorization = `Bearer ${key.get()}`;
  if (fresh) all["cache-control"] = "no-store";
  let response;
  try {
    response = await fetch(text ? `${path}?${text}` : path, {
      method: method ?? (body ? "POST" : "GET"),
      body,
      headers: all,
      signal,
      cache: fresh ? "no-store" : "default",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Gone(`nothing answers at ${base}`);
  }
  if (response.ok) return response;
  let document = {};
  try {
    document = (await response.json()) ?? {};
  } catch {
    // A proxy's page; the status says enough.
  }
  throw new Refused(response.status, document, Number(response.headers.get("retry-after")) || undefined);
}

// The whole reply: its bytes, stages and milliseconds as this page saw them.
export async function fetched(path, fields, options) {
  const start = performance.now();
  const response = await ask(path, fields, options);
  const blob = await whole(response.blob(), options?.signal);
  return { blob, headers: response.headers, timing: timing(response.headers, performance.now() - start) };
}

export async function json(path, fields, options = {}) {
  const headers = { ...options.headers, accept: "application/json" };
  const start = performance.now();
  const response = await ask(path, fields, { ...options, headers });
  const document = await whole(response.json(), options.signal);
  return { document, headers: response.headers, timing: timing(response.headers, performance.now() - start) };
}

// A reply that breaks off is a server that is gone.
async function whole(body, signal) {
  try {
    return await body;
  } catch (error) {
    if (signal?.aborted || error instanceof SyntaxError) throw error;
    throw new Gone(`the reply from ${base} broke off`);
  }
}

// Server-Timing, in milliseconds, and `seen`: what passed here from the request to the last byte.
export function timing(headers, seen) {
  const found = { seen };
  for (const part of (headers.get("server-timing") ?? "").split(",")) {
    const match = /^\s*([\w-]+).*?dur=([\d.]+)/.exec(part);
    if (match) found[match[1]] = Number(match[2]);
  }
  return found;
}

// The server-sent events of a reply: [name, data] as they come, data parsed.
export async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await whole(reader.read(), signal);
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
        const name = lines.find((line) => line.startsWith("event:"))?.slice(6).trim();
        if (data.length) yield [name ?? "message", JSON.parse(data.join("\n"))];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

// Seconds after which the server may be asked again; null where it asks for no patience.
export function patience(error) {
  if (!(error instanceof Refused) || ![429, 503].includes(error.status)) return null;
  return Math.max(SHORTEST_WAIT, error.retryAfter ?? 1);
}

// What `work` gives. Where the server asks for patience (429, 503) it is done again after as long as it says, and each
// time after twice as long at least: what it foresees may be too short. `onWait(refused, seconds)` is told before each.
export async function patiently(work, signal, onWait) {
  for (let left = PATIENCE; ; left--) {
    try {
      return await work();
    } catch (error) {
      const asked = patience(error);
      if (asked === null || asked > LONGEST_WAIT || left <= 0) throw error;
      const seconds = Math.max(asked, SHORTEST_WAIT * 2 ** (PATIENCE - left));
      onWait(error, seconds);
      await pause(seconds, signal);
    }
  }
}

let most = Infinity; // images of one request, once the server has said how many it takes

// What `request(n)` gives for `n` images, or for as many as the server takes at once.
export async function several(n, request) {
  for (;;) {
    const asked = Math.min(n, most);
    try {
      return await request(asked);
    } catch (error) {
      const limit = error.document?.errors?.find(({ field }) => field === "n")?.allowed?.max;
      if (!Number.isInteger(limit) || limit >= asked) throw error;
      most = limit;
    }
  }
}

// Bytes from base64.
export function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
