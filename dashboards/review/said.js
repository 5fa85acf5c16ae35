// What this browser has decided, shared by the review panel and the gallery: each decision goes to the outbox at once
// and counts here from then on, whether or not the server has confirmed it.

const REMEMBERED = 300; // decisions of this tab that can be taken back with a key
const JUST_NOW = 60000; // milliseconds for which a page may have been drawn without a decision that is on disk

function stored(store, name, otherwise) {
  try {
    return JSON.parse(store.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(store, name, value) {
  try {
    store.setItem(name, JSON.stringify(value));
  } catch {
    return; // it holds for this page only
  }
}

function isTyping(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "button", "submit", "range"].includes(target.type);
  return target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName);
}

// The key of the verdict that a line gives; undefined for lines that give none of them.
function keyOf(verdicts, line) {
  const same = verdicts.filter((verdict) => verdict.action === line.action);
  const named = same.find(({ tags }) => tags.length && tags.every((tag) => line.tags.includes(tag)));
  return (named ?? same.find(({ tags }) => !tags.length))?.key;
}

class Said {
  // changed(), refused(entry) and unheard() are of the outbox.
  constructor(api, changed, refused, unheard) {
    this.of = new Map(); // sample_id → lines, in order
    this.taken = new Set(); // ids of lines that were taken back
    this.outbox = new Outbox(
      api,
      changed,
      (entry) => {
        this.unsay(entry.line);
        refused(entry);
      },
      unheard,
    );
    const waiting = this.outbox.waiting().map(([, entry]) => entry);
    const known = new Set(waiting.map(({ line }) => line.correction_id));
    for (const { reviewer, at, action, tags, id, sample_id } of this.history)
      if (action && Date.now() - at < JUST_NOW && !known.has(id)) this.remember(reviewer, { correction_id: id, sample_id, action, tags });
    for (const { reviewer, line } of waiting) this.remember(reviewer, line);
  }

  // Of this tab, whichever page wrote it.
  get history() {
    return stored(sessionKept, "winnow_history", []);
  }

  set history(entries) {
    keep(sessionKept, "winnow_history", entries);
  }

  remember(reviewer, line) {
    if (line.action === "undo") this.taken.add(line.undoes);
    else {
      const shown = Array.isArray(line.new) ? line.new.join(" · ") : (line.new ?? "");
      const said = { id: line.correction_id, content_hash: line.content_hash, action: line.action, new: shown, tags: line.tags ?? [], note: line.note ?? "",
        reviewer, mine: true, state: "active" };
      this.of.set(line.sample_id, [...(this.of.get(line.sample_id) ?? []), said]);
    }
  }

  // A refused line was never written: the row shows what stood before.
  unsay(line) {
    if (line.action === "undo") this.taken.delete(line.undoes);
    else this.of.set(line.sample_id, (this.of.get(line.sample_id) ?? []).filter(({ id }) => id !== line.correction_id));
    this.forget(new Set([line.correction_id]));
  }

  forget(ids) {
    this.history = this.history.filter(({ id }) => !ids.has(id));
  }

  // Another name is on the screen: whose lines are whose.
  rename(name) {
    for (const lines of this.of.values()) for (const line of lines) line.mine = line.reviewer === name;
  }

  lines(row) {
    return decisionsOf(row, this.of.get(row.sample_id) ?? [], this.taken);
  }

  // press: names the key press; what one press wrote is taken back together.
  write(reviewer, row, parts, press = newId()) {
    const line = { correction_id: newId(), sample_id: row.sample_id, content_hash: row.content_hash, run: row.folder, ...parts };
    this.remember(reviewer, line);
    if (line.action !== "undo") {
      const isVerdict = aspectOf(line.action) === "verdict";
      const { correction_id: id, sample_id, content_hash, run } = line;
      const entry = { reviewer, id, sample_id, content_hash, run, press, at: Date.now() };
      this.history = [...this.history, isVerdict ? { ...entry, action: line.action, tags: line.tags } : entry].slice(-REMEMBERED);
    }
    this.outbox.add(reviewer, line);
  }

  // lines: those of one row.
  takeBack(reviewer, row, lines) {
    const ids = new Set(lines.map((line) => line.id));
    for (const id of ids) this.write(reviewer, row, { action: "undo", undoes: id });
    this.forget(ids);
  }

  // What the last key press of a reviewer wrote in this tab and still stands, as entries of the history.
  last(reviewer) {
    const standing = this.history.filter((entry) => entry.reviewer === reviewer && !this.taken.has(entry.id));
    return standing.filter((entry) => entry.press === standing.at(-1).press);
  }
}

// What the server did not take, with its sentence.
function drawRefused(place, outbox) {
  const lines = outbox.refused().map(([key, entry]) => {
    const line = element("div", "line");
    line.append(element("span", "", `Not saved: ${saidBy(entry.line)} on ${entry.line.sample_id}: ${entry.error}`));
    for (const [label, act] of [["Try again", () => outbox.again(key, entry)], ["Discard", () => outbox.forget(key)]]) {
      const button = element("button", "", label);
      button.type = "button";
      button.onclick = act;
      line.append(button);
    }
    return line;
  });
  place.replaceChildren(...lines);
}
