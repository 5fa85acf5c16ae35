// What the panel shows: progress, picture, texts and keys. The parts stay where they are while rows go by, so that
// the focus and the reviewer's eyes stay too.

class Screen {
  constructor(root, panel) {
    this.root = root;
    this.panel = panel;
    const choose = (name, value) => panel.choose(name, value);
    this.picture = new Picture(panel.choices, choose);
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", "Review");
    this.title = element("div", "title");
    this.title.setAttribute("role", "heading");
    this.title.setAttribute("aria-level", "2");
    this.progress = element("div", "progress");
    this.progress.setAttribute("aria-live", "polite");
    this.bar = element("div", "bar");
    this.bar.setAttribute("role", "progressbar");
    this.bar.setAttribute("aria-label", "Rows that you have decided");
    this.bar.append(element("div"));
    this.side = element("div", "side");
    this.side.tabIndex = 0;
    this.side.setAttribute("role", "group");
    this.side.setAttribute("aria-label", "The row");
    this.message = element("div", "said");
    this.message.setAttribute("role", "status");
    this.saved = element("div", "saved");
    this.saved.setAttribute("role", "status");
    this.refused = element("div", "refused");
    this.refused.setAttribute("role", "alert");
    this.verdicts = element("div", "verdicts");
    this.tags = element("div", "tags");
    this.moves = element("div", "moves");
    const head = element("div", "head");
    const line = element("div", "line");
    line.append(this.progress, this.saved);
    head.append(this.title, line, this.bar, this.switches());
    this.keys = element("div", "keys");
    this.keys.append(this.message, this.refused, this.verdicts, this.tags, this.moves);
    root.replaceChildren(head, this.picture.root, this.side, this.keys);
    new ResizeObserver(() => this.place()).observe(document.body);
    window.addEventListener("resize", () => this.place());
  }

  // All of the window's height below the panel's own place, so that nothing of a row needs scrolling.
  place() {
    const top = this.root.getBoundingClientRect().top + (document.scrollingElement?.scrollTop ?? 0) + this.scrolled();
    this.root.style.setProperty("--panel-height", `${Math.max(window.innerHeight - Math.max(top, 0) - 8, 420)}px`);
  }

  scrolled() {
    return document.querySelector("[data-testid=stMain]")?.scrollTop ?? 0;
  }

  switches() {
    const { panel } = this;
    const line = element("div", "line switches");
    line.append(
      this.check("undecided only", "undecided", false, "J and K pass rows that you have decided"),
      this.check("advance after a verdict", "advance", true, "A verdict goes on to the next row by itself"),
      this.check("Markdown", "render", false, "Show Markdown and LaTeX formatted, not as plain text", () => this.render()),
    );
    return line;
  }

  check(label, name, otherwise, help, changed) {
    const made = element("label", "switch");
    const box = element("input");
    box.type = "checkbox";
    box.checked = this.panel.choices[name] ?? otherwise;
    box.onchange = () => {
      this.panel.choose(name, box.checked);
      changed?.();
    };
    made.title = help;
    made.append(box, label);
    return made;
  }

  button(label, help, act, key) {
    const made = element("button", "");
    made.type = "button";
    made.title = help;
    made.append(label);
    if (key) {
      made.setAttribute("aria-keyshortcuts", key);
      const shown = element("kbd", "", key);
      shown.setAttribute("aria-hidden", "true");
      made.append(" ", shown);
    }
    made.onclick = act;
    return made;
  }

  // The buttons of a kind of row; made anew only when there are others.
  drawKeys(kind) {
    const { data } = this.panel;
    const wanted = JSON.stringify([kind, data.tags, data.verdicts]);
    if (wanted === this.keysOf) return;
    this.keysOf = wanted;
    const press = (key) => () => this.panel.press(key);
    const verdicts = data.verdicts.filter((verdict) => !kind || verdict.kinds.includes(kind));
    this.verdictButtons = new Map(verdicts.map((known) => [known.key, this.button(known.label, known.help, press(known.key), known.key)]));
    this.editButton = this.button("Edit", "Write other references or another question", press("E"), "E");
    this.verdicts.replaceChildren(...this.verdictButtons.values(), this.editButton);
    this.tagButtons = data.tags.map((tag, number) => this.button(tag, "Give or take back this tag", press(String(number + 1)), String(number + 1)));
    this.tags.replaceChildren(...this.tagButtons);
    this.noteButton = this.button("Note", "Write a note on this row", press("M"), "M");
    this.moves.replaceChildren(
      this.button("Previous", "The row before", press("K"), "K"),
      this.button("Next", "The next row", () => this.panel.next(), "J"),
      this.button("Undo", "Take back the last decision of this session, wherever it was", press("U"), "U"),
      this.noteButton,
      this.button("Nearest rows", "The nearest training rows, below", press("N"), "N"),
      this.button("First undecided", "Go to the first row that you have not decided", () => this.panel.open("")),
      this.button("Back", "Back to the list", press("B"), "B"),
      ...(document.fullscreenEnabled ? [this.button("Full screen", "The panel alone", press("F"), "F")] : []),
    );
  }

