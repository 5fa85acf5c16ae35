// Everything about a row but its picture: what was asked, what is right, what the model said, what was decided.

const ACTION_WORDS = {
  keep: "right as it stands", drop: "drop", relabel: "another answer", edit_question: "another question", ambiguous: "ambiguous",
  exclude_from_eval: "leave out of the score", tag: "tags", note: "note",
};
const WRONG_REFERENCE = "wrong reference"; // the tag of the verdict of that name
const SHOWN_REFERENCES = 4; // before the others fold away
const VERDICT_ACTIONS = new Set(["keep", "drop", "relabel", "ambiguous", "exclude_from_eval"]);

function aspectOf(action) {
  return VERDICT_ACTIONS.has(action) ? "verdict" : action;
}

// What a line decides, in the words of all pages.
function saidBy(line) {
  if (line.action === "exclude_from_eval" && line.tags?.includes(WRONG_REFERENCE)) return WRONG_REFERENCE;
  return ACTION_WORDS[line.action] ?? line.action;
}

// The lines about a row as they stand with what this browser has said since: newest first, with their states.
// Those that are outdated were said about another text of this row: they count nowhere until they are said anew.
function decisionsOf(row, said, taken) {
  const known = new Set((row.decisions ?? []).map((line) => line.id));
  const fresh = said.filter((line) => !known.has(line.id));
  const seen = new Set();
  return [...fresh.reverse(), ...(row.decisions ?? [])].map((told) => {
    const line = { ...told, isOutdated: told.content_hash !== row.content_hash };
    if (taken.has(line.id) || line.state === "undone") return { ...line, state: "undone" };
    if (!line.mine) return line;
    const aspect = aspectOf(line.action);
    const isFirst = !seen.has(aspect);
    seen.add(aspect);
    return { ...line, state: !isFirst ? "superseded" : line.state === "superseded" ? "active" : line.state };
  });
}

// Taken back, or replaced by a later line of the same person.
function isPast(line) {
  return ["undone", "superseded"].includes(line.state);
}

function mineOf(lines, aspect) {
  return lines.find((line) => line.mine && aspectOf(line.action) === aspect && !isPast(line));
}

function chip(text, tone = "") {
  return element("span", `chip ${tone}`, text);
}

function labelled(label, ...parts) {
  const block = element("section");
  block.append(element("h2", "", label), ...parts);
  return block;
}

function details(label, kind, view, ...parts) {
  const made = element("details");
  made.open = Boolean(view.open[kind]);
  made.ontoggle = () => view.remember(kind, made.open);
  made.append(element("summary", "", label), ...parts);
  return made;
}

// view: {open, remember(kind, isOpen), rendered, isBlind, undo(line), askOthers(row)}.
function rowParts(row, lines, view) {
  const text = (kind, value) => folded(dataText(kind, value, view), kind, view.open, view.remember);
  const parts = [];
  if (row.system) parts.push(details("System text", "system", view, dataText("small", row.system, view)));
  if (row.turns?.length) parts.push(turnList(row.turns, text));
  else parts.push(text("question", row.question || "(no question)"));
  if (row.options?.length) parts.push(optionList(row));
  parts.push(labelled(row.references.length > 1 ? "References" : "Reference", referenceList(row, view)));
  if (row.answer) parts.push(answerBlock(row, text));
  if (row.rejected) parts.push(labelled("Rejected answer", text("rejected", row.rejected)));
  if (row.why?.length) parts.push(labelled("Why it scored so", whyList(row.why)));
  if (row.answer?.reasoning) parts.push(details("Reasoning before the answer", "reasoning", view, dataText("small", row.answer.reasoning, view)));
  if (row.tools) parts.push(details("Tools", "tools", view, dataText("small code", row.tools)));
  if (row.prompt) parts.push(details("Prompt as asked", "prompt", view, dataText("small", row.prompt, view)));
  if (row.others) parts.push(otherRuns(row, view));
  if (row.facts?.length) parts.push(factList(row.facts));
  const shown = lines.filter((line) => line.mine || !view.isBlind);
  const counting = shown.filter((line) => !isPast(line));
  const past = shown.filter(isPast);
  if (counting.length) parts.push(labelled("Decisions on this row", decisionList(counting, view)));
  if (past.length) parts.push(details(`${past.length} earlier ${past.length === 1 ? "decision" : "decisions"}`, "earlier", view, decisionList(past, view)));
  parts.push(dataText("id", row.sample_id));
  return parts;
}

function turnList(turns, text) {
  const list = element("ol", "turns");
  for (const turn of turns) {
    const item = element("li");
    item.append(element("b", "", turn.role ?? turn.from ?? ""), text("turn", turn.text ?? turn.value ?? ""));
    list.append(item);
  }
  return list;
}

function optionList(row) {
  const list = element("ul", "options");
  const chosen = (row.answer?.text ?? "").trim().toLowerCase();
  const right = new Set(row.references.map(([text]) => text.trim().toLowerCase()));
  row.options.forEach((option, number) => {
    const words = typeof option === "string" ? option : option.text;
    const names = [words.trim().toLowerCase(), String.fromCharCode(97 + number)];
    const isRight = option.reference ?? names.some((name) => right.has(name));
    const isChosen = option.chosen ?? (chosen !== "" && names.includes(chosen));
    const item = element("li");
    item.append(dataText("", `${String.fromCharCode(65 + number)}  ${words}`, undefined, "span"));
    if (isRight) item.append(chip("✓ reference", "good"));
    if (isChosen) item.append(chip("chosen", isRight ? "good" : "bad"));
    list.append(item);
  });
  return list;
}

