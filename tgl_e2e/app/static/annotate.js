// Annotate: in which frames does each object of an expression do what is said.

import { added, api, at, byId, curve, element, frameAt, hint, reasonOf, replaced, say, sleep, split, spanBox, spansOf, typing } from "./common.js";
import { Player } from "./player.js";
import { Rows } from "./rows.js";
import { Saver, contentOf } from "./saver.js";

const MARKS = { null: "○", open: "◐", done: "●", unclear: "?" };
const NAMES = { null: "not begun", open: "begun", done: "done", unclear: "cannot be told" };
const HISTORY = 200;
const UNFOLDED = 200; // expressions that a search shows without a click

export function startAnnotate(about) {
  const line = byId("a-line");
  const histories = new Map(); // path -> {undo, redo}
  let videos = []; // [{name, expressions: [{id, text, state, ...}]}]
  let here = null; // {video, expression, path, facts, content}
  let arriving = null; // the expression that is on its way here: keys wait for it
  let labels = new Map(); // video -> where the list says how much of it is done
  let suggesting = null; // path of the expression that the network is asked about
  const desk = { count: 1, objects: [], selected: null, position: 0, pending: null, maybe: [], wrong: [] };
  const player = new Player(byId("canvas"), moved, (text) => (byId("no-frame").textContent = text));
  const rows = new Rows(byId("a-timeline"), desk);
  const saver = new Saver(`tgl-moments|${about.data}`, (text, kind) => {
    byId("saved").textContent = text;
    byId("saved").className = kind;
  }, (key, content) => {
    if (!here || key !== saver.keyOf(here.path, annotator())) return;
    here.content = structuredClone(content);
    say(line, "changed in another window as well: both are joined", "faint");
    draw();
  });
  const annotator = () => byId("annotator").value.trim();
  const base = () => `api/splits/${encodeURIComponent(byId("split").value)}`;
  const pathOf = (video, id) => `${base()}/videos/${encodeURIComponent(video)}/expressions/${encodeURIComponent(id)}`;

  // --- the list ------------------------------------------------------------------------------------

  async function openSplit() {
    here = null;
    byId("desk").hidden = true;
    if (!annotator()) byId("annotator").focus();
    say(byId("no-work"), annotator() ? "opening …" : "Say who you are first (I am …, Enter): your name goes with what you mark. Then mark for each object the frames in which it does what is said: I begins an interval, O ends it, Enter goes to the next expression.", "");
    if (!annotator()) return;
    try {
      videos = (await api(`${base()}?annotator=${encodeURIComponent(annotator())}`)).videos;
    } catch (error) {
      return say(byId("no-work"), reasonOf(error), "bad");
    }
    drawList();
    const first = next(null, 1, (e) => !over(e)) ?? next(null, 1, () => true);
    if (first) await open(...first);
    else say(byId("no-work"), "there is no expression in this split");
  }

  const over = (expression) => expression.state === "done" || expression.state === "unclear";

  function drawList() {
    const wanted = byId("filter").value.toLowerCase();
    const fits = (video, e) => !wanted || video.name.toLowerCase().includes(wanted) || e.text.toLowerCase().includes(wanted);
    let room = UNFOLDED;
    labels = new Map();
    byId("list").replaceChildren(...videos.flatMap((video) => {
      const shown = video.expressions.filter((e) => fits(video, e));
      if (!shown.length) return [];
      const box = element("details", { class: "video", "data-video": video.name });
      const label = element("span", { class: "faint count" });
      labels.set(video, label);
      box.append(element("summary", {}, element("span", {}, video.name), label));
      const fill = () => box.open && box.children.length === 1 && box.append(...shown.map((e) => item(video, e)));
      box.addEventListener("toggle", fill);
      room -= shown.length;
      box.open = (wanted !== "" && room >= 0) || video.name === here?.video.name;
      fill();
      return [box];
    }));
    if (!labels.size && wanted) byId("list").append(element("p", { class: "faint" }, "no video and no expression has that in it"));
    count();
  }

  function item(video, expression) {
    const made = element("button", { type: "button", class: "item", "data-id": expression.id, onclick: () => open(video, expression) });
    mark(made, video, expression);
    return made;
  }

  function mark(made, video, expression) {
    made.replaceChildren(element("i", { title: NAMES[expression.state] }, MARKS[expression.state]), element("span", {}, expression.text));
    const more = [expression.flagged && "⚑", expression.others && `+${expression.others}`].filter(Boolean).join(" ");
    if (more) made.append(element("span", { class: "others", title: "⚑ has a note or a correction; +n: done by n others" }, more));
    made.title = expression.text;
    if (here?.video === video && here.expression === expression) made.setAttribute("aria-current", "true");
    else made.removeAttribute("aria-current");
  }

  function count() {
    let [done, all] = [0, 0];
    for (const video of videos) {
      const mine = video.expressions.filter(over).length;
      [done, all] = [done + mine, all + video.expressions.length];
      const [label, text] = [labels.get(video), `${mine}/${video.expressions.length}`];
      if (label && label.textContent !== text) label.textContent = text;
    }
    byId("done-count").textContent = `${done} of ${all} expressions done`;
  }

  function refresh() {
    for (const made of document.querySelectorAll("#list .item")) {
      const video = videos.find((v) => v.name === made.closest(".video").dataset.video);
      mark(made, video, video.expressions.find((e) => e.id === made.dataset.id));
    }
    count();
  }

  // The next expression after (or before) this one that fits, round the end of the list.
  function next(from, by, fits) {
    const all = videos.flatMap((video) => video.expressions.map((expression) => [video, expression]));
    const start = from ? all.findIndex(([, expression]) => expression === from) : by > 0 ? -1 : 0;
    for (let i = 1; i <= all.length; i++) {
      const found = all[(start + by * i + all.length * (i + 1)) % all.length];
      if (found[1] !== from && fits(found[1])) return found;
    }
    return null;
  }

  // --- one expression ------------------------------------------------------------------------------

  function open(video, expression) {
    const mine = arrive(video, expression, () => arriving === mine).finally(() => arriving === mine && (arriving = null));
    return (arriving = mine);
  }

  // latest: whether no other has been opened meanwhile.
  async function arrive(video, expression, latest) {
    const path = pathOf(video.name, expression.id);
    const who = annotator();
    let facts;
    try {
      facts = await api(`${path}?annotator=${encodeURIComponent(who)}`);
    } catch (error) {
      say(byId("no-work"), reasonOf(error), "bad");
      return say(line, `${reasonOf(error)}; ${video.name}: "${expression.text}" is not opened`, "bad");
    }
    if (!latest()) return;
    here = { video, expression, path, facts, content: structuredClone(saver.opened(path, who, facts.annotation)) };
    if (!histories.has(path)) histories.set(path, { undo: [], redo: [] });
    Object.assign(desk, { count: facts.num_frames, objects: facts.objects, selected: facts.objects[0]?.id ?? null, pending: null, position: 0 });
    byId("no-work").textContent = "";
    byId("desk").hidden = false;
    say(line, "");
    const box = document.querySelector(`#list [data-video="${CSS.escape(video.name)}"]`);
    if (box) box.open = true;
    await sleep(0); // the list fills itself when it opens
    refresh();
    document.querySelector("#list [aria-current]")?.scrollIntoView({ block: "nearest" });
    byId("place").textContent = `${video.name} ·`;
    byId("text").textContent = expression.text;
    byId("saved").textContent = "";
    const frames = `${base()}/videos/${encodeURIComponent(video.name)}/frames`;
    draw();
    player.open((i) => `${frames}/${i}`, facts.masks ? (i) => `${path}/masks/${i}` : null, facts.num_frames);
    if (!facts.objects.length) say(line, "no object is listed: the expression has no target. Enter agrees; M says that one is missing.", "faint");
  }

  function moved(position) {
    desk.position = position;
    byId("a-frame").textContent = `frame ${position} of ${desk.count - 1}`;
    button("play").firstChild.textContent = player.playing ? "Pause" : "Play";
    if (rows.bars && !rows.drag) rows.update();
  }

  const button = (name) => document.querySelector(`#desk [data-do="${name}"]`);

  function draw() {
    const { content } = here;
    desk.wrong = content.wrong;
    desk.maybe = maybe();
    rows.draw(suggestion());
    byId("note").value = content.note;
    for (const [name, on] of [["unclear", content.state === "unclear"], ["missing", content.missing], ["wrong", content.wrong.includes(desk.selected)]]) {
      button(name).setAttribute("aria-pressed", on);
    }
    const { undo, redo } = histories.get(here.path);
    button("undo").disabled = !undo.length;
    button("redo").disabled = !redo.length;
    for (const name of ["in", "out", "all", "split", "remove", "wrong", "suggest"]) button(name).disabled = desk.selected === null;
    if (!about.network) button("suggest").disabled = true;
  }

  // What S would accept for the selected object.
  function maybe() {
    const { suggestion: relevance } = here.facts;
    return relevance && !desk.spans(desk.selected).length ? spansOf(relevance, 0.5) : [];
  }

  function suggestion() {
    const { suggestion: relevance, objects } = here.facts;
    if (!relevance) return null;
    const hue = objects.length === 1 ? objects[0].colour : "var(--accent)";
    const bar = element("div", { class: "bar curve", style: { "--hue": hue } }, ...spansOf(relevance, 0.5).map((span) => spanBox("span", span, desk.count)), curve(relevance, 0.5, hue));
    bar.addEventListener("pointermove", (event) => {
      const i = frameAt(bar, event.clientX, desk.count);
      hint(event, `frame ${i}: relevance ${relevance[i].toFixed(2)}`);
    });
    bar.addEventListener("pointerleave", (event) => hint(event, ""));
    bar.addEventListener("click", (event) => player.show(frameAt(bar, event.clientX, desk.count)));
    const found = spansOf(relevance, 0.5).length;
    return element("div", {}, element("div", { class: "label faint" }, found ? "the network's relevance; S accepts it" : "the network finds it in no frame; S accepts that"), bar);
  }

  // Every change comes through here: it can be undone, is drawn, and goes to the server.
  function change(edit, keep = true) {
    const history = histories.get(here.path);
    const before = structuredClone(here.content);
    edit(here.content);
    if (JSON.stringify(before) === JSON.stringify(here.content)) return draw();
    if (keep) {
      history.undo.push(before);
      if (history.undo.length > HISTORY) history.undo.shift();
      history.redo = [];
    }
    say(line, "");
    draw();
    saver.put(here.path, annotator(), here.content);
    const { content } = here;
    Object.assign(here.expression, { state: content.state, flagged: content.missing || content.wrong.length > 0 || content.note !== "" });
    refresh();
  }

  function setSpans(obj, spans) {
    change((content) => {
      content.objects[obj] = spans;
      if (content.state === "unclear") content.state = "open";
    });
  }

  function back(from, to) {
    const history = histories.get(here.path);
    if (!history[from].length) return;
    const before = structuredClone(here.content);
    const content = history[from].pop();
    history[to].push(before);
    change((now) => Object.assign(now, content), false);
  }

  Object.assign(desk, {
    spans: (obj) => here?.content.objects[obj] ?? [],
    select: (obj) => {
      if (desk.selected === obj) return;
      desk.selected = obj;
      desk.pending = null;
      desk.maybe = maybe();
      rows.update();
      rows.bars[desk.objects.findIndex((o) => o.id === obj)].scrollIntoView({ block: "nearest" });
      button("wrong").setAttribute("aria-pressed", here.content.wrong.includes(obj));
    },
    seek: (frame) => player.step(frame - desk.position),
    commit: setSpans,
  });

  function selectBy(step) {
    const place = desk.objects.findIndex((o) => o.id === desk.selected);
    const object = desk.objects[place + step];
    if (object) desk.select(object.id);
  }

  // --- what keys and buttons do ----------------------------------------------------------------------

  const mine = () => desk.spans(desk.selected);
  const actions = {
    back: (far) => player.step(far ? -10 : -1),
    forward: (far) => player.step(far ? 10 : 1),
    first: () => player.step(-desk.position),
    last: () => player.step(desk.count),
    play: () => player.play(),
    in() {
      const i = at(mine(), desk.position);
      if (i >= 0 && desk.pending === null) return setSpans(desk.selected, replaced(mine(), i, [desk.position, mine()[i][1]]));
      desk.pending = desk.position;
      say(line, `begins at frame ${desk.pending}; O ends it, Esc forgets it`, "faint");
      rows.update();
    },
    out() {
      const [spans, t] = [mine(), desk.position];
      const i = at(spans, t);
      const begin = desk.pending;
      desk.pending = null;
      if (begin !== null) return setSpans(desk.selected, added(spans, [Math.min(begin, t), Math.max(begin, t)]));
      if (i >= 0) return setSpans(desk.selected, replaced(spans, i, [spans[i][0], t]));
      const last = spans.filter(([, end]) => end < t).pop();
      setSpans(desk.selected, added(spans, [last ? last[0] : 0, t]));
    },
    all() {
      const { visible } = desk.objects.find((o) => o.id === desk.selected);
      setSpans(desk.selected, visible ?? [[0, desk.count - 1]]);
    },
    split() {
      const i = at(mine(), desk.position);
      if (i < 0 || mine()[i][0] === desk.position) return say(line, "there is no interval to split before this frame", "faint");
      setSpans(desk.selected, split(mine(), i, desk.position));
    },
    remove() {
      const i = at(mine(), desk.position);
      if (i < 0) return say(line, "there is no interval at this frame", "faint");
      setSpans(desk.selected, mine().filter((_, n) => n !== i));
    },
    suggest() {
      if (here.facts.suggestion) return setSpans(desk.selected, spansOf(here.facts.suggestion, 0.5));
      if (suggesting) return say(line, "the network is still busy with the last question", "faint");
      ask(here);
    },
    undo: () => back("undo", "redo"),
    redo: () => back("redo", "undo"),
    done() {
      const { expression, content } = here;
      if (desk.pending !== null) return say(line, `an interval has begun at frame ${desk.pending}: O ends it, Esc forgets it`, "bad");
      const nothing = desk.objects.length > 0 && content.state === "open" && !Object.values(content.objects).some((spans) => spans.length);
      if (nothing && here.asked !== JSON.stringify(content)) {
        here.asked = JSON.stringify(content);
        return say(line, "nothing is marked: Enter once more says that it never holds; C that it cannot be told", "bad");
      }
      change((content) => {
        if (content.state !== "unclear") content.state = "done";
      });
      const found = next(expression, 1, (e) => !over(e));
      if (found) return open(...found);
      say(line, "all expressions are done", "good");
    },
    next: () => go(1),
    previous: () => go(-1),
    unclear: () => change((content) => (content.state = content.state === "unclear" ? "open" : "unclear")),
    missing: () => change((content) => (content.missing = !content.missing)),
    wrong: () => change((content) => {
      content.wrong = content.wrong.includes(desk.selected) ? content.wrong.filter((o) => o !== desk.selected) : [...content.wrong, desk.selected];
    }),
    note: () => byId("note").focus(),
    object: (place) => desk.objects[place] && desk.select(desk.objects[place].id),
    up: () => selectBy(-1),
    down: () => selectBy(1),
    forget() {
      desk.pending = null;
      say(line, "");
      rows.update();
    },
  };

  function go(by) {
    const found = next(here.expression, by, () => true);
    if (found) open(...found);
  }

  async function ask(place) {
    suggesting = place.path;
    try {
      let status = await api(`${place.path}/suggestion`, { method: "POST" });
      do {
        await sleep(400);
        status = await api(`api/runs/${status.id}`);
        if (here === place) say(line, status.state === "queued" ? `the network answers after ${status.place} other runs` : `the network looks: ${status.stage || "starting"}${status.total ? ` ${status.done} of ${status.total}` : ""}`, "faint");
      } while (status.state === "queued" || status.state === "running");
      if (status.state !== "done") throw new Error(status.error || "cancelled");
      place.facts.suggestion = (await api(`${place.path}?annotator=${encodeURIComponent(annotator())}`)).suggestion;
      if (here !== place) return;
      say(line, "");
      draw();
    } catch (error) {
      if (here === place) say(line, reasonOf(error), "bad");
    } finally {
      suggesting = null;
    }
  }

  const KEYS = {
    ArrowLeft: "back", ArrowRight: "forward", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last", " ": "play",
    i: "in", o: "out", a: "all", x: "split", Delete: "remove", Backspace: "remove", s: "suggest", z: "undo", y: "redo",
    Enter: "done", n: "next", p: "previous", c: "unclear", m: "missing", w: "wrong", t: "note", Escape: "forget",
  };
  const needObject = new Set(["in", "out", "all", "split", "remove", "suggest", "wrong"]);

  async function act(name, far) {
    while (arriving) await arriving; // what is pressed early is meant for the next expression
    if (!here || (needObject.has(name) && desk.selected === null)) return;
    if (name === "suggest" && !about.network) return say(line, "no network here: start the page with --checkpoint DIR", "bad");
    actions[name](far);
  }

  byId("desk").addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-do]");
    if (!pressed) return;
    act(pressed.dataset.do, event.shiftKey);
    pressed.blur(); // Enter and space belong to the page
  });
  byId("note").addEventListener("change", () => here && change((content) => (content.note = byId("note").value.trim())));
  byId("note").addEventListener("keydown", (event) => ["Enter", "Escape"].includes(event.key) && (event.target.blur(), event.stopPropagation()));
  byId("show-masks").addEventListener("change", () => {
    player.masks = byId("show-masks").checked;
    byId("show-masks").blur();
    player.show(desk.position);
  });
  byId("speed").addEventListener("change", () => {
    player.rate = Number(byId("speed").value);
    byId("speed").blur();
  });
  byId("filter").addEventListener("input", drawList);
  byId("annotator").addEventListener("change", () => {
    localStorage.setItem("tgl-annotator", annotator());
    openSplit();
  });
  byId("annotator").addEventListener("keydown", (event) => event.key === "Enter" && event.target.blur());
  byId("split").addEventListener("change", () => {
    byId("split").blur();
    openSplit();
  });
  addEventListener("beforeunload", (event) => saver.waiting && event.preventDefault());

  let started = false;
  function start() {
    started = true;
    if (!about.splits.length) return say(byId("no-work"), "No data set here: start the page with --root DATASET (layout of MeViS).");
    byId("split").append(...about.splits.map((name) => element("option", {}, name)));
    byId("split-label").hidden = about.splits.length < 2;
    byId("list-box").open = innerWidth > 760;
    byId("annotator").value = localStorage.getItem("tgl-annotator") ?? "";
    saver.resume();
    openSplit();
  }

  return {
    shown(yes) {
      if (yes && !started) start();
      player.playing = false;
    },
    key(event) {
      if (typing(event.target)) return;
      const digit = Number(event.key);
      if (digit >= 1 && digit <= 9) return act("object", digit - 1);
      let name = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (event.key.toLowerCase() === "z" && event.shiftKey) name = "redo";
      if (!name || (event.target.closest("button, summary, a") && [" ", "Enter"].includes(event.key))) return;
      event.preventDefault();
      if (!event.repeat || ["back", "forward"].includes(name)) act(name, event.shiftKey);
    },
  };
}
