// Draws the points of a map on a canvas. Dragging draws a lasso, the wheel zooms. Text only ever becomes textContent.

const COLOURS = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#7f6bd6", "#a3501e"];
const QUIET = ["#9aa4b2", "#c3c9d2"];
const NEAREST = 4; // pixels between two corners of the lasso

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function colours(groups) {
  let loud = 0;
  let quiet = 0;
  return groups.map((group) => (group.quiet ? QUIET[quiet++ % 2] : COLOURS[loud++ % COLOURS.length]));
}

// One map: its points, what is seen of them, and the lasso in the map's own units.
function makeMap(root, data, send) {
  const points = new Int16Array(bytes(data.points).buffer);
  const codes = bytes(data.codes);
  const colour = colours(data.groups);
  const hidden = new Set();
  let polygon = [];
  let drawing = false;
  let view = { x: 0, y: 0, scale: 1 };

  const canvas = element("canvas", "points");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Map of ${codes.length} pictures; drag around some to select them`);
  const legend = element("div", "legend");
  const hint = element("span", "hint", "Drag around pictures to select them. The wheel zooms, a double click shows all.");
  const clear = element("button", "clear", "Clear the lasso");
  clear.type = "button";
  clear.onclick = () => {
    polygon = [];
    draw();
    send(null);
  };
  data.groups.forEach((group, code) => {
    const button = element("button", "group");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const dot = element("span", "dot");
    dot.style.background = colour[code];
    button.append(dot, element("span", "", `${group.name} (${group.count.toLocaleString("en")})`));
    button.onclick = () => {
      if (!hidden.delete(code)) hidden.add(code);
      button.setAttribute("aria-pressed", String(!hidden.has(code)));
      draw();
    };
    legend.append(button);
  });
  const foot = element("div", "foot");
  foot.append(hint, clear);
  root.replaceChildren(legend, canvas, foot);

  const size = () => ({ width: canvas.clientWidth, height: canvas.clientHeight });
  const unit = () => (Math.min(size().width, size().height) / 2 - 8) * view.scale;
  const toScreen = ([x, y]) => [size().width / 2 + (x - view.x) * unit(), size().height / 2 - (y - view.y) * unit()];
  const toMap = (event) => {
    const box = canvas.getBoundingClientRect();
    const left = event.clientX - box.left - size().width / 2;
    const top = event.clientY - box.top - size().height / 2;
    return [view.x + left / unit(), view.y - top / unit()];
  };

  function drawPoints(pen) {
    const { width, height } = size();
    const side = Math.max(2, Math.min(7, 260 / Math.sqrt(codes.length))) * Math.sqrt(view.scale);
    const factor = unit() / data.steps;
    const left = width / 2 - view.x * unit();
    const top = height / 2 + view.y * unit();
    const order = data.groups.map((_, code) => code).sort((a, b) => data.groups[b].quiet - data.groups[a].quiet);
    for (const code of order) {
      if (hidden.has(code)) continue;
      pen.fillStyle = colour[code];
      pen.globalAlpha = data.groups[code].quiet ? 0.45 : 0.8;
      for (let at = 0; at < codes.length; at++) {
        if (codes[at] !== code) continue;
        pen.fillRect(left + points[2 * at] * factor - side / 2, top - points[2 * at + 1] * factor - side / 2, side, side);
      }
    }
    pen.globalAlpha = 1;
  }

  function drawLasso(pen) {
    if (polygon.length < 2) return;
    pen.beginPath();
    polygon.forEach((corner, at) => pen[at ? "lineTo" : "moveTo"](...toScreen(corner)));
    if (!drawing) pen.closePath();
    const ink = getComputedStyle(root).color;
    pen.strokeStyle = ink;
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 4]);
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 0.07;
    pen.fillStyle = ink;
    pen.fill();
    pen.globalAlpha = 1;
  }

  function draw() {
    const { width, height } = size();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    drawPoints(pen);
    drawLasso(pen);
    clear.hidden = polygon.length === 0;
  }

  canvas.onpointerdown = (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    drawing = true;
    polygon = [toMap(event)];
  };
  canvas.onpointermove = (event) => {
    if (!drawing) return;
    const [x, y] = toScreen(polygon[polygon.length - 1]);
    const corner = toMap(event);
    const [left, top] = toScreen(corner);
    if (Math.hypot(left - x, top - y) < NEAREST || polygon.length >= 1000) return;
    polygon.push(corner);
    draw();
  };
  canvas.onpointerup = () => {
    if (!drawing) return;
    drawing = false;
    const large = polygon.length >= 3;
    if (!large) polygon = [];
    draw();
    send(large ? polygon.map((corner) => corner.map((value) => Math.round(value * 1e5) / 1e5)) : null);
  };
  canvas.ondblclick = () => {
    view = { x: 0, y: 0, scale: 1 };
    draw();
  };
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const before = toMap(event);
      view.scale = Math.min(40, Math.max(1, view.scale * Math.exp(-event.deltaY / 400)));
      if (view.scale === 1) view = { x: 0, y: 0, scale: 1 };
      const after = toMap(event);
      if (view.scale > 1) {
        view.x += before[0] - after[0];
        view.y += before[1] - after[1];
      }
      draw();
    },
    { passive: false },
  );
  new ResizeObserver(draw).observe(canvas);
  draw();
}

export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".map");
  const drawn = `${data.points.length} ${data.points.slice(0, 400)} ${data.codes} ${JSON.stringify(data.groups)}`;
  if (root.winnowDrawn === drawn) return; // a rerun of the page: the lasso and the zoom stay
  root.winnowDrawn = drawn;
  makeMap(root, data, (polygon) => setStateValue("polygon", polygon));
}
