// Draws the cards and decides about them: a verdict's key is for the card in focus, or for all that are selected.
// Text of data sets only ever becomes textContent or an attribute, never markup.

const galleries = new WeakMap();

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".gallery");
  let gallery = galleries.get(root);
  if (!gallery) galleries.set(root, (gallery = new Gallery(root, data)));
  gallery.configure(data, (id) => setTriggerValue("opened", id));
  return () => gallery.close();
}

function drawCard(card) {
  const link = element("a", "card");
  link.href = card.href;
  link.dataset.sample = card.id;

  const frame = element("div", "image");
  const image = element("img");
  image.src = card.image;
  image.alt = card.question || card.id;
  image.loading = "lazy";
  frame.append(image);

  const body = element("div", "body");
  const chips = element("div", "chips");
  for (const chip of card.chips) chips.append(element("span", `chip ${chip.tone}`, chip.text));
  const facts = element("dl", "facts");
  for (const fact of card.facts) facts.append(element("dt", "", fact.name), element("dd", "", fact.text));
  body.append(element("div", "decided"), chips, element("div", "question", card.question), facts);

  link.append(frame, body);
  return link;
}

class Gallery {
  constructor(root, data) {
    this.root = root;
    this.selected = new Set(); // places of cards: two tasks may ask about one row
    this.said = new Said(data.api, () => this.drawBar(), () => this.drawDecided(), () => 0);
    this.grid = root.querySelector(".grid");
    this.grid.tabIndex = -1;
    this.bar = element("div", "bar");
    this.bar.setAttribute("role", "region");
    this.bar.setAttribute("aria-label", "Decide about cards");
    this.message = element("span", "said");
    this.message.setAttribute("role", "status");
    this.saved = element("span", "saved");
    this.saved.setAttribute("role", "status");
    this.refused = element("div", "refused");
    this.refused.setAttribute("role", "alert");
    this.buttons = element("div", "verdicts");
    this.bar.append(this.message, this.buttons, this.saved, this.refused);
    root.append(this.bar);
    this.onKey = (event) => this.key(event);
  }

  configure(data, open) {
    this.open = open;
    const before = this.data;
    const focused = this.focused();
    this.data = data;
    if (before && before.reviewer !== data.reviewer) this.said.rename(data.reviewer);
    const idsOf = (told) => JSON.stringify(told?.cards.map((card) => [card.folder, card.id]));
    const isSamePage = idsOf(before) === idsOf(data);
    if (!isSamePage) this.clear();
    this.cells = data.cards.map((card, place) => this.cell(card, place));
    this.grid.replaceChildren(...this.cells);
    this.drawDecided();
    if (!this.configured) {
      window.addEventListener("keydown", this.onKey);
      this.said.outbox.start();
      this.configured = true;
    }
    // The next Tab goes to the first card, not through all filters, as long as nobody has chosen another place.
    if (isSamePage && focused >= 0) this.focus(focused);
    else if (document.activeElement === document.body) this.grid.focus({ preventScroll: true });
  }

  close() {
    this.configured = false;
    window.removeEventListener("keydown", this.onKey);
    this.said.outbox.stop();
  }

  // A card and the button that selects it, which lies over it: a link must not hold a button.
  cell(card, place) {
    const cell = element("div", "cell");
    const link = drawCard(card);
    link.onclick = (event) => {
      if (event.button !== 0) return; // a new tab
      if (event.ctrlKey || event.metaKey || event.shiftKey) this.select(place, event.shiftKey);
      else this.open(card.id);
      event.preventDefault();
    };
    const pick = element("button", "pick", "✓");
    pick.type = "button";
    pick.tabIndex = -1; // X does the same
    pick.title = "Select (X)";
    pick.setAttribute("aria-label", `Select ${card.question || card.id}`);
    pick.onclick = (event) => this.select(place, event.shiftKey);
    cell.append(link, pick);
    return cell;
  }

  // The place of the card in focus, -1 for none.
  focused() {
    return [...this.grid.children].indexOf(this.grid.getRootNode().activeElement?.closest?.(".cell"));
  }

  focus(place) {
    this.cells[place].firstElementChild.focus();
  }

  // upTo: also those between it and the card that was chosen last.
  select(place, upTo) {
    const [first, last] = [Math.min(this.anchor ?? place, place), Math.max(this.anchor ?? place, place)];
    if (upTo) for (let one = first; one <= last; one += 1) this.selected.add(one);
    else {
      this.anchor = place;
      if (!this.selected.delete(place)) this.selected.add(place);
    }
    this.focus(place);
    this.say("");
    this.drawDecided();
  }