  draw() {
    const { panel } = this;
    const row = panel.row();
    this.place();
    this.drawProgress();
    this.drawKeys(row?.kind);
    this.drawSaved();
    for (const button of this.keys.querySelectorAll(".verdicts button, .tags button")) button.disabled = !row;
    if (!row) {
      this.drawNothing();
      return;
    }
    const lines = panel.lines(row);
    this.drawPressed(row, lines);
    const shown = `${row.folder} ${row.sample_id} ${panel.place}`;
    if (this.shown !== shown) {
      this.shown = shown;
      this.picture.show(row, panel.imagesOf());
      this.side.scrollTop = 0;
      this.render();
    }
    this.drawSide(row, lines);
  }

  drawNothing() {
    const { panel } = this;
    this.shown = "";
    const isThere = panel.isReady();
    this.picture.show({ question: "", pictures: [], boxes: [] }, []);
    this.side.replaceChildren(
      element("p", "", isThere ? panel.problem || panel.queue?.problem || panel.nothing() : "Loading the row …"),
    );
    if (isThere && panel.problem) this.side.append(this.button("Try again", "Ask the server again", () => panel.open(panel.written ?? "")));
  }

  drawSide(row, lines) {
    const { panel } = this;
    if (panel.editor) {
      if (this.side.firstElementChild !== panel.editor.form) this.side.replaceChildren(panel.editor.form);
      return;
    }
    const view = {
      open: panel.choices.open,
      remember: (kind, isOpen) => panel.choose("open", { ...panel.choices.open, [kind]: isOpen }),
      rendered: panel.choices.render ? panel.rendered : undefined,
      isBlind: Boolean(panel.queue?.blind),
      undo: (undone) => panel.takeBack(row, undone),
      askOthers: (asked) => panel.askOthers(asked),
    };
    const parts = rowParts(row, lines, view);
    if (Editor.draftOf(row)) parts.unshift(this.button("You have an edit here that is not saved", "Open it", () => panel.press("E")));
    this.side.replaceChildren(...parts);
    for (const block of this.side.querySelectorAll(".fold")) block.measure();
  }

  drawProgress() {
    const { queue, place, single } = this.panel;
    if (!queue) return;
    const { total, left, title } = queue;
    this.title.textContent = title;
    const at = place === null ? (single ? `Not among the ${total.toLocaleString("en")} rows` : "0 of 0") : `${(place + 1).toLocaleString("en")} of ${total.toLocaleString("en")}`;
    const text = `${at} in this view, ${left.toLocaleString("en")} left to you`;
    if (this.progress.textContent !== text) this.progress.textContent = text;
    const share = total ? (total - left) / total : 0;
    this.bar.firstElementChild.style.width = `${100 * share}%`;
    this.bar.setAttribute("aria-valuenow", String(Math.round(100 * share)));
  }

  drawPressed(row, lines) {
    const { panel } = this;
    const verdict = mineOf(lines, "verdict");
    const mine = verdict && (verdict.action === "relabel" ? "E" : panel.keyOf(verdict));
    const others = panel.queue?.blind ? [] : lines.filter((line) => !line.mine && ["active", "conflict"].includes(line.state));
    const press = (button, key, isPressed) => {
      button.setAttribute("aria-pressed", String(isPressed));
      for (const old of button.querySelectorAll(".who")) old.remove();
      for (const line of others)
        if (aspectOf(line.action) === "verdict" && (line.action === "relabel" ? "E" : panel.keyOf(line)) === key)
          button.append(this.who(line.reviewer));
    };
    for (const [key, button] of this.verdictButtons) press(button, key, mine === key);
    press(this.editButton, "E", mine === "E");
    const tags = mineOf(lines, "tag")?.tags ?? [];
    this.tagButtons.forEach((button, number) => button.setAttribute("aria-pressed", String(tags.includes(panel.data.tags[number]))));
    this.noteButton.setAttribute("aria-pressed", String(Boolean(mineOf(lines, "note"))));
  }

  // Who else gave a verdict: at the button's edge, so that no button grows or moves.
  who(reviewer) {
    const made = element("span", "who", reviewer);
    made.title = `${reviewer} decided so`;
    return made;
  }

  drawSaved() {
    const { outbox } = this.panel;
    const count = outbox.count();
    const why = outbox.problem ? `: ${outbox.problem}` : "";
    const text = count ? `${countOf(count, "decision", "decisions")} not yet saved${why}` : "";
    if (this.saved.textContent !== text) this.saved.textContent = text;
    this.saved.classList.toggle("bad", Boolean(count && outbox.problem));
    drawRefused(this.refused, outbox);
  }

  // Texts as they would be typeset, asked of the server once each.
  async render() {
    const { panel } = this;
    const row = panel.row();
    if (!panel.choices.render || !row) {
      if (row) this.drawSide(row, panel.lines(row));
      return;
    }
    const turns = (row.turns ?? []).map((turn) => turn.text ?? turn.value ?? "");
    const texts = [row.question, row.system, row.prompt, row.answer?.text, row.answer?.raw, ...turns, ...row.references.map(([text]) => text)];
    const wanted = [...new Set(texts)].filter((text) => text && !panel.rendered.has(text));
    if (wanted.length) await panel.renderTexts(wanted);
    if (panel.row() === row) this.drawSide(row, panel.lines(row));
  }
}