// The first references and the one that the answer is most like; the others fold away.
function referenceList(row, view) {
  const listOf = (references) => {
    const list = element("ul", "references");
    for (const [text, votes] of references) {
      const item = element("li");
      item.append(dataText("reference", text || "(empty)", view, "span"));
      if (votes > 1) item.append(chip(`×${votes}`));
      list.append(item);
    }
    return list;
  };
  const { references, nearest } = row;
  if (!references.length) return element("div", "", "(none)");
  if (references.length <= SHOWN_REFERENCES + 1) return listOf(references);
  const isFirst = ([text], number) => number < SHOWN_REFERENCES || (nearest && text === nearest);
  const others = references.filter((reference, number) => !isFirst(reference, number));
  const block = element("div");
  block.append(listOf(references.filter(isFirst)));
  if (others.length) block.append(details(`${others.length} more`, "references", view, listOf(others)));
  return block;
}

function answerBlock(row, text) {
  const { answer } = row;
  const chips = element("div", "chips");
  if (answer.correct !== null && answer.correct !== undefined)
    chips.append(chip(answer.correct ? "✓ right" : "✗ wrong", answer.correct ? "good" : "bad"));
  if (answer.near) chips.append(chip(`fixable by scorer: ${answer.near}`, "odd"));
  if (answer.status && answer.status !== "ok") chips.append(chip(answer.status, "odd"));
  if (answer.truncated) chips.append(chip("cut off at the token limit", "odd"));
  else if (answer.finish_reason && answer.finish_reason !== "stop") chips.append(chip(`ended: ${answer.finish_reason}`, "odd"));
  const said = answer.text ?? answer.raw;
  const parts = [text("answer", said || "(nothing)")];
  if (row.diff?.some(([mark]) => mark !== "=")) {
    parts.push(element("h3", "", row.references.length > 1 ? "Against the nearest reference" : "Against the reference"), diffLine(row.diff));
    if (row.diff_cut) parts.push(element("div", "small", "The texts are long: only their beginnings are compared word by word."));
  }
  if (answer.text !== null && answer.text !== undefined && answer.raw && answer.raw.trim() !== answer.text.trim())
    parts.push(element("h3", "", "Raw output"), text("raw", answer.raw));
  if (typeof answer.confidence === "number") parts.push(element("div", "small", `Probability that the model gives it: ${(100 * answer.confidence).toFixed(0)}%`));
  if (answer.error) parts.push(element("h3", "", "Error"), dataText("small", answer.error));
  const head = element("div", "line");
  head.append(element("h2", "", "Answer"), chips);
  const block = element("section");
  block.append(head, ...parts);
  return block;
}

function whyList(why) {
  const list = element("ul", "why");
  for (const found of why) {
    const item = element("li");
    if (found.text) item.append(dataText("", found.text));
    if (found.scores) item.append(element("div", "small", found.scores));
    list.append(item);
  }
  return list;
}

// What other runs said comes when somebody looks: reading it takes longer than all else of a row.
function otherRuns(row, view) {
  const { said } = row;
  const label = said ? `Other runs (${said.length})` : "Other runs";
  const list = said?.length ? otherList(said) : element("p", "", said ? "No other run was asked this." : "Reading …");
  const made = details(label, "others", view, list);
  const ask = () => made.open && view.askOthers(row);
  made.addEventListener("toggle", ask);
  ask();
  return made;
}

function otherList(others) {
  const list = element("ul", "others");
  for (const other of others) {
    const item = element("li");
    const head = element("div", "chips");
    head.append(element("b", "", other.run));
    if (other.base) head.append(chip("compared with"));
    if (typeof other.correct === "boolean") head.append(chip(other.correct ? "✓ right" : "✗ wrong", other.correct ? "good" : "bad"));
    if (other.changed) head.append(chip("asked otherwise", "odd"));
    item.append(head, dataText("", other.text || "(nothing)"));
    list.append(item);
  }
  return list;
}

function factList(facts) {
  const list = element("dl", "facts");
  for (const [name, text] of facts) list.append(element("dt", "", name.replaceAll("_", " ")), dataText("", String(text), undefined, "dd"));
  return list;
}

function decisionList(lines, view) {
  const list = element("ul", "decisions");
  for (const line of lines) {
    const item = element("li", line.state);
    item.append(chip(saidBy(line), line.state === "active" ? "good" : line.state === "conflict" ? "odd" : ""));
    if (line.isOutdated && !isPast(line)) item.append(chip("about an earlier text", "odd"));
    if (line.state !== "active") item.append(chip(line.state, line.state === "conflict" ? "odd" : ""));
    const tags = (line.tags ?? []).filter((tag) => tag !== saidBy(line));
    const words = [line.new, tags.join(", "), line.note, line.reviewer].filter(Boolean).join(" · ");
    item.append(dataText("small", words, undefined, "span"));
    if (line.mine && !isPast(line)) {
      const undo = element("button", "link", "undo");
      undo.type = "button";
      undo.setAttribute("aria-label", `Undo: ${saidBy(line)} ${words}`);
      undo.onclick = () => view.undo([line]);
      item.append(undo);
    }
    list.append(item);
  }
  return list;
}
