// The rows of objects on which intervals are drawn, moved and stretched.

import { added, at, element, frameAt, percent, replaced, spanBox } from "./common.js";

const SLACK = 4; // pixels that a click may move

export class Rows {
  // desk: {count, objects, spans(obj), selected, select(obj), seek(frame), commit(obj, spans)}
  constructor(box, desk) {
    this.box = box;
    this.desk = desk;
    this.drag = null;
  }

  draw(suggestion) {
    const { count, objects } = this.desk;
    const top = this.box.scrollTop;
    this.box.replaceChildren();
    if (suggestion) this.box.append(suggestion);
    this.bars = objects.map((object, n) => {
      const bar = element("div", { class: "bar own", role: "img", style: { "--hue": object.colour }, "data-object": object.id });
      const name = object.id === "*" ? "all objects together" : `object ${object.id}`;
      const facts = [element("span", { class: "dot", style: { background: object.colour } }), element("b", {}, `${n + 1}: ${name}`)];
      if (this.desk.wrong.includes(object.id)) facts.push(element("span", { class: "bad" }, "not meant"));
      if (object.visible) bar.append(...object.visible.map((span) => spanBox("seen", span, count)));
      this.box.append(element("div", {}, element("div", { class: "label" }, ...facts), bar));
      bar.addEventListener("pointerdown", (event) => this.down(event, object, bar));
      bar.addEventListener("pointermove", (event) => this.move(event));
      bar.addEventListener("pointerup", (event) => this.up(event));
      bar.addEventListener("pointercancel", () => this.cancel());
      return bar;
    });
    this.playhead = element("div", { class: "playhead" });
    this.box.append(this.playhead);
    this.update();
    this.playhead.style.height = `${this.box.scrollHeight}px`; // of all rows, where they are scrolled
    this.box.scrollTop = top;
  }

  update(preview = null) {
    const { count, objects, selected, position, pending, maybe } = this.desk;
    objects.forEach((object, n) => {
      const bar = this.bars[n];
      bar.querySelectorAll(".span, .maybe, .pending").forEach((old) => old.remove());
      bar.classList.toggle("selected", object.id === selected && objects.length > 1);
      const spans = preview?.object === object ? preview.spans : this.desk.spans(object.id);
      const said = spans.map(([start, end]) => `${start} to ${end}`).join(", ") || "no interval";
      bar.setAttribute("aria-label", `${object.id === "*" ? "all objects" : `object ${object.id}`}: ${said}`);
      const chosen = object.id === selected ? at(spans, position) : -1;
      spans.forEach((span, i) => {
        const made = spanBox(`span${i === chosen ? " chosen" : ""}`, span, count);
        made.dataset.index = i;
        made.title = `${span[0]} to ${span[1]}`;
        for (const side of ["start", "end"]) made.append(element("div", { class: `edge ${side}`, "data-side": side }));
        bar.append(made);
      });
      if (object.id !== selected) return;
      bar.append(...maybe.map((span) => spanBox("maybe", span, count)));
      if (pending !== null) bar.append(element("div", { class: "pending", style: { left: percent(pending, count) } }));
    });
    this.playhead.style.left = percent(position + 0.5, count);
  }

  down(event, object, bar) {
    if (event.button) return;
    const frame = frameAt(bar, event.clientX, this.desk.count);
    const span = event.target.closest(".span");
    const spans = this.desk.spans(object.id);
    bar.setPointerCapture(event.pointerId);
    this.desk.select(object.id);
    this.drag = { object, bar, x: event.clientX, from: frame, moved: false, before: spans, spans, index: span ? Number(span.dataset.index) : -1, side: event.target.dataset.side };
    event.preventDefault();
    document.activeElement?.blur();
  }

  move(event) {
    const drag = this.drag;
    if (!drag || (!drag.moved && Math.abs(event.clientX - drag.x) < SLACK)) return;
    drag.moved = true;
    const frame = frameAt(drag.bar, event.clientX, this.desk.count);
    drag.spans = this.dragged(drag, frame);
    this.desk.seek(frame);
    this.update(drag);
  }

  // The object's intervals with the pointer at a frame; neighbours are no further than touched.
  dragged({ before, index, side, from }, frame) {
    if (index < 0) return added(before, [Math.min(from, frame), Math.max(from, frame)]);
    const [start, end] = before[index];
    const low = index ? before[index - 1][1] + 1 : 0;
    const high = index + 1 < before.length ? before[index + 1][0] - 1 : this.desk.count - 1;
    const within = (value, least, most) => Math.max(least, Math.min(most, value));
    if (side === "start") return replaced(before, index, [within(frame, low, end), end]);
    if (side === "end") return replaced(before, index, [start, within(frame, start, high)]);
    const by = within(frame - from, low - start, high - end);
    return replaced(before, index, [start + by, end + by]);
  }

  up(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    if (drag.moved) this.desk.commit(drag.object.id, drag.spans);
    else this.desk.seek(frameAt(drag.bar, event.clientX, this.desk.count));
  }

  cancel() {
    this.drag = null;
    this.update();
  }
}
