// What both jobs need: the server, elements, and intervals of frames ([first, last], inclusive).

export const byId = (id) => document.getElementById(id);

export class ServerError extends Error {
  constructor(message, status, content) {
    super(message);
    this.status = status;
    this.content = content;
  }
}

// JSON from the server; ServerError with its one line, TypeError where it does not answer at all.
export async function api(path, options = {}) {
  if (options.json !== undefined) {
    options.body = JSON.stringify(options.json);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await fetch(path, options);
  const content = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new ServerError(content.error || `the server says ${response.status}`, response.status, content);
  }
  return content;
}

// Why something failed, in words.
export const reasonOf = (error) => (error instanceof TypeError ? "the server does not answer" : error.message);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "style") for (const [k, v] of Object.entries(value)) made.style.setProperty(k, v);
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function say(line, text, kind = "") {
  line.textContent = text;
  line.className = `line ${kind}`;
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

// Where the keyboard belongs to a field.
export const typing = (target) => target.closest("input:not([type=checkbox]):not([type=range]), textarea, select") !== null;

// --- intervals -----------------------------------------------------------------------------------

export function spansOf(relevance, threshold) {
  const spans = [];
  relevance.forEach((value, i) => {
    if (value < threshold) return;
    const last = spans[spans.length - 1];
    if (last && last[1] === i - 1) last[1] = i;
    else spans.push([i, i]);
  });
  return spans;
}

// With one more; what it overlaps or touches becomes one with it.
export function added(spans, [start, end]) {
  const apart = [];
  for (const [s, e] of spans) {
    if (e < start - 1 || s > end + 1) apart.push([s, e]);
    else [start, end] = [Math.min(s, start), Math.max(e, end)];
  }
  return [...apart, [start, end]].sort((a, b) => a[0] - b[0]);
}

export const at = (spans, frame) => spans.findIndex(([s, e]) => s <= frame && frame <= e);

export const replaced = (spans, index, span) => spans.map((old, i) => (i === index ? span : old));

export function split(spans, index, frame) {
  const [start, end] = spans[index];
  return [...spans.slice(0, index), [start, frame - 1], [frame, end], ...spans.slice(index + 1)];
}

// --- timeline ------------------------------------------------------------------------------------

export const percent = (frame, count) => `${(100 * frame) / count}%`;

export function spanBox(name, [start, end], count) {
  return element("div", { class: name, style: { left: percent(start, count), width: percent(end - start + 1, count) } });
}

export function frameAt(bar, clientX, count) {
  const box = bar.getBoundingClientRect();
  return Math.max(0, Math.min(count - 1, Math.floor(((clientX - box.left) / box.width) * count)));
}

// Relevance as a curve, each frame at its middle, with the threshold dashed.
export function curve(relevance, threshold, hue) {
  const count = relevance.length;
  const points = relevance.map((value, i) => `${i + 0.5},${1 - value}`).join(" ");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 -0.04 ${count} 1.08`);
  svg.setAttribute("preserveAspectRatio", "none");
  const add = (name, values) => {
    const made = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries({ fill: "none", "vector-effect": "non-scaling-stroke", ...values })) made.setAttribute(key, value);
    svg.append(made);
  };
  add("line", { x1: 0, x2: count, y1: 1 - threshold, y2: 1 - threshold, stroke: "currentColor", "stroke-dasharray": "4 4", opacity: 0.5 });
  add("polyline", { points, stroke: hue, "stroke-width": 2, "stroke-linejoin": "round" });
  return svg;
}

let tip = null;
export function hint(event, text) {
  tip?.remove();
  tip = null;
  if (!text) return;
  tip = element("div", { class: "tip" }, text);
  tip.style.left = `${Math.max(60, Math.min(innerWidth - 60, event.clientX))}px`;
  tip.style.top = `${event.currentTarget.getBoundingClientRect().top}px`;
  document.body.append(tip);
}
