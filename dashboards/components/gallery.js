// Draws the cards. Text of data sets only ever becomes textContent or an attribute, never markup.

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function drawCard(card, open) {
  const link = element("a", "card");
  link.href = card.href;
  link.dataset.sample = card.id;
  link.setAttribute("aria-label", `${card.question} (${card.id})`);
  link.onclick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return; // a new tab or window
    event.preventDefault();
    open(card.id);
  };

  const frame = element("div", "image");
  const image = element("img");
  image.src = card.image;
  image.alt = "";
  image.loading = "lazy";
  frame.append(image);

  const body = element("div", "body");
  const chips = element("div", "chips");
  for (const chip of card.chips) chips.append(element("span", `chip ${chip.tone}`, chip.text));
  const facts = element("dl", "facts");
  for (const fact of card.facts) facts.append(element("dt", "", fact.name), element("dd", "", fact.text));
  body.append(chips, element("div", "question", card.question), facts);

  link.append(frame, body);
  return link;
}

export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  const open = (id) => setTriggerValue("opened", id);
  grid.replaceChildren(...data.cards.map((card) => drawCard(card, open)));
}
