// Read the data, fill the page, and keep its state in the address.
"use strict";

/** State in the address after #, so that a link shows the same. */
class State {
  constructor() {
    this.values = new URLSearchParams(location.hash.slice(1));
  }
  get(name) {
    return this.values.get(name);
  }
  /** Set a value, or remove it (null), and others with it. */
  set(name, value, others = {}) {
    for (const [key, content] of Object.entries({ [name]: value, ...others }))
      if (content === null || content === "") this.values.delete(key);
      else this.values.set(key, content);
    try {
      history.replaceState(null, "", "#" + this.values);
    } catch {
      // A page inside a notebook has no address of its own.
    }
  }
}

async function readData() {
  const text = document.getElementById("data").textContent;
  const bytes = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

function suspicious(data, state, open) {
  const { suspicion, reasons, id } = data.clusters;
  const places = Object.keys(reasons).map(Number).sort((a, b) => suspicion[b] - suspicion[a]);
  const list = document.getElementById("suspicious-list");
  let shown = 0;
  const more = document.getElementById("suspicious-more");
  const grow = () => {
    for (const end = Math.min(shown + 10, places.length, 200); shown < end; shown++) list.append(item(places[shown]));
    more.hidden = shown >= Math.min(places.length, 200);
    more.textContent = `show more (${number(shown)} of ${number(places.length)})`;
  };
  const item = (place) =>
    el("li", {}, el("a", { href: `#cluster=${id[place]}&sort=suspicion`, onclick: (event) => open(event, place) },
      el("span", { class: "number", text: id[place] }), " ", isolated(brief(data.documents.text[open.head(place)]))),
      el("ul", { class: "reasons" }, ...reasons[place].map((reason) => el("li", { text: reason }))));
  more.addEventListener("click", grow);
  grow();
  document.getElementById("suspicious-none").hidden = places.length > 0;
  document.getElementById("suspicious-count").textContent = places.length ? plural(places.length, "cluster") + ", the most suspicious first." : "";
}

function borderline(data) {
  const { left, right, probability, accepted, together } = data.borderline;
  const list = document.getElementById("borderline-list");
  const more = document.getElementById("borderline-more");
  let shown = 0;
  const grow = () => {
    for (const end = Math.min(shown + 20, left.length); shown < end; shown++) {
      const i = shown;
      const [a, b] = [left[i], right[i]].map((place) => data.documents.text[place]);
      const verdict = accepted[i] ? "accepted" : "rejected";
      list.append(el("li", {},
        el("span", { class: "badge " + (accepted[i] ? "goes" : "doubt"), text: fixed(probability[i], 3) }), ` ${verdict}, ${together[i] ? "in one cluster" : "in different clusters"}`,
        el("div", {}, isolated(a)), el("div", {}, difference(a, b))));
    }
    more.hidden = shown >= left.length;
    more.textContent = `show more (${number(shown)} of ${number(left.length)})`;
  };
  more.addEventListener("click", grow);
  grow();
}

function chooseTheme() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const name = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
  const label = () => (button.textContent = name() === "dark" ? "light colours" : "dark colours");
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = name() === "dark" ? "light" : "dark";
    label();
  });
  label();
}

async function main() {
  const data = await readData();
  const state = new State();
  const clusters = new Clusters(data);
  const showThreshold = decide(data, state);
  const showClusters = clusterList(data, clusters, state);
  const open = (event, place) => {
    event.preventDefault();
    state.set("cluster", data.clusters.id[place], { sort: "suspicion", q: null, page: null });
    showClusters();
    const toggle = document.getElementById(`toggle-${data.clusters.id[place]}`);
    toggle.scrollIntoView({ block: "start" });
    toggle.focus({ preventScroll: true });
  };
  open.head = (place) => clusters.head(place);
  chooseTheme();
  showThreshold();
  showClusters();
  suspicious(data, state, open);
  borderline(data);
  histogram(data);
  clusterSizes(data);
  const reveal = () => document.getElementById(`toggle-${state.get("cluster")}`)?.scrollIntoView();
  addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return; // a section of the page
    state.values = new URLSearchParams(location.hash.slice(1));
    showThreshold();
    showClusters();
    reveal();
  });
  reveal();
  document.documentElement.dataset.ready = Math.round(performance.now());
}

main().catch((error) => {
  const notice = document.getElementById("failure");
  notice.hidden = false;
  notice.textContent = `This page could not be built: ${error.message}. It needs a browser of 2023 or later with JavaScript.`;
  throw error;
});
