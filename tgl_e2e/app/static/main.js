import { api, byId } from "./common.js";
import { startTry } from "./try.js";
import { startAnnotate } from "./annotate.js";

const about = await api("api/about");
byId("where").textContent = [about.network && `network ${about.network}`, about.data && `data ${about.data}`].filter(Boolean).join(" · ");

const views = { try: startTry(about), annotate: startAnnotate(about) };

function show(name) {
  for (const key of Object.keys(views)) {
    byId(key).hidden = key !== name;
    if (key === name) byId(`tab-${key}`).setAttribute("aria-current", "page");
    else byId(`tab-${key}`).removeAttribute("aria-current");
    views[key].shown(key === name);
  }
  history.replaceState(null, "", `#${name}`);
}

for (const key of Object.keys(views)) byId(`tab-${key}`).addEventListener("click", () => show(key));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey && !"zyZY".includes(event.key)) return;
  if (event.metaKey || event.altKey) return;
  for (const key of Object.keys(views)) if (!byId(key).hidden) views[key].key(event);
});
const wanted = location.hash.slice(1);
show(wanted in views ? wanted : about.splits.length ? "annotate" : "try");
