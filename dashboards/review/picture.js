// The picture of a row: the preview that is there already, moved and enlarged; past its pixels, tiles of the original
// for what is in view; and boxes over it, in fractions of its width and height.

const MOST_ZOOM = 60; // times the size at which the whole picture fits
const STEP = 1.4; // of one key or one notch of a wheel
const BOX_WORDS = { reference: "reference", answer: "answer", row: "of the row" };

class Picture {
  // choices: what the reviewer chose before (boxes: whether they show); choose(name, value) keeps it.
  constructor(choices, choose) {
    this.choices = choices;
    this.choose = choose;
    this.frame = element("div", "frame");
    this.frame.tabIndex = 0;
    this.frame.setAttribute("role", "group");
    this.frame.setAttribute("aria-label", "Picture: plus and minus zoom, 0 shows all of it, arrow keys move it");
    this.stage = element("div", "stage");
    this.tiles = element("div", "tiles");
    this.tiles.setAttribute("aria-hidden", "true"); // the picture below has the text
    this.boxes = element("div", "boxes");
    this.frame.append(this.stage, this.boxes);
    this.tools = element("div", "tools");
    this.root = element("div", "picture");
    this.root.append(this.frame, this.tools);
    this.pointers = new Map();
    this.frame.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.frame.addEventListener("pointerdown", (event) => this.down(event));
    this.frame.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) this.frame.addEventListener(name, (event) => this.up(event));
    this.frame.addEventListener("dblclick", (event) => this.toggle(this.at(event)));
    this.frame.addEventListener("keydown", (event) => this.arrow(event));
    new ResizeObserver(() => this.resized()).observe(this.frame);
  }

  // images: loaded or loading <img> elements, one for each of row.pictures.
  show(row, images, number = 0) {
    this.row = row;
    this.images = images;
    this.number = number;
    this.image = images[number] ?? null;
    this.info = null;
    this.whole = this.scale = 0; // until its size is known
    this.tiles.replaceChildren();
    this.stage.replaceChildren(...(this.image ? [this.image] : []), this.tiles);
    this.boxes.replaceChildren();
    this.shown = [];
    if (!this.image) return;
    this.image.draggable = false;
    this.image.alt = row.question.slice(0, 200) || `picture of ${row.sample_id}`;
    const image = this.image;
    if (image.complete) this.fit();
    else image.addEventListener("load", () => image === this.image && this.fit(), { once: true });
    this.drawBoxes();
    this.drawTools();
  }

  boxesHere() {
    return (this.row?.boxes ?? []).filter((box) => (box.picture ?? 0) === this.number);
  }

  drawBoxes() {
    this.shown = (this.choices.boxes ?? true) ? this.boxesHere().map((box) => this.boxOf(box)) : [];
    this.boxes.replaceChildren(...this.shown.map(({ made }) => made));
    this.place();
  }

  boxOf(box) {
    const [left, top, right, bottom] = box.box ?? [box.x, box.y, box.x + box.width, box.y + box.height];
    const of = box.of ?? box.source ?? "row";
    const made = element("div", `box of-${of}`);
    made.append(element("span", "", [box.label, BOX_WORDS[of] ?? of].filter(Boolean).join(" · ")));
    return { made, left, top, right, bottom };
  }

  drawTools() {
    const tools = [
      this.tool("−", "Smaller (−)", () => this.zoom(1 / STEP)), this.tool("+", "Larger (+)", () => this.zoom(STEP)),
      this.tool("Fit", "The whole picture (0)", () => this.fit()),
    ];
    if (this.boxesHere().length) {
      const boxes = this.tool("Boxes", "Show or hide the boxes", () => this.toggleBoxes());
      boxes.setAttribute("aria-pressed", String(this.choices.boxes ?? true));
      tools.push(boxes);
    }
    if (this.images.length > 1) {
      const text = `${this.number + 1}/${this.images.length}`;
      tools.push(this.tool(`Picture ${text}`, "The next picture of this row (P)", () => this.next()));
    }
    this.tools.replaceChildren(...tools);
  }

  tool(label, help, act) {
    const made = element("button", "", label);
    made.type = "button";
    made.title = help;
    if (!/\w/.test(label)) made.setAttribute("aria-label", help);
    made.onclick = act;
    return made;
  }

  toggleBoxes() {
    this.choose("boxes", !(this.choices.boxes ?? true));
    this.drawBoxes();
    this.drawTools();
  }

  next() {
    if (this.images.length > 1) this.show(this.row, this.images, (this.number + 1) % this.images.length);
  }

  size() {
    return [this.image?.naturalWidth || 1, this.image?.naturalHeight || 1];
  }

  fit() {
    if (!this.image) return;
    const [width, height] = this.size();
    const { clientWidth, clientHeight } = this.frame;
    if (!clientWidth || !clientHeight) return;
    this.whole = Math.min(clientWidth / width, clientHeight / height);
    this.scale = this.whole;
    this.x = (clientWidth - width * this.scale) / 2;
    this.y = (clientHeight - height * this.scale) / 2;
    this.place();
  }

  // The frame has another size: who looks at a part of the picture goes on looking at it.
  resized() {
    const { clientWidth, clientHeight } = this.frame;
    if (!this.image || !this.whole || !this.isZoomed() || !clientWidth || !clientHeight) {
      this.fit();
      return;
    }
    const [width, height] = this.size();
    this.whole = Math.min(clientWidth / width, clientHeight / height);
    if (this.isZoomed()) this.bound();
    else this.fit();
  }

  isZoomed() {
    return this.scale > this.whole * 1.001;
  }

  // factor around a point of the frame; its middle without one.
  zoom(factor, at) {
    if (!this.image || !this.whole) return;
    const [px, py] = at ?? [this.frame.clientWidth / 2, this.frame.clientHeight / 2];
    const scale = Math.min(Math.max(this.scale * factor, this.whole), this.whole * MOST_ZOOM);
    this.x = px - ((px - this.x) * scale) / this.scale;
    this.y = py - ((py - this.y) * scale) / this.scale;
    this.scale = scale;
    if (!this.isZoomed()) this.fit();
    else this.bound();
  }

  // Between the whole picture and the original's own pixels, or three times its size.
  async toggle(at) {
    if (this.isZoomed()) {
      this.fit();
      return;
    }
    const { image } = this;
    if (!image) return;
    const [info] = await Promise.all([this.original(), image.decode().catch(() => undefined)]);
    if (image !== this.image || this.isZoomed()) return;
    if (!this.whole) this.fit();
    const [width] = this.size();
    const isLarger = info && info.width > width;
    const exact = (isLarger ? info.width / width : 1) / (this.whole * devicePixelRatio);
    this.zoom(Math.max(exact, isLarger ? 1 : 3), at);
  }

  // How the original is cut into tiles; null where there are none.
  async original() {
    const { image } = this;
    const address = this.row?.pictures[this.number]?.tiles;
    if (!address || this.info) return this.info;
    try {
      const answer = await fetch(address);
      const info = answer.ok ? await answer.json() : null;
      if (image === this.image && info?.width) this.info = info;
      return this.info;
    } catch {
      return null; // the preview stays
    }
  }

  pan(dx, dy) {
    if (!this.isZoomed()) return;
    this.x += dx;
    this.y += dy;
    this.bound();
  }

  // The picture never leaves the frame.
  bound() {
    const [width, height] = this.size().map((side) => side * this.scale);
    const keep = (offset, side, frame) => (side <= frame ? (frame - side) / 2 : Math.min(Math.max(offset, frame - side), 0));
    this.x = keep(this.x, width, this.frame.clientWidth);
    this.y = keep(this.y, height, this.frame.clientHeight);
    this.place();
  }

  place() {
    if (!this.image || !this.whole) return;
    const [width, height] = this.size();
    // On whole pixels of the screen, so that the original's own pixels stay sharp.
    const corner = this.frame.getBoundingClientRect();
    const snapped = (offset, start) => Math.round((start + offset) * devicePixelRatio) / devicePixelRatio - start;
    const [x, y] = [snapped(this.x, corner.left + this.frame.clientLeft), snapped(this.y, corner.top + this.frame.clientTop)];
    this.stage.style.transform = `translate(${x}px, ${y}px) scale(${this.scale})`;
    this.frame.style.touchAction = this.isZoomed() ? "none" : "pan-y";
    this.frame.classList.toggle("zoomed", this.isZoomed());
    for (const { made, left, top, right, bottom } of this.shown) {
      made.style.left = `${x + left * width * this.scale}px`;
      made.style.top = `${y + top * height * this.scale}px`;
      made.style.width = `${(right - left) * width * this.scale}px`;
      made.style.height = `${(bottom - top) * height * this.scale}px`;
    }
    cancelAnimationFrame(this.soon);
    this.soon = requestAnimationFrame(() => this.sharpen());
  }

  // Tiles of the original for what is in view, once the preview's pixels are larger than the screen's.
  async sharpen() {
    const address = this.row?.pictures[this.number]?.tiles;
    if (!address || !this.image || this.scale * devicePixelRatio < 1.05) {
      this.tiles.replaceChildren();
      return;
    }
    const { image } = this;
    const info = await this.original();
    if (image !== this.image || !info) return;
    const [width, height] = this.size();
    if (info.width > width) this.drawTiles(address, width, height);
  }

  drawTiles(address, width, height) {
    const { info } = this;
    const unit = width / info.width; // pixels of the preview for one of the original
    const level = Math.min(Math.max(Math.floor(-Math.log2(this.scale * unit * devicePixelRatio)), 0), info.levels - 1);
    const side = info.tile * 2 ** level; // original pixels
    const span = (offset, frame, most) => {
      const first = Math.max(Math.floor(-offset / this.scale / unit / side), 0);
      return [first, Math.min(Math.ceil((frame - offset) / this.scale / unit / side), Math.ceil(most / side))];
    };
    const [left, right] = span(this.x, this.frame.clientWidth, info.width);
    const [top, bottom] = span(this.y, this.frame.clientHeight, info.height);
    const there = new Map([...this.tiles.children].map((tile) => [tile.dataset.tile, tile]));
    const wanted = new Set();
    for (let y = top; y < bottom; y += 1)
      for (let x = left; x < right; x += 1) {
        const name = `${level}/${x}-${y}`;
        wanted.add(name);
        if (there.has(name)) continue;
        const tile = element("img", "tile");
        tile.dataset.tile = name;
        tile.draggable = false;
        const cut = (start, all) => Math.min(side, all - start * side) * unit;
        tile.style.cssText = `left:${x * side * unit}px;top:${y * side * unit}px;width:${cut(x, info.width)}px;height:${cut(y, info.height)}px`;
        tile.onload = () => this.dropOld(wanted);
        tile.onerror = () => tile.remove();
        tile.src = address.replace("/info?", `/${name}?`);
        this.tiles.append(tile);
      }
    this.wanted = wanted;
    this.dropOld(wanted);
  }

  // What was in view before stays until what is in view now has come.
  dropOld(wanted) {
    if (wanted !== this.wanted) return;
    const tiles = [...this.tiles.children];
    if (tiles.some((tile) => wanted.has(tile.dataset.tile) && !tile.complete)) return;
    for (const tile of tiles) if (!wanted.has(tile.dataset.tile)) tile.remove();
  }

  at(event) {
    const { left, top } = this.frame.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  wheel(event) {
    if (event.deltaY > 0 && !this.isZoomed()) return; // nothing to shrink: the page scrolls
    event.preventDefault();
    this.zoom(STEP ** (-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY) / 100, 1)), this.at(event));
  }

  down(event) {
    this.pointers.set(event.pointerId, this.at(event));
    if (this.isZoomed() || this.pointers.size > 1) this.frame.setPointerCapture(event.pointerId);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = this.at(event);
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
      this.zoom(apart(now) / apart(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
    } else this.pan(now[0] - before[0], now[1] - before[1]);
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
  }

  arrow(event) {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (!(event.key in steps) || !this.isZoomed()) return;
    event.preventDefault();
    this.pan(...steps[event.key]);
  }
}
