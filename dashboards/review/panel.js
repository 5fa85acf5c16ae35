// The review panel. Keys are taken at once and in order, and each decision carries the row that is on the screen.
// Rows and pictures lie ready ahead of the reviewer; far ones are dropped.

const AHEAD = 24; // rows that are ready before they are asked for
const BEHIND = 8;
const KEPT = 60; // rows farther away are dropped
const WAITING_KEYS = "winnow_keys"; // in sessionStorage: of this tab
const PAUSE = 700; // milliseconds without a key before the rest of the page follows
const OTHERS_PAUSE = 200; // before other runs are asked about a row

const panels = new WeakMap();

export default function ({ data, parentElement, setTriggerValue, setStateValue }) {
  const root = parentElement.querySelector(".panel");
  let panel = panels.get(root);
  if (!panel) panels.set(root, (panel = new Panel(root, data)));
  panel.configure(data, setTriggerValue, setStateValue);
  return () => panel.close();
}

class Panel {
  constructor(root, data) {
    this.root = root;
    this.rows = new Map(); // place → row
    this.images = new Map(); // place → its <img> elements
    this.absent = new Set(); // places that the server has no row for
    this.stale = new Set(); // places whose rows are asked for again
    this.place = null;
    this.single = null; // a row that is not in the queue
    this.queue = null;
    this.keys = []; // pressed and not acted upon yet
    this.keysBefore = stored(sessionKept, WAITING_KEYS, null); // those of this tab before the page was loaded anew
    this.turn = 0;
    this.rendered = new Map(); // text → its rendered form
    this.choices = stored(localKept, "winnow_review", {});
    this.choices.open ??= {};
    this.said = new Said(data.api, () => this.screen?.drawSaved(), () => this.draw(), () => this.keys.length);
    this.outbox = this.said.outbox;
    this.onKey = (event) => this.key(event);
    this.onBack = () => this.configured && this.follow();
    this.screen = new Screen(root, this);
    this.picture = this.screen.picture;
  }

  choose(name, value) {
    this.choices[name] = value;
    keep(localKept, "winnow_review", this.choices);
  }

  get doesAdvance() {
    return this.choices.advance ?? true;
  }

  configure(data, trigger, tell) {
    const before = this.data;
    this.data = data;
    this.trigger = trigger;
    this.tell = tell;
    if (!this.configured) {
      window.addEventListener("keydown", this.onKey);
      window.addEventListener("popstate", this.onBack);
      this.outbox.start();
      this.configured = true;
    }
    if (!before || before.view !== data.view) this.open(data.id);
    else if (before.reviewer !== data.reviewer) this.rename(data.reviewer);
    else this.follow();
  }

  close() {
    this.configured = false;
    window.removeEventListener("keydown", this.onKey);
    window.removeEventListener("popstate", this.onBack);
    clearTimeout(this.later);
    sessionKept.removeItem(WAITING_KEYS); // who goes to another page means other rows from here on
    this.outbox.stop();
  }

  // Somebody else changed the address: a link, the box below, the browser's back button.
  follow() {
    const id = new URLSearchParams(location.search).get("id") ?? "";
    if (id && id !== this.written) this.open(id);
  }

