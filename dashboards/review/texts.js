// Texts of data sets on the screen: folded when long, compared word by word. They only ever become textContent.

const LONGEST_DIFF = 3000; // words and blanks of both texts together

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// A text from data: its own direction, and a rendered form where the server made one.
function dataText(className, text, options, tag = "div") {
  const made = element(tag, `data ${className}`);
  made.dir = "auto";
  const html = options?.rendered?.get(text);
  if (html === undefined) made.textContent = text;
  else {
    made.classList.add("rendered");
    made.innerHTML = html; // sanitised by the server; see ``review/render``
  }
  return made;
}

// A block that shows its first lines and, if there are more, a button; the choice is remembered by kind of text.
function folded(inner, kind, remembered, remember) {
  const block = element("div", "fold");
  inner.classList.add("folded");
  const button = element("button", "link");
  button.type = "button";
  button.hidden = true;
  const show = (isOpen) => {
    inner.classList.toggle("open", isOpen);
    button.textContent = isOpen ? "show less" : "show all";
    button.setAttribute("aria-expanded", String(isOpen));
  };
  show(Boolean(remembered[kind]));
  button.onclick = () => {
    const isOpen = !inner.classList.contains("open");
    show(isOpen);
    remember(kind, isOpen);
  };
  block.append(inner, button);
  block.measure = () => {
    button.hidden = !inner.classList.contains("open") && inner.scrollHeight <= inner.clientHeight + 2;
  };
  return block;
}

// [mark, words] pairs as one line: what is only in the reference struck out, what is only in the answer underlined.
function diffLine(pairs, className = "diff") {
  const line = element("div", className);
  line.dir = "auto";
  for (const [mark, words] of pairs) {
    const part = element(mark === "-" ? "del" : mark === "+" ? "ins" : "span", "", words);
    if (mark === "-") part.setAttribute("aria-label", `missing: ${words}`);
    if (mark === "+") part.setAttribute("aria-label", `added: ${words}`);
    line.append(part);
  }
  return line;
}

// Words, blanks and marks of punctuation, in order; also of scripts that put no blanks between words.
function wordsOf(text) {
  return [...new Intl.Segmenter("und", { granularity: "word" }).segment(text)].map(({ segment }) => segment);
}

// Word diff by the longest common subsequence: [mark, text] with marks =, - (only in before) and + (only in after). The
// texts of = and - make up ``before``, those of = and + ``after``.
function wordDiff(before, after) {
  const old = wordsOf(before);
  const now = wordsOf(after);
  if (old.length + now.length > LONGEST_DIFF) return [["-", before], ["+", after]];
  const common = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1)
    for (let j = now.length - 1; j >= 0; j -= 1)
      common[i][j] = old[i] === now[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
  const pairs = [];
  let [gone, come, same] = ["", "", ""];
  const flush = () => {
    for (const pair of [["-", gone], ["+", come], ["=", same]]) if (pair[1]) pairs.push(pair);
    [gone, come, same] = ["", "", ""];
  };
  const change = () => {
    if (!same) return;
    if (gone && come && !same.trim()) [gone, come, same] = [gone + same, come + same, ""]; // blanks do not end a change
    else flush();
  };
  for (let i = 0, j = 0; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      same += old[i++];
      j += 1;
    } else if (i < old.length && (j >= now.length || common[i + 1][j] >= common[i][j + 1])) {
      change();
      gone += old[i++];
    } else {
      change();
      come += now[j++];
    }
  }
  flush();
  return pairs;
}
