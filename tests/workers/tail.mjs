// A worker for `ingest`, by references/import-service.md alone: it tells the sessions of a Codex
// home, small ones as records, large ones in chunks, and in a tail whatever is added to them.
//
//   ingest -- node tail.mjs HOME

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";

const LARGE = 1 << 20;
const PART = 2 << 20;
const home = process.argv[2];
const told = new Map();
const waiting = new Map();
let run = null;
let seq = 0;
let behind = null;
let stopping = false;
let begun;
const start = new Promise((resolve) => (begun = resolve));

function say(type, payload, number) {
  const frame = { type, runId: run.runId, payload };
  if (number !== undefined) frame.seq = number;
  return new Promise((resolve) => process.stdout.write(JSON.stringify(frame) + "\n", resolve));
}

async function ask(type, payload) {
  const number = ++seq;
  const answer = new Promise((resolve) => waiting.set(number, resolve));
  await say(type, payload, number);
  return answer;
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const frame = JSON.parse(line);
    if (frame.type === "run.start") {
      run = { runId: frame.runId, ...frame.payload };
      begun();
    } else if (frame.type === "run.stop") {
      stopping = true;
    } else if (frame.type === "health.probe") {
      const lagSeconds = behind === null ? 0 : (Date.now() - behind) / 1000;
      say("health.status", { state: waiting.size ? "working" : "idle", lagSeconds });
    } else if (frame.type === "run.progress" && frame.payload.phase !== "staged") {
      // it is still at work
    } else if (waiting.has(frame.seq)) {
      waiting.get(frame.seq)(frame);
      waiting.delete(frame.seq);
    }
  })
  .on("close", () => process.exit(stopping ? 0 : 1));

function* rollouts(folder) {
  let entries = [];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
  for (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* rollouts(path);
    else if (/^rollout-.*\.jsonl$/.test(entry.name)) yield path;
  }
}

async function tell(path) {
  const all = readFileSync(path);
  const data = all.subarray(0, all.lastIndexOf("\n") + 1); // Codex may be writing the next one
  if (!data.length) return;
  const digest = createHash("sha256").update(data).digest("hex");
  const head = JSON.parse(data.subarray(0, data.indexOf("\n")).toString());
  const about = {
    sourceProvider: "codex",
    sourceSessionId: head.payload.id,
    sourceSessionFingerprint: `sha256:${digest}`,
    fileName: basename(path),
  };
  const request = {
    idempotencyKey: `${run.source}/${about.sourceSessionId}/${digest}`,
    source: run.source,
    mode: run.mode,
  };
  const answer = data.length > LARGE ? await chunks(request, about, data) : await batch(request, about, data);
  if (answer.type === "run.error" && !answer.payload.retryable) {
    process.stderr.write(`${answer.payload.code}\n`);
  }
  const again =
    answer.type === "run.error"
      ? answer.payload.retryable
      : answer.payload.items.some((item) => item.retryable);
  if (again) throw new Error("later");
}

function batch(request, about, data) {
  const records = data.toString().split("\n").filter(Boolean).map((line) => JSON.parse(line));
  return ask("import.batch", { ...request, items: [{ ...about, records }] });
}

async function chunks(request, about, data) {
  const total = Math.ceil(data.length / PART);
  let answer;
  for (let index = 0; index < total; index++) {
    answer = await ask("import.chunk", {
      ...request,
      uploadId: request.idempotencyKey.slice(-80),
      chunkIndex: index,
      chunkTotal: total,
      encoding: "gzip+base64",
      item: about,
      data: gzipSync(data.subarray(index * PART, (index + 1) * PART), { level: 1 }).toString("base64"),
    });
    if (answer.type === "run.error") return answer;
  }
  return answer;
}

async function pass() {
  for (const path of rollouts(join(home, "sessions"))) {
    const { size, mtimeMs } = statSync(path);
    const state = `${size} ${mtimeMs}`;
    if (stopping || told.get(path) === state) continue;
    behind ??= Date.now();
    try {
      await tell(path);
      told.set(path, state);
    } catch (error) {
      if (error.message !== "later") throw error;
    }
  }
  behind = null;
}

await start;
do {
  await pass();
  if (run.mode === "tail") await sleep(100);
} while (run.mode === "tail" && !stopping);
await ask("run.complete", {});
process.exit(0);
