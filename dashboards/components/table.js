// Draws a table whose cells are links. Text of data sets only ever becomes textContent or an attribute.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function content(cell, open) {
  const made = element(cell.href ? "a" : "span", "cell");
  if (cell.href) {
    made.href = cell.href;
    if (cell.download) made.download = "";
    made.onclick = (event) => {
      if (cell.id === undefined) return; // the browser follows the link
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return; // a new tab or window
      event.preventDefault();
      open(cell.id);
    };
  }
  if (cell.title) {
    made.title = cell.title;
    if (cell.href) made.setAttribute("aria-label", cell.title);
  }
  if (cell.image) {
    const image = element("img", "picture");
    image.src = cell.image;
    image.alt = cell.title ?? "";
    image.loading = "lazy";
    made.append(image);
  }
  if (cell.text !== undefined) {
    const text = element("span", "text", cell.text);
    text.dir = "auto";
    made.append(text);
  }
  if (cell.note) made.append(element("span", "note", cell.note));
  return made;
}

function line(cells, open) {
  const row = element("tr");
  for (const cell of cells) {
    const box = element(cell.head ? "th" : "td", `${cell.tone ?? ""} ${cell.number ? "number" : ""}`);
    if (cell.head) box.scope = "row";
    if (cell.shade !== undefined) box.style.setProperty("--shade", cell.shade);
    box.append(content(cell, open));
    row.append(box);
  }
  return row;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const open = (id) => setTriggerValue("opened", id);
  const table = element("table", data.wide ? "wide" : "");
  table.setAttribute("aria-label", data.label);
  const head = element("thead");
  const names = element("tr");
  for (const column of data.columns) {
    const name = element("th", column.number ? "number" : "", column.text);
    name.scope = "col";
    if (column.title) name.title = column.title;
    names.append(name);
  }
  head.append(names);
  const body = element("tbody");
  body.append(...data.rows.map((cells) => line(cells, open)));
  table.append(head, body);
  parentElement.querySelector(".scroll").replaceChildren(table);
}
