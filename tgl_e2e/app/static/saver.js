// Brings changes to the server, each at once. What it has not acknowledged stays in this browser's
// storage, so that neither a closed tab nor a server that went away loses it.

import { ServerError, added, api, sleep } from "./common.js";

const FIELDS = ["objects", "state", "missing", "wrong", "note"];
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
export const contentOf = (annotation) => structuredClone(Object.fromEntries(FIELDS.map((name) => [name, annotation[name]])));

// Two changes of one thing become one: what only one side changed is as that side has it; where
// both did, intervals and notes are united, and the other fields are as here.
export function joined(base, mine, theirs) {
  const pick = (b, m, t, both) => (same(m, b) ? t : same(t, b) || same(m, t) ? m : both(m, t));
  const objects = {};
  for (const key of Object.keys(mine.objects)) {
    objects[key] = pick(base.objects[key] ?? [], mine.objects[key], theirs.objects[key] ?? [], (m, t) => t.reduce(added, m));
  }
  return {
    objects,
    state: pick(base.state, mine.state, theirs.state, (m) => m),
    missing: pick(base.missing, mine.missing, theirs.missing, (m) => m),
    wrong: pick(base.wrong, mine.wrong, theirs.wrong, (m, t) => [...new Set([...m, ...t])]),
    note: pick(base.note, mine.note, theirs.note, (m, t) => `${t} / ${m}`.slice(0, 2000)),
  };
}

export class Saver {
  // said: called with (text, kind) about the state of saving; met: with (key, content) where another
  // window's changes came in.
  constructor(prefix, said, met) {
    this.prefix = prefix;
    this.said = said;
    this.met = met;
    this.entries = new Map(); // key -> {path, annotator, base, revision, content, busy}
  }

  keyOf = (path, annotator) => `${this.prefix}|${annotator}|${path}`;

  // An expression as the server has it, with what is still on its way there.
  opened(path, annotator, annotation) {
    const key = this.keyOf(path, annotator);
    const known = this.entries.get(key);
    if (known?.busy) return known.content;
    const content = contentOf(annotation);
    this.entries.set(key, { path, annotator, base: content, revision: annotation.revision, content, busy: false });
    return content;
  }

  put(path, annotator, content) {
    const key = this.keyOf(path, annotator);
    const entry = this.entries.get(key);
    entry.content = structuredClone(content);
    this.store(key, entry);
    if (!entry.busy) this.push(key, entry);
  }

  store(key, entry) {
    try {
      localStorage.setItem(key, JSON.stringify(entry));
    } catch {
      // full or forbidden: the server has it in a moment
    }
  }

  // What an earlier window could not bring to the server.
  resume() {
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(`${this.prefix}|`)) continue;
      const entry = { ...JSON.parse(localStorage.getItem(key)), busy: false };
      this.entries.set(key, entry);
      this.push(key, entry);
    }
  }

  get waiting() {
    return [...this.entries.values()].some((entry) => entry.busy);
  }

  async push(key, entry) {
    entry.busy = true;
    let failure = "";
    this.said("saving …", "faint");
    while (!same(entry.content, entry.base) && !failure) {
      const sent = structuredClone(entry.content);
      try {
        const answer = await api(entry.path, { method: "PUT", json: { ...sent, annotator: entry.annotator, revision: entry.revision } });
        entry.revision = answer.annotation.revision;
        entry.base = sent; // the server sorts, no more
      } catch (error) {
        if (error instanceof ServerError && error.status === 409) {
          const theirs = contentOf(error.content.annotation);
          entry.content = joined(entry.base, entry.content, theirs);
          entry.base = theirs;
          entry.revision = error.content.annotation.revision;
          this.met(key, entry.content);
        } else if (error instanceof ServerError && error.status < 500) {
          failure = error.message;
        } else {
          this.said(`not saved yet: ${error instanceof ServerError ? error.message : "the server does not answer"}; trying again`, "bad");
          await sleep(700);
        }
      }
    }
    entry.busy = false;
    if (failure) return this.said(`not saved: ${failure}`, "bad");
    localStorage.removeItem(key);
    if (!this.waiting) this.said("saved", "good");
  }
}
