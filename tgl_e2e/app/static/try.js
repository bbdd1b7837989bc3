// Try: a video and expressions in; the overlay, relevance over time and a zip out.

import { api, byId, curve, element, frameAt, hint, percent, reasonOf, say, sleep, spanBox, spansOf, typing } from "./common.js";

export function startTry(about) {
  const video = byId("video");
  let chosen = null; // the upload: {id, name, ...}
  let uploading = 0; // number of the latest choice
  let run = null; // the latest run's id while it is not over
  let asked = null; // what it was asked
  let result = null; // of the run that is shown
  let playhead = null;
  let recorder = null;
  let preview = null; // address of the chosen file in this browser

  // --- the video -------------------------------------------------------------------------------

  function uncover() {
    byId("empty").hidden = true;
    byId("found").hidden = byId("controls").hidden = true;
    result = null;
  }

  function watch(address) {
    uncover();
    video.src = address;
  }

  async function take(file, name) {
    const mine = ++uploading;
    chosen = null;
    if (!file.size) return say(byId("video-line"), `${name}: is empty; choose another`, "bad");
    if (file.size > about.max_upload) {
      return say(byId("video-line"), `${name}: larger than ${Math.floor(about.max_upload / 2 ** 20)} MB; cut or compress it`, "bad");
    }
    byId("drop-text").textContent = name;
    say(byId("video-line"), "being read …", "faint");
    if (preview) URL.revokeObjectURL(preview);
    watch((preview = URL.createObjectURL(file)));
    try {
      const found = await api(`api/uploads?name=${encodeURIComponent(name)}`, { method: "POST", body: file });
      if (mine !== uploading) return;
      chosen = found;
      const [height, width] = found.size;
      say(byId("video-line"), `${width} x ${height}, ${found.num_frames > 1 ? `about ${found.num_frames} frames ` : ""}at ${Math.round(found.fps * 100) / 100}/s`, "good");
    } catch (error) {
      if (mine === uploading) say(byId("video-line"), reasonOf(error), "bad");
    }
  }

  byId("file").addEventListener("change", (event) => {
    const file = event.target.files[0];
    if (file) take(file, file.name);
    event.target.value = "";
  });
  const drop = byId("drop");
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      const file = name === "drop" && event.dataTransfer.files[0];
      if (file) take(file, file.name);
    });
  }

  byId("camera").addEventListener("click", async () => {
    if (recorder) return recorder.stop();
    if (!navigator.mediaDevices) return say(byId("video-line"), "no camera: browsers lend it only to pages of this machine (127.0.0.1)", "bad");
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true });
      const pieces = [];
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => pieces.push(event.data);
      recorder.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        video.srcObject = null;
        byId("camera").textContent = "Camera";
        take(new Blob(pieces, { type: recorder.mimeType }), "camera.webm");
        recorder = null;
      };
      uncover();
      video.srcObject = stream;
      video.play();
      recorder.start();
      byId("camera").textContent = "Stop recording";
    } catch (error) {
      say(byId("video-line"), `no camera: ${error.message}`, "bad");
    }
  });

  byId("example").hidden = !about.example;
  byId("example").addEventListener("click", async () => {
    uploading += 1;
    const example = await api("api/example");
    chosen = { id: "example", name: example.name };
    byId("drop-text").textContent = example.name;
    say(byId("video-line"), `drawn shapes, with ${example.network}`, "good");
    watch("api/example.mp4");
    byId("texts").replaceChildren();
    example.texts.forEach(addText);
  });

  // --- the expressions ---------------------------------------------------------------------------

  const colourOf = (n) => about.colours[n % about.colours.length];

  function addText(value = "") {
    const input = element("input", { placeholder: "the dog turning around", maxlength: 500, "aria-label": "expression", autocomplete: "off" });
    input.value = value;
    const remove = element("button", { type: "button", title: "remove", "aria-label": "remove", class: "quiet", onclick: () => {
      line.remove();
      if (!byId("texts").children.length) addText();
      recolour();
    } }, "✕");
    const line = element("div", { class: "text" }, element("span", { class: "dot" }), input, remove);
    byId("texts").append(line);
    recolour();
    return input;
  }

  function recolour() {
    [...document.querySelectorAll("#texts .dot")].forEach((dot, n) => (dot.style.background = colourOf(n)));
  }

  addText();
  byId("add-text").addEventListener("click", () => addText().focus());
  byId("moments").addEventListener("change", () => (byId("k-line").hidden = byId("moments").value !== "top-k"));

  // --- a run -------------------------------------------------------------------------------------

  function order() {
    const texts = [...document.querySelectorAll("#texts input")].map((input) => input.value.trim()).filter(Boolean);
    const moments = byId("moments").value === "top-k" ? `top-k:${byId("k").value}` : byId("moments").value;
    return { upload: chosen?.id, texts, moments, threshold: result ? Number(byId("threshold").value) : 0.5, always_target: byId("always").checked, device: byId("device").value };
  }

  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const wanted = order();
    if (!chosen) return say(byId("run-line"), "choose a video first", "bad");
    if (!wanted.texts.length) return say(byId("run-line"), "write at least one expression", "bad");
    start(wanted);
  });

  async function start(wanted) {
    say(byId("run-line"), "");
    byId("run").disabled = true;
    try {
      asked = wanted;
      const status = await api("api/runs", { method: "POST", json: wanted });
      run = status.id;
      await follow(status);
    } catch (error) {
      say(byId("run-line"), reasonOf(error), "bad");
    } finally {
      run = null;
      byId("progress").hidden = true;
      byId("run").disabled = false;
    }
  }

  async function follow(status) {
    byId("progress").hidden = false;
    while (status.state === "queued" || status.state === "running") {
      const bar = byId("progress").querySelector("progress");
      const share = status.total && status.state === "running" ? Math.min(1, status.done / status.total) : null;
      if (share === null) bar.removeAttribute("value");
      else bar.value = share;
      byId("progress-text").textContent = status.state === "queued"
        ? `waiting, ${status.place} before it`
        : `${status.stage || "starting"}${status.total ? ` ${status.done} of ${status.total}` : ""}`;
      await sleep(400);
      try {
        status = await api(`api/runs/${status.id}`);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // else it may answer again
      }
    }
    if (status.state === "failed") return say(byId("run-line"), status.error, "bad");
    if (status.state === "cancelled") return say(byId("run-line"), "cancelled", "faint");
    if (status.notes.length) say(byId("run-line"), status.notes[0], "faint");
    show(status.id, await api(`api/runs/${status.id}/result`));
  }

  byId("cancel").addEventListener("click", () => run && api(`api/runs/${run}/cancel`, { method: "POST" }));

  // --- the result ----------------------------------------------------------------------------------

  function show(id, found) {
    watch(`api/runs/${id}/overlay.mp4`);
    result = found;
    byId("zip").href = `api/runs/${id}/results.zip`;
    byId("found").hidden = byId("controls").hidden = false;
    byId("threshold").value = found.threshold;
    drawTimeline();
    video.play().catch(() => {});
  }

  const position = () => {
    const time = video.currentTime + 1e-3;
    let [low, high] = [0, result.times.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (result.times[middle] <= time) low = middle;
      else high = middle - 1;
    }
    return low;
  };

  function seek(i) {
    i = Math.max(0, Math.min(result.times.length - 1, i));
    const next = result.times[i + 1] ?? result.times[i] + 1 / result.fps;
    video.currentTime = (result.times[i] + next) / 2; // in its middle, whatever is rounded
  }

  function step(by) {
    if (!result) return;
    video.pause();
    seek(position() + by);
  }

  function momentsAt(expression, threshold) {
    return result.moments === "auto" ? spansOf(expression.relevance, threshold) : expression.moments.map((span) => span.map((number) => result.frames.indexOf(number)));
  }

  function drawTimeline() {
    const count = result.frames.length;
    const threshold = Number(byId("threshold").value);
    const box = byId("v-timeline");
    box.replaceChildren();
    result.expressions.forEach((expression, n) => {
      const spans = momentsAt(expression, threshold);
      const inside = spans.reduce((sum, [s, e]) => sum + e - s + 1, 0);
      const bar = element("div", { class: "bar curve", style: { "--hue": colourOf(n) } }, ...spans.map((span) => spanBox("span", span, count)), curve(expression.relevance, threshold, colourOf(n)));
      const move = (event) => {
        const i = frameAt(bar, event.clientX, count);
        hint(event, `frame ${result.frames[i]}: relevance ${expression.relevance[i].toFixed(2)}${spans.some(([s, e]) => s <= i && i <= e) ? ", M+" : ""}`);
        if (event.buttons === 1) seek(i);
      };
      bar.addEventListener("pointermove", move);
      bar.addEventListener("pointerleave", (event) => hint(event, ""));
      bar.addEventListener("pointerdown", (event) => {
        bar.setPointerCapture(event.pointerId);
        video.pause();
        seek(frameAt(bar, event.clientX, count));
      });
      const summary = inside ? `M+ in ${inside} of ${count} frames` : "not found";
      box.append(element("div", {}, element("div", { class: "label" }, element("span", { class: "dot", style: { background: colourOf(n) } }), element("b", {}, expression.text), element("span", { class: "faint" }, summary)), bar));
    });
    playhead = element("div", { class: "playhead" });
    box.append(playhead);
    byId("threshold-value").textContent = threshold.toFixed(2);
    sayThreshold(threshold);
    tick();
  }

  function sayThreshold(threshold) {
    const line = byId("threshold-line");
    const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
    byId("threshold").disabled = result.moments !== "auto";
    if (result.moments !== "auto") return say(line, `M+ was given (${result.moments}): the threshold decides nothing here`, "faint");
    if (result.expressions.every((e) => same(spansOf(e.relevance, threshold), spansOf(e.relevance, result.threshold)))) {
      return say(line, threshold === result.threshold ? "" : "the same frames are M+: the masks stay", "faint");
    }
    say(line, `M+ is decided again; the masks are those of ${result.threshold.toFixed(2)}. `, "faint");
    line.append(element("button", { type: "button", onclick: () => run || start({ ...asked, threshold }) }, "Run again for the masks"));
  }

  byId("threshold").addEventListener("input", drawTimeline);

  function tick() {
    if (!result || !playhead) return;
    const i = position();
    playhead.style.left = percent(i + 0.5, result.frames.length);
    byId("v-frame").textContent = `frame ${result.frames[i]}`;
    byId("v-play").textContent = video.paused ? "Play" : "Pause";
  }
  let drawn = -1;
  (function watchTime() {
    if (video.currentTime !== drawn) tick();
    drawn = video.currentTime;
    requestAnimationFrame(watchTime);
  })();
  for (const name of ["seeked", "pause", "play"]) video.addEventListener(name, tick);

  const play = () => (video.paused ? video.play().catch(() => {}) : video.pause());
  byId("v-play").addEventListener("click", play);
  byId("v-back").addEventListener("click", () => step(-1));
  byId("v-next").addEventListener("click", () => step(1));

  return {
    shown: (yes) => yes || video.pause(),
    key(event) {
      if (!result || typing(event.target) || event.target.closest("button, summary, input, a")) {
        if (event.key === " " || typing(event.target) || !result) return;
      }
      if (event.key === "ArrowLeft") step(event.shiftKey ? -10 : -1);
      else if (event.key === "ArrowRight") step(event.shiftKey ? 10 : 1);
      else if (event.key === " ") play();
      else return;
      event.preventDefault();
    },
  };
}
