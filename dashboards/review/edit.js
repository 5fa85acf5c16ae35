// The form that replaces a row's references and question. What is typed is kept as a draft until it is saved or
// discarded, whatever happens to the page.

class Editor {
  // host: save({references, question, note}) with null for what stays, close().
  constructor(row, host) {
    this.row = row;
    this.host = host;
    this.key = Editor.keyOf(row);
    const draft = Editor.draftOf(row);
    this.references = draft?.references ?? row.references.map(([text, votes]) => ({ old: text, text, votes }));
    if (!this.references.length) this.references.push({ old: null, text: "", votes: 1 });
    this.form = element("form", "edit");
    this.form.noValidate = true;
    this.form.setAttribute("aria-label", "Edit the row");
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.save();
    };
    // Streamlit's own keys do not see that these boxes are boxes: they stand in a shadow root.
    this.form.addEventListener("keydown", (event) => this.pressed(event));
    this.form.addEventListener("input", () => this.changed());
    this.list = element("div", "boxes-of-text");
    this.question = this.area(draft?.question ?? row.question, "Question");
    this.note = element("input");
    this.note.value = draft?.note ?? "";
    this.note.placeholder = "why (optional)";
    this.note.maxLength = 4000;
    this.note.setAttribute("aria-label", "Note on the edit");
    this.difference = element("div", "difference");
    this.difference.setAttribute("aria-label", "What changes");
    this.message = element("p", "message");
    this.message.setAttribute("role", "alert");
    const buttons = element("div", "line");
    this.saving = element("button", "primary", "Save (Ctrl+Enter)");
    this.saving.type = "submit";
    buttons.append(this.saving, this.button("Leave (Esc)", () => this.leave()));
    this.form.append(
      element("h2", "", "References"), this.list, this.button("Add a reference", () => this.add()),
      element("h2", "", "Question"), this.question, this.note, this.difference, this.message, buttons,
    );
    this.drawReferences();
    this.changed();
  }

  static keyOf(row) {
    return `winnow_draft/${row.folder}/${row.sample_id}`;
  }

  static draftOf(row) {
    try {
      return JSON.parse(localKept.getItem(Editor.keyOf(row)));
    } catch {
      return null;
    }
  }

  area(value, label) {
    const area = element("textarea");
    area.value = value;
    area.dir = "auto";
    area.maxLength = 100000;
    area.rows = Math.min(Math.max(value.split("\n").length, Math.ceil(value.length / 45), 1), 8);
    area.setAttribute("aria-label", label);
    return area;
  }

  button(label, act) {
    const made = element("button", "", label);
    made.type = "button";
    made.onclick = act;
    return made;
  }

  drawReferences() {
    this.list.replaceChildren(
      ...this.references.map((reference, number) => {
        const line = element("div", "line");
        const area = this.area(reference.text, `Reference ${number + 1}`);
        area.addEventListener("input", () => (reference.text = area.value));
        line.append(area);
        if (reference.votes > 1) line.append(element("span", "votes", `×${reference.votes}`));
        const remove = this.button("✕", () => {
          this.references.splice(number, 1);
          this.drawReferences();
          this.changed();
        });
        remove.setAttribute("aria-label", `Remove reference ${number + 1}`);
        line.append(remove);
        return line;
      }),
    );
  }

  add() {
    this.references.push({ old: null, text: "", votes: 1 });
    this.drawReferences();
    this.changed();
    this.list.lastElementChild.querySelector("textarea").focus();
  }

  focus() {
    const first = this.list.querySelector("textarea") ?? this.question;
    first.focus();
    first.select();
  }

  removed() {
    const kept = new Set(this.references.map((reference) => reference.old));
    return this.row.references.filter(([text]) => !kept.has(text));
  }

  // What is new: null for what stays.
  edits() {
    const before = JSON.stringify(this.row.references.map(([text, votes]) => [text, votes]));
    const now = JSON.stringify(this.references.map(({ text, votes }) => [text.trim(), votes]));
    const isEmptyStill = !this.row.references.length && this.references.every(({ text }) => !text.trim());
    const references = now === before || isEmptyStill ? null : this.references.flatMap(({ text, votes }) => Array(votes).fill(text.trim()));
    const question = this.question.value.trim() === this.row.question.trim() ? null : this.question.value.trim();
    return { references, question, note: this.note.value.trim() };
  }

  isChanged() {
    const { references, question, note } = this.edits();
    return references !== null || question !== null || note !== "";
  }

  changed() {
    this.message.textContent = "";
    this.leaving = false;
    const lines = [];
    for (const { old, text } of this.references)
      if (text.trim() !== (old ?? "").trim()) lines.push(diffLine(wordDiff(old ?? "", text)));
    for (const [text] of this.removed()) lines.push(diffLine([["-", text]]));
    if (this.edits().question !== null) lines.push(diffLine(wordDiff(this.row.question, this.question.value)));
    this.difference.replaceChildren(...(lines.length ? [element("h2", "", "What changes"), ...lines] : []));
    if (this.isChanged()) {
      const draft = { references: this.references, question: this.question.value, note: this.note.value };
      try {
        localKept.setItem(this.key, JSON.stringify(draft));
      } catch {
        this.message.textContent = "This browser's store is full: the text is lost if you leave before you save it.";
      }
    } else localKept.removeItem(this.key);
  }

  pressed(event) {
    event.stopPropagation();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.save();
    } else if (event.key === "Escape") {
      event.preventDefault();
      this.leave();
    }
  }

  save() {
    const edits = this.edits();
    if (edits.references && !edits.references.every(Boolean)) {
      this.message.textContent = "A reference is empty: write it, or remove it.";
      return;
    }
    if (edits.references && !edits.references.length) {
      this.message.textContent = "No reference is left: write one, or give the row another verdict.";
      return;
    }
    if (edits.question === "") {
      this.message.textContent = "The question is empty: write it.";
      return;
    }
    if (!this.host.save(edits)) return;
    localKept.removeItem(this.key);
    this.host.close();
  }

  leave() {
    if (!this.isChanged() || this.leaving) {
      localKept.removeItem(this.key);
      this.host.close();
      return;
    }
    this.leaving = true;
    this.message.textContent = "Not saved yet. Press Esc again to discard what you typed.";
  }
}

// A box for a note on the row; Enter saves it.
class NoteBox {
  // host: save(text) is false where it could not be saved, close().
  constructor(row, old, host) {
    this.row = row;
    this.key = `${Editor.keyOf(row)}#note`;
    this.form = element("form", "edit");
    this.form.setAttribute("aria-label", "Note on the row");
    this.box = element("input");
    this.box.dir = "auto";
    this.box.maxLength = 4000;
    this.box.value = localKept.getItem(this.key) ?? old;
    this.box.setAttribute("aria-label", "Note");
    const save = element("button", "primary", "Save (Enter)");
    save.type = "submit";
    const leave = element("button", "", "Leave (Esc)");
    leave.type = "button";
    leave.onclick = () => host.close();
    const buttons = element("div", "line");
    buttons.append(save, leave);
    this.form.append(element("h2", "", "Note"), this.box, buttons);
    this.form.addEventListener("input", () => localKept.setItem(this.key, this.box.value));
    this.form.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Escape") host.close();
    });
    this.form.onsubmit = (event) => {
      event.preventDefault();
      if (this.box.value.trim() !== old && !host.save(this.box.value.trim())) return;
      localKept.removeItem(this.key);
      host.close();
    };
  }

  focus() {
    this.box.focus();
  }
}