  clear() {
    this.selected.clear();
    this.anchor = undefined;
    this.message.textContent = "";
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.repeat && event.key.length === 1) return;
    if (isTyping(event.composedPath()[0]) || document.querySelector("[data-testid=stDialog] [data-testid=stVerticalBlock]")) return;
    const key = event.key.length === 1 ? event.key.toUpperCase() : event.key;
    const verdict = this.data.verdicts.find((known) => known.key === key);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns(), ArrowDown: this.columns() };
    if (key in steps) {
      if (!this.move(steps[key], event.shiftKey)) return;
    } else if (event.shiftKey) return;
    else if (verdict && this.chosen().length) this.decide(verdict);
    else if (key === "U" && this.said.history.length) this.undoLast();
    else if (key === "X" && this.focused() >= 0) this.select(this.focused(), false);
    else if (key === "Escape" && this.selected.size) this.unselect();
    else return;
    event.preventDefault();
  }

  unselect() {
    this.clear();
    this.drawDecided();
  }

  columns() {
    return getComputedStyle(this.grid).gridTemplateColumns.split(" ").length;
  }

  // Only from within the grid, so that arrows go on scrolling the page elsewhere.
  move(step, isSelecting) {
    if (!this.grid.contains(this.grid.getRootNode().activeElement)) return false;
    const from = this.focused();
    const next = from < 0 ? 0 : from + step;
    if (!this.cells[next]) return false;
    if (isSelecting && from >= 0) {
      if (!this.selected.size) this.anchor = from;
      this.select(next, true);
    } else this.focus(next);
    return true;
  }

  chosen() {
    const places = this.selected.size ? [...this.selected] : [this.focused()].filter((place) => place >= 0);
    return places.sort((a, b) => a - b).map((place) => this.data.cards[place]);
  }

  row(card) {
    return { sample_id: card.id, content_hash: card.content_hash, folder: card.folder, decisions: card.decisions };
  }

  mine(card) {
    return mineOf(this.said.lines(this.row(card)), "verdict");
  }

  signed() {
    const name = nameOnScreen(this.data.reviewer);
    if (!name) this.say("Enter your name in the sidebar first: every decision carries it.");
    return name;
  }

  // The verdict on every chosen card that has another one or none.
  decide(verdict) {
    const cards = this.chosen();
    const reviewer = this.signed();
    if (!reviewer) return;
    const isSaid = (card) => {
      const mine = this.mine(card);
      return mine && !mine.isOutdated && keyOf(this.data.verdicts, mine) === verdict.key;
    };
    const press = newId();
    const others = cards.filter((card) => !isSaid(card));
    for (const card of others) this.said.write(reviewer, this.row(card), { action: verdict.action, tags: verdict.tags }, press);
    const where = countOf(cards.length, "card", "cards");
    this.clear(); // the next key must not change these again while the reviewer looks at another card
    this.say(`${verdict.label} on ${where} ${others.length ? "· U takes it back." : "stands already."}`);
    this.drawDecided();
  }

  undoLast() {
    const reviewer = this.signed();
    if (!reviewer) return;
    const lines = this.said.last(reviewer);
    for (const line of lines) this.said.takeBack(reviewer, { ...line, folder: line.run }, [line]);
    const where = countOf(new Set(lines.map((line) => line.sample_id)).size, "row", "rows");
    this.say(lines.length ? `Your last decision, on ${where}, is taken back.` : "There is no decision of this session to take back.");
    this.drawDecided();
  }

  say(text) {
    this.message.textContent = text;
    this.drawBar();
  }

  drawDecided() {
    this.data.cards.forEach((card, place) => {
      const cell = this.cells[place];
      const [link, pick] = cell.children;
      const lines = this.said.lines(this.row(card));
      const mine = mineOf(lines, "verdict");
      const others = new Set(
        lines.filter((line) => !line.mine && aspectOf(line.action) === "verdict" && !["undone", "superseded"].includes(line.state))
          .map((line) => line.reviewer.toLowerCase()),
      ).size;
      const label = mine && (this.data.verdicts.find((verdict) => verdict.key === keyOf(this.data.verdicts, mine))?.label ?? ACTION_WORDS[mine.action]);
      const marks = [];
      if (mine) marks.push(element("span", "chip mine", `✓ ${label}`));
      if (others) marks.push(element("span", "chip", `decided by ${countOf(others, "other", "others")}`));
      link.querySelector(".decided").replaceChildren(...marks);
      cell.classList.toggle("is-decided", Boolean(mine));
      cell.classList.toggle("is-selected", this.selected.has(place));
      pick.setAttribute("aria-pressed", String(this.selected.has(place)));
      const parts = [card.question, mine && `your verdict: ${label}`, this.selected.has(place) && "selected", card.id];
      link.setAttribute("aria-label", parts.filter(Boolean).join(", "));
    });
    this.drawBar();
  }

  drawBar() {
    if (!this.data) return;
    const count = this.selected.size;
    if (count) {
      this.message.textContent = `${count} selected:`;
      if (!this.buttons.children.length) this.buttons.append(...this.data.verdicts.map((known) => this.button(known)), this.button({ label: "clear", key: "Esc" }));
    } else this.buttons.replaceChildren();
    const waiting = this.said.outbox.count();
    const why = this.said.outbox.problem ? `: ${this.said.outbox.problem}` : "";
    const text = waiting ? `${countOf(waiting, "decision", "decisions")} not yet saved${why}` : "";
    if (this.saved.textContent !== text) this.saved.textContent = text;
    drawRefused(this.refused, this.said.outbox);
    this.bar.hidden = !this.message.textContent && !text && !this.refused.children.length;
  }

  button(known) {
    const made = element("button", "", known.label);
    made.type = "button";
    if (known.help) made.title = known.help;
    const shown = element("kbd", "", known.key);
    shown.setAttribute("aria-hidden", "true");
    made.append(" ", shown);
    made.onclick = () => (known.action ? this.decide(known) : this.unselect());
    return made;
  }
}