  // Asks until the server answers; a sentence of the server's is thrown.
  async get(path, parameters) {
    const url = new URL(`${this.data.api}/${path}`, location.origin);
    const asked = { view: this.data.view, reviewer: nameOnScreen(this.data.reviewer), ...parameters };
    for (const [name, value] of Object.entries(asked)) url.searchParams.set(name, value);
    for (let wait = 300; ; wait = Math.min(wait * 2, 5000)) {
      try {
        const answer = await fetch(url, { signal: AbortSignal.timeout(30000) });
        const told = await answer.json();
        if (told.error) return { error: told.error, status: answer.status };
        if (this.isUnanswered) this.say("");
        this.isUnanswered = false;
        return told;
      } catch {
        if (!this.configured) return { error: "the page was left" };
        this.isUnanswered = true;
        this.say("The server does not answer; trying again.");
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  // The same row again in a list that has changed; where no row is there yet, the one that was asked for.
  reopen() {
    if (this.isOpening) this.open(this.asked.id, this.asked.place);
    else this.open(this.row()?.sample_id ?? "", this.place);
  }

  // Another name: what is there stays on the screen and takes keys; whose decisions are whose is asked anew.
  async rename(name) {
    if (this.isOpening || this.place === null) {
      this.reopen();
      return;
    }
    for (const row of this.rows.values()) for (const line of row.decisions ?? []) line.mine = line.reviewer === name;
    this.said.rename(name);
    this.stale = new Set(this.rows.keys());
    this.draw();
    const { turn } = this;
    const queue = await this.get("queue", { id: this.row()?.sample_id ?? "" });
    if (turn !== this.turn) return;
    if (queue.error || queue.snapshot !== this.queue.snapshot) this.reopen();
    else {
      this.queue = queue;
      this.draw();
      this.fill();
    }
  }

  // id: '' for the row at the place, or without one for the first undecided row.
  async open(id, place = null) {
    const turn = ++this.turn;
    this.asked = { id, place };
    this.rows.clear();
    this.images.clear();
    this.absent.clear();
    this.stale.clear();
    this.single = null;
    this.isOpening = true;
    this.written = id || this.written;
    const queue = await this.get("queue", { id });
    if (turn !== this.turn) return;
    this.problem = queue.error ?? "";
    this.queue = queue.error ? { title: "", total: 0, place: null, left: 0 } : queue;
    this.place = id || place === null ? this.queue.place : Math.min(place, this.queue.total - 1);
    if (id && this.place === null) await this.openSingle(id, turn);
    if (turn !== this.turn) return;
    this.isOpening = false;
    this.takeUpKeys();
    this.arrived();
    this.fill();
  }

  // Keys that wait, with the row that they wait for: the address still names the one before it.
  keepKeys() {
    const keys = [...(this.keysBefore?.keys ?? []), ...this.keys];
    const where = this.isOpening ? { asked: this.asked } : { place: this.place, snapshot: this.queue?.snapshot };
    const waiting = this.keysBefore ?? { view: this.data.view, hasAdvanced: this.hasAdvanced, ...where };
    if (keys.length) keep(sessionKept, WAITING_KEYS, { ...waiting, keys });
    else sessionKept.removeItem(WAITING_KEYS);
  }

  // Keys that were pressed before the page was loaded anew are for the row that they waited for, or for none.
  takeUpKeys() {
    const before = this.keysBefore;
    this.keysBefore = null;
    if (!before) return;
    const isSameRow = before.asked ? before.asked.id === this.asked.id : before.snapshot === this.queue.snapshot;
    if (before.view === this.data.view && isSameRow) {
      if (!before.asked) this.place = before.place;
      this.hasAdvanced ||= before.hasAdvanced;
      this.keys = [...before.keys, ...this.keys];
    } else this.say(`${countOf(before.keys.length, "key", "keys")} pressed before the reload could not be given to a row.`);
    this.keepKeys();
  }

  async openSingle(id, turn) {
    const told = await this.get("rows", { id });
    const row = told.rows?.find((found) => found.sample_id === id);
    if (turn !== this.turn) return;
    this.problem = told.error ?? "";
    this.single = row ?? null;
    if (row) this.singleImages = this.load(row);
  }

  // What other runs said to a row on which the reviewer rests.
  async askOthers(row) {
    if (row.said || row.isAsked) return;
    row.isAsked = true;
    await new Promise((resolve) => setTimeout(resolve, OTHERS_PAUSE));
    const told = this.row() === row && this.configured ? await this.get("others", { run: row.folder, row: row.row }) : {};
    row.isAsked = false;
    if (told.error) this.say(told.error);
    if (told.others) row.said = told.others;
    if (told.others && this.row() === row) this.draw();
  }

  // The first place that is wanted and not there: near the reviewer first, ahead before behind.
  missing() {
    if (this.place === null || !this.queue.total) return null;
    const isMissing = (place) => place >= 0 && place < this.queue.total && (this.stale.has(place) || !this.rows.has(place)) && !this.absent.has(place);
    for (let place = this.place; place <= this.place + AHEAD; place += 1) if (isMissing(place)) return { start: place };
    for (let place = this.place - 1; place >= this.place - BEHIND; place -= 1)
      if (isMissing(place)) return { start: Math.max(place - AHEAD + 1, 0) };
    return null;
  }

  async fill() {
    if (this.isFilling) return;
    this.isFilling = true;
    for (let wanted = this.missing(); wanted && this.configured; wanted = this.missing()) {
      const turn = this.turn;
      const { start } = wanted;
      const told = await this.get("rows", { start, count: AHEAD, snapshot: this.queue.snapshot ?? "" });
      if (turn !== this.turn) continue;
      if (told.status === 409) {
        this.say("The list has changed; it is opened anew.");
        this.reopen();
        continue;
      }
      if (told.error) {
        this.problem = told.error;
        break;
      }
      for (let place = start; place < start + AHEAD; place += 1) if (!this.rows.has(place)) this.absent.add(place);
      for (const row of told.rows) this.accept(row);
      for (let place = start; place < start + AHEAD; place += 1) this.stale.delete(place);
      this.forgetFar();
      this.arrived();
    }
    this.isFilling = false;
    if (this.problem) this.draw();
  }

  accept(row) {
    const { place } = row;
    this.absent.delete(place);
    if (this.rows.has(place) && !this.stale.delete(place)) return;
    if (!this.images.has(place)) this.images.set(place, this.load(row));
    this.rows.set(place, row);
    if (place === this.place && this.drawn) this.drawn = row; // the same row, told anew
  }

  load(row) {
    return row.pictures.map(({ src }) => {
      const image = new Image();
      image.decoding = "async";
      image.src = src;
      return image;
    });
  }

  forgetFar() {
    for (const place of [...this.rows.keys()])
      if (Math.abs(place - this.place) > KEPT) {
        this.rows.delete(place);
        this.images.delete(place);
        this.stale.delete(place);
      }
  }

  row() {
    return this.isOpening ? undefined : this.place === null ? this.single : this.rows.get(this.place);
  }

  lines(row) {
    return this.said.lines(row);
  }

  isDecided(row) {
    return Boolean(mineOf(this.lines(row), "verdict"));
  }

  arrived() {
    this.seekOn();
    this.draw();
    this.work();
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const dialog = document.querySelector("[data-testid=stDialog]");
    if (isTyping(event.composedPath()[0]) || dialog?.querySelector("[data-testid=stVerticalBlock]")) return;
    const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
    if (!this.knows(key)) return;
    event.preventDefault();
    // Streamlit tells over the row that its server is gone; the panel tells it beside, and goes on with what is there.
    dialog?.querySelector("button[aria-label=Close]")?.click();
    if (event.repeat && !"JK+-".includes(key)) return;
    this.press(key);
  }

  knows(key) {
    const isTag = /^[1-9]$/.test(key) && this.data.tags[Number(key) - 1] !== undefined;
    return isTag || "JKUEMTNBFZP0+-=?".includes(key) || this.data.verdicts.some((verdict) => verdict.key === key);
  }

  press(key) {
    this.keys.push(key);
    this.keepKeys();
    this.work();
  }

  // A key waits for the row that it is about.
  work() {
    const before = this.keys.length;
    while (this.keys.length && this.isReady()) this.act(this.keys.shift());
    if (before) this.keepKeys();
    this.root.classList.toggle("waiting", this.keys.length > 0 || !this.isReady());
  }

  isReady() {
    if (this.isOpening || !this.queue) return false;
    return this.place === null || this.rows.has(this.place) || this.absent.has(this.place);
  }

  act(key) {
    const hasAdvanced = this.hasAdvanced; // the last key was a verdict, which went on by itself
    this.hasAdvanced = false;
    const verdict = this.data.verdicts.find((known) => known.key === key && known.kinds.includes(this.row()?.kind));
    if (verdict) this.decide(verdict);
    else if (key === "J" && hasAdvanced) this.say("The verdict already went on; J once more goes to the next row.");
    else if (key === "J") this.step(1);
    else if (key === "K") this.step(-1);
    else if (/^[1-9]$/.test(key)) this.tag(this.data.tags[Number(key) - 1]);
    else if (key === "U") this.undoLast();
    else if (key === "E") this.edit();
    else if (key === "M" || key === "T") this.writeNote();
    else if (key === "N") this.nearest();
    else if (key === "B") this.back();
    else if (key === "F") this.fullScreen();
    else if (key === "Z") this.picture.toggle();
    else if (key === "P") this.picture.next();
    else if (key === "0") this.picture.fit();
    else if (key === "+" || key === "=") this.picture.zoom(STEP);
    else if (key === "-") this.picture.zoom(1 / STEP);
    else if (key === "?") document.querySelector(".st-key-keys button")?.click();
  }

  step(step) {
    if (!this.queue.total) return;
    this.say("");
    const from = this.place;
    const next = from === null ? 0 : from + step;
    if (next < 0 || next >= this.queue.total) {
      this.say(step > 0 ? "This is the last row of the list." : "This is the first row of the list.");
      return;
    }
    this.seeking = this.choices.undecided ? { step, from } : null;
    this.goTo(next);
  }

  goTo(place) {
    this.place = place;
    this.single = null;
    this.seekOn();
    this.draw();
    this.fill();
  }

  // With "undecided only": past the rows that are decided, as far as they are there.
  seekOn() {
    while (this.seeking && this.place !== null) {
      const row = this.rows.get(this.place);
      if (!row && !this.absent.has(this.place)) return;
      if (row && !this.isDecided(row)) break;
      const next = this.place + this.seeking.step;
      if (next < 0 || next >= this.queue.total) {
        this.place = this.seeking.from ?? this.place;
        this.say("There is no undecided row further on.");
        break;
      }
      this.place = next;
    }
    this.seeking = null;
  }

  signed() {
    const name = nameOnScreen(this.data.reviewer);
    if (!name) this.say("Enter your name in the sidebar first: every decision carries it.");
    return name;
  }

  decide(verdict) {
    const row = this.row();
    const mine = mineOf(this.lines(row), "verdict");
    const where = this.place === null ? "" : ` on row ${this.place + 1}`;
    // A second pass over rows that are decided confirms them: a key must not take back what it says.
    if (mine && !mine.isOutdated && this.keyOf(mine) === verdict.key) this.say(`${verdict.label}${where} stands already.`);
    else if (this.write(row, { action: verdict.action, tags: verdict.tags })) this.say(`${verdict.label}${where} · U takes it back.`);
    else return;
    this.advance();
  }

  advance() {
    const from = this.place;
    if (this.doesAdvance && this.place !== null && this.place + 1 < this.queue.total) {
      const said = this.screen.message.textContent;
      this.step(1);
      this.hasAdvanced = this.place !== from;
      if (this.hasAdvanced) this.say(said);
    }
  }

  keyOf(line) {
    return keyOf(this.data.verdicts, line);
  }

  tag(tag) {
    const row = this.row();
    if (!row) return;
    const mine = new Set(mineOf(this.lines(row), "tag")?.tags ?? []);
    if (!mine.delete(tag)) mine.add(tag);
    const tags = [...this.data.tags.filter((known) => mine.has(known)), ...[...mine].filter((own) => !this.data.tags.includes(own))];
    this.write(row, { action: "tag", field: "tags", tags });
  }

  // One line about the row on the screen; false where nobody signed.
  write(row, parts, press) {
    const reviewer = row && this.signed();
    if (!reviewer) return false;
    this.counted(row, () => this.said.write(reviewer, row, parts, press));
    return true;
  }

  takeBack(row, lines) {
    const reviewer = this.signed();
    if (reviewer) this.counted(row, () => this.said.takeBack(reviewer, row, lines));
  }

  // Does something about a row that may change how many are left.
  counted(row, work) {
    const wasDecided = this.isDecided(row);
    work();
    const change = Number(wasDecided) - Number(this.isDecided(row));
    if (this.place !== null && this.queue) this.queue.left = Math.max(this.queue.left + change, 0);
    this.draw();
  }

  undoLast() {
    const reviewer = this.signed();
    if (!reviewer) return;
    const lines = this.said.last(reviewer);
    if (!lines.length) {
      this.say("There is no decision of this session to take back.");
      return;
    }
    let place;
    for (const line of lines) {
      place = [...this.rows].find(([, row]) => row.sample_id === line.sample_id && row.folder === line.run)?.[0];
      const row = place === undefined ? { ...line, folder: line.run, decisions: [] } : this.rows.get(place);
      this.takeBack(row, [line]);
    }
    this.say("Your last decision is taken back.");
    const last = lines.at(-1);
    if (place === undefined && this.row()?.sample_id !== last.sample_id) this.open(last.sample_id);
    else if (place !== undefined && place !== this.place) this.goTo(place);
  }

  edit() {
    const row = this.row();
    if (!row || this.editor) return;
    this.editor = new Editor(row, { save: (edits) => this.saveEdits(row, edits), close: () => this.closeForm() });
    this.openForm(this.editor);
  }

  saveEdits(row, { references, question, note }) {
    if (!this.signed()) return false;
    const wasOn = this.row();
    const press = newId();
    if (question !== null) this.write(row, { action: "edit_question", field: "question", old: row.question, new: question, note }, press);
    if (references !== null) {
      const old = row.references.flatMap(([text, votes]) => Array(votes).fill(text));
      this.write(row, { action: "relabel", field: "answers", old, new: references, note }, press);
    } else if (question === null && note) this.write(row, { action: "note", note });
    this.say("Saved · U takes it back.");
    if (references !== null && wasOn === row) this.advance();
    return true;
  }

  writeNote() {
    const row = this.row();
    if (!row || this.editor) return;
    const old = mineOf(this.lines(row), "note");
    this.editor = new NoteBox(row, old?.note ?? "", {
      save: (note) => (note ? this.write(row, { action: "note", note }) : old ? (this.takeBack(row, [old]), true) : true),
      close: () => this.closeForm(),
    });
    this.openForm(this.editor);
  }

  openForm(editor) {
    this.draw();
    editor.focus();
  }

  closeForm() {
    this.editor = null;
    this.root.focus({ preventScroll: true });
    this.draw();
  }

  nearest() {
    if (!this.row()) return;
    this.tellShown(this.row());
    this.trigger("nearest", this.row().sample_id);
  }

  // Told of a row after this, a server that is slow to change the page would draw this page again, with the address of
  // the other.
  back() {
    clearTimeout(this.later);
    this.trigger("back", true);
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  say(text) {
    this.screen.message.textContent = text;
  }

  // A click on "Next" is never taken for a verdict's own step.
  next() {
    this.hasAdvanced = false;
    this.press("J");
  }

  nothing() {
    if (this.place !== null) return "This row cannot be shown.";
    return this.written ? "No run and no curated set knows this id." : "There is no row to review.";
  }

  imagesOf() {
    return (this.place === null ? this.singleImages : this.images.get(this.place)) ?? [];
  }

  async renderTexts(texts) {
    try {
      const answer = await fetch(`${this.data.api}/render`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ texts }),
      });
      const { html } = await answer.json();
      texts.forEach((text, number) => this.rendered.set(text, html[number]));
    } catch {
      this.say("The texts could not be rendered.");
    }
  }

  draw() {
    const row = this.row();
    if (row !== this.drawn) this.changed(row);
    this.screen.draw();
  }

  // Another row is on the screen: the address follows at once, the rest of the page when the keys pause.
  changed(row) {
    this.drawn = row;
    if (this.editor && row !== this.editor.row) this.editor = null; // what was typed is kept as a draft
    if (!row) return;
    for (let place = this.place + 1; this.place !== null && place <= this.place + 3; place += 1)
      for (const image of this.images.get(place) ?? []) image.decode().catch(() => undefined);
    const url = new URL(location.href);
    if (url.searchParams.get("id") !== row.sample_id) {
      url.searchParams.set("id", row.sample_id);
      history.replaceState(history.state, "", url);
    }
    this.written = row.sample_id;
    clearTimeout(this.later);
    this.later = setTimeout(() => this.pause(), PAUSE);
  }

  // The page below draws this row. Streamlit keeps an address of its own, which does not follow ours.
  tellShown(row) {
    const { id, shown } = this.data;
    if (row.sample_id === (shown?.[0] === id ? shown[1] : id)) return;
    this.tell("shown", [id, row.sample_id]);
  }

  pause() {
    const row = this.row();
    if (!row || !this.configured) return;
    this.tellShown(row);
    this.recount(row);
  }

  // What is left to the reviewer, which the server knows once all decisions are saved.
  async recount(row) {
    const { turn } = this;
    const isHere = () => turn === this.turn && this.row() === row && this.place !== null && this.configured;
    if (!isHere()) return;
    const queue = this.outbox.count() ? null : await this.get("queue", { id: row.sample_id });
    if (!isHere() || queue?.error) return;
    if (!queue || this.outbox.count()) {
      this.later = setTimeout(() => this.recount(row), PAUSE);
      return;
    }
    this.queue.left = queue.left;
    this.screen.drawProgress();
  }
}
