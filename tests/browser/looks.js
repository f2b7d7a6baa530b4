// What a person would see of the page, as data.

const boxOf = (element) => {
  const { left, top, right, bottom } = element.getBoundingClientRect();
  return { left, top, right, bottom };
};

const isVisible = (element) =>
  element.checkVisibility() && element.getClientRects().length > 0 && !element.closest("title, desc, style, symbol");

const channels = (colour) => {
  const found = colour.match(/rgba?\(([^)]+)\)/);
  return found ? found[1].split(",").map(Number) : null;
};

const luminance = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((c) => {
    const share = c / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};

// What is painted behind a point: the first opaque thing below it that is no text.
const ground = (x, y) => {
  for (const element of document.elementsFromPoint(x, y)) {
    const style = getComputedStyle(element);
    const isShape = element instanceof SVGGeometryElement;
    const colour = channels(isShape ? style.fill : style.backgroundColor);
    if (!(element instanceof SVGTextElement) && colour && (colour[3] ?? 1) === 1) return colour;
  }
  return [255, 255, 255];
};

const seen = {
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  beyond: [...document.body.querySelectorAll("*")]
    .filter((e) => isVisible(e) && !(e instanceof SVGElement) && boxOf(e).right > innerWidth + 1 && getComputedStyle(e).position !== "absolute")
    .map((e) => e.outerHTML.slice(0, 120)),
  foreign: [...document.querySelectorAll("script, img, iframe, object, embed, link, form, foreignObject, animate, set, base")].length +
    [...document.querySelectorAll("*")].filter((e) => [...e.attributes].some((a) => a.name.startsWith("on"))).length,
  owned: window.owned ?? null,
  boards: [],
  faint: [],
  texts: 0,
};

for (const board of document.querySelectorAll("svg.board")) {
  if (!isVisible(board)) continue;
  const texts = [...board.querySelectorAll("text")].map((e) => ({ text: e.textContent, ...boxOf(e) }));
  const frame = boxOf(board);
  const places = [...board.querySelectorAll(".place")].map((place) => {
    const [declared, measured] = ["declared", "measured"].map((name) => place.querySelector(`path.${name}`));
    const scale = frame.right > frame.left ? (frame.right - frame.left) / board.viewBox.baseVal.width : 0;
    return {
      slot: place.dataset.slot,
      kind: place.classList[1],
      declared: declared ? parseFloat(getComputedStyle(declared).strokeWidth) : 0,
      measured: measured ? parseFloat(getComputedStyle(measured).strokeWidth) : 0,
      drawn: measured ? measured.getBBox().width * scale : 0,
      verdict: measured ? measured.classList[1] : null,
      pattern: measured ? getComputedStyle(measured).strokeDasharray : null,
      crossed: place.querySelector(".cross") !== null,
      card: boxOf(place.querySelector("rect.card")),
      socket: boxOf(place.querySelector("rect.slot")),
    };
  });
  seen.boards.push({ name: board.getAttribute("class"), frame, texts, places, description: board.querySelector("desc").textContent });
}

const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode;
  const element = node.parentElement;
  if (!node.textContent.trim() || !isVisible(element)) continue;
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = [...range.getClientRects()].find((rect) => rect.width > 0 && rect.height > 0);
  if (!box) continue;
  seen.texts += 1;
  const style = getComputedStyle(element);
  const ink = channels(element instanceof SVGElement ? style.fill : style.color);
  const ratio = contrast(ink, ground(box.left + box.width / 2, box.top + box.height / 2));
  if (ratio < 4.5) seen.faint.push([node.textContent.slice(0, 60), Math.round(ratio * 100) / 100]);
}
return seen;
