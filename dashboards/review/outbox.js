// Decisions on their way to the server, shared by the review panel and the gallery. Each waits in localStorage under a
// key of its own, so that tabs never overwrite one another; a reload, a dead server or a closed tab loses none. A line
// may be sent twice: it carries an id, and the server writes an id once.

const SENT_AT_ONCE = 50; // lines
const LONGEST_WAIT = 8000; // milliseconds between two tries
const GIVEN_UP_AFTER = 20000; // milliseconds for one answer

// What a browser would keep, where it may not: a page in another site's frame is denied its stores.
class Unkept extends Map {
  get length() {
    return this.size;
  }

  key(number) {
    return [...this.keys()][number];
  }

  getItem(name) {
    return this.get(name) ?? null;
  }

  setItem(name, value) {
    this.set(name, value);
  }

  removeItem(name) {
    this.delete(name);
  }
}

const [localKept, sessionKept] = ["localStorage", "sessionStorage"].map((name) => {
  try {
    return window[name];
  } catch {
    return new Unkept();
  }
});

class Outbox {
  // api: the address of the review's routes. changed() is called whenever something was added, confirmed or refused; refused(entry) for each refusal;
  // unheard() is how many keys wait to become decisions.
  constructor(api, changed, refused, unheard = () => 0) {
    this.api = api;
    this.keys = { waiting: `winnow_waiting${api}/`, refused: `winnow_refused${api}/` };
    this.changed = changed;
    this.onRefused = refused;
    this.unstored = new Map(); // what the browser's store did not take: it is full
    this.last = 0;
    this.delay = 500;
    this.problem = "";
    this.warn = (event) => (this.count() || unheard()) && event.preventDefault();
    this.wake = () => this.send();
    this.other = (event) => (event.key === null || event.key.startsWith("winnow_")) && this.changed();
  }

  start() {
    window.addEventListener("beforeunload", this.warn);
    window.addEventListener("online", this.wake);
    window.addEventListener("storage", this.other);
    this.send();
  }

  stop() {
    window.removeEventListener("beforeunload", this.warn);
    window.removeEventListener("online", this.wake);
    window.removeEventListener("storage", this.other);
  }

  add(reviewer, line) {
    // Later keys sort after earlier ones, within a tab always and between tabs by the clock.
    this.last = Math.max(Date.now(), this.last + 1);
    this.put(`${this.keys.waiting}${String(this.last).padStart(15, "0")}-${line.correction_id}`, { reviewer, line });
    this.changed();
    this.send();
  }

  put(key, entry) {
    try {
      localKept.setItem(key, JSON.stringify(entry));
    } catch {
      this.unstored.set(key, entry);
    }
  }

  remove(key) {
    this.unstored.delete(key);
    localKept.removeItem(key);
  }

  // [key, entry] below a prefix, in the order in which their keys were pressed.
  entries(prefix) {
    const found = [...this.unstored].filter(([key]) => key.startsWith(prefix));
    for (let number = 0; number < localKept.length; number += 1) {
      const key = localKept.key(number);
      if (!key.startsWith(prefix)) continue;
      try {
        found.push([key, JSON.parse(localKept.getItem(key))]);
      } catch {
        continue; // not ours
      }
    }
    return found.filter(([, entry]) => entry?.line).sort(([a], [b]) => (a < b ? -1 : 1));
  }

  waiting() {
    return this.entries(this.keys.waiting);
  }

  refused() {
    return this.entries(this.keys.refused);
  }

  count() {
    return this.waiting().length;
  }

  forget(key) {
    this.remove(key);
    this.changed();
  }

  again(key, entry) {
    this.remove(key);
    this.add(entry.reviewer, entry.line);
  }

  async send() {
    clearTimeout(this.timer);
    if (this.sending) return;
    this.sending = true;
    try {
      await this.alone(() => this.drain());
    } finally {
      this.sending = false;
    }
    if (this.count()) this.timer = setTimeout(this.wake, this.failed ? this.delay : 0);
  }

  // One tab sends at a time where the browser can arrange it; not in a tab's way for ever if another hangs.
  async alone(work) {
    if (!navigator.locks) return work();
    try {
      return await navigator.locks.request("winnow_outbox", { signal: AbortSignal.timeout(GIVEN_UP_AFTER) }, work);
    } catch (error) {
      if (error?.name !== "TimeoutError" && error?.name !== "AbortError") throw error;
      return work();
    }
  }

  async drain() {
    let most = SENT_AT_ONCE;
    for (let waiting = this.waiting(); waiting.length; waiting = this.waiting()) {
      const { reviewer } = waiting[0][1];
      const end = waiting.findIndex(([, entry]) => entry.reviewer !== reviewer);
      const batch = waiting.slice(0, Math.min(end < 0 ? waiting.length : end, most));
      const said = await this.post(reviewer, batch.map(([, entry]) => entry.line));
      this.failed = said.failed;
      this.problem = said.failed ? said.error : "";
      if (said.failed) {
        this.delay = Math.min(this.delay * 2, LONGEST_WAIT);
        this.changed();
        return;
      }
      this.delay = 500;
      if (said.error && batch.length > 1) {
        most = 1; // one of them is refused; the others must not wait behind it
        continue;
      }
      for (const [key, entry] of batch) {
        const error = said.error || said.refused.get(entry.line.correction_id);
        this.remove(key);
        if (!error) continue;
        const kept = { ...entry, error };
        this.put(key.replace(this.keys.waiting, this.keys.refused), kept);
        this.onRefused(kept);
      }
      if (most === 1 && !said.error) most = SENT_AT_ONCE;
      this.changed();
    }
  }

  // failed: nobody has judged the lines, send them again; error: why they are refused, or why it failed.
  async post(reviewer, lines) {
    const none = new Map();
    try {
      const answer = await fetch(`${this.api}/decisions`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ reviewer, lines }),
        signal: AbortSignal.timeout(GIVEN_UP_AFTER),
      });
      const told = await answer.json();
      if (answer.ok && Array.isArray(told.written)) {
        const refused = new Map((told.refused ?? []).map((item) => [item.correction_id ?? item.id, item.error]));
        return { failed: false, error: "", refused };
      }
      // A proxy's own 4xx (signed out, too many requests) has no sentence of ours.
      const isRefusal = answer.status >= 400 && answer.status < 500 && answer.status !== 429 && told.error;
      return { failed: !isRefusal, error: String(told.error ?? `the server answered ${answer.status}`), refused: none };
    } catch {
      return { failed: true, error: "the server does not answer", refused: none };
    }
  }
}

// An id as Python's uuid4().hex; crypto.randomUUID is only there on secure origins.
function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

// The name that stands in the sidebar's box, also while the page has yet to hear of it; a trusted name has no box.
function nameOnScreen(known) {
  const box = document.querySelector(".st-key-reviewer input");
  return (box ? box.value : known).trim().replace(/\s+/g, " ");
}

function countOf(number, one, many) {
  return `${number} ${number === 1 ? one : many}`;
}
