// The clusters: search, sort, pages of 50, and one cluster opened.
"use strict";

const PAGE = 50;
const MATRIX = 16; // texts; of more the graph and the list of pairs are shown
const GRAPH = 150;
const ORDERS = { size: -1, weakest: 1, density: 1, spread: -1, suspicion: -1, id: 1 };

/** Cut the columns of the data into clusters, without copying texts. */
class Clusters {
  constructor(data) {
    this.data = data;
    this.columns = data.clusters;
    this.memberStart = starts(this.columns.size);
    this.pairStart = starts(this.columns.pairs);
    this.place = new Map(this.columns.id.map((id, place) => [id, place]));
    this.lower = null;
  }
  get length() {
    return this.columns.id.length;
  }
  members(place) {
    const { document, text, probability } = this.columns.member;
    return d3.range(this.memberStart[place], this.memberStart[place + 1]).map((i) => ({ document: document[i], text: text[i], probability: probability[i] }));
  }
  pairs(place) {
    const { left, right, probability, cosine } = this.columns.pair;
    return d3.range(this.pairStart[place], this.pairStart[place + 1]).map((i) => ({ left: left[i], right: right[i], probability: probability[i], cosine: cosine[i] }));
  }
  head(place) {
    return this.columns.member.document[this.memberStart[place]];
  }
  text(document) {
    return this.data.documents.text[document];
  }
  /** Return the places of the clusters in which a text or id holds all words of a query, sorted. */
  find(query, order) {
    const sought = query.toLocaleLowerCase().split(/\s+/u).filter(Boolean);
    const places = d3.range(this.length).filter((place) => !sought.length || this.holds(place, sought));
    const column = this.columns[order] ?? this.columns.size;
    const sign = ORDERS[order] ?? -1;
    return places.sort((a, b) => sign * (column[a] - column[b]) || a - b);
  }
  holds(place, sought) {
    this.lower ??= this.data.documents.text.map((text, i) => `${this.data.documents.id[i]}\n${text}`.toLocaleLowerCase());
    const { document } = this.columns.member;
    for (let i = this.memberStart[place]; i < this.memberStart[place + 1]; i++)
      if (sought.every((word) => this.lower[document[i]].includes(word))) return true;
    return false;
  }
}

function starts(sizes) {
  const ends = new Int32Array(sizes.length + 1);
  sizes.forEach((size, i) => (ends[i + 1] = ends[i] + size));
  return ends;
}

function clusterList(data, clusters, state) {
  const [search, order] = ["search", "order"].map((id) => document.getElementById(id));
  const body = document.querySelector("#clusters-table tbody");
  let found = [];
  let sought = null;

  const render = () => {
    const [query, by] = [state.get("q") ?? "", state.get("sort") ?? "size"];
    if (search.value !== query) search.value = query;
    order.value = by;
    if (sought !== `${by}\n${query}`) found = clusters.find(query, by);
    sought = `${by}\n${query}`;
    const pages = Math.max(Math.ceil(found.length / PAGE), 1);
    const page = Math.min(Math.max(Number(state.get("page") ?? 1), 1), pages);
    const shown = found.slice((page - 1) * PAGE, page * PAGE);
    const asked = clusters.place.get(Number(state.get("cluster") ?? NaN));
    if (asked !== undefined && !shown.includes(asked)) shown.unshift(asked);
    body.replaceChildren(...shown.flatMap((place) => line(place, place === asked)));
    document.getElementById("found").textContent = found.length
      ? `${number((page - 1) * PAGE + 1)} to ${number(Math.min(page * PAGE, found.length))} of ${plural(found.length, "cluster")}`
      : "no cluster holds these words";
    document.getElementById("previous").disabled = page <= 1;
    document.getElementById("next").disabled = page >= pages;
    for (const cell of document.querySelectorAll("#clusters-table th[data-order]"))
      cell.setAttribute("aria-sort", cell.dataset.order === by ? (ORDERS[by] < 0 ? "descending" : "ascending") : "none");
  };

  const line = (place, open) => {
    const { id, size, weakest, density, spread, reasons } = data.clusters;
    const toggle = el("button", {
      type: "button", class: "open", "aria-expanded": String(open), "aria-controls": `cluster-${id[place]}`, id: `toggle-${id[place]}`,
      onclick: () => {
        state.set("cluster", open ? null : id[place]);
        render();
        document.getElementById(`toggle-${id[place]}`)?.focus();
      },
    }, el("span", { class: "number", text: id[place] }), " ", isolated(brief(clusters.text(clusters.head(place)))));
    const flag = reasons[place] ? el("span", { class: "flag", title: reasons[place].join("; "), text: "suspicious" }) : null;
    const cells = [["documents", number(size[place])], ["weakest link", fixed(weakest[place])], ["density", percent(density[place])], ["spread", fixed(spread[place])]];
    const head = el("tr", { class: open ? "is-open" : null }, el("th", { scope: "row" }, toggle, flag),
      ...cells.map(([name, value]) => el("td", { "data-name": name, text: value })));
    if (!open) return [head];
    return [head, el("tr", { class: "detail" }, el("td", { colspan: "5", id: `cluster-${id[place]}` }, clusterDetail(data, clusters, place)))];
  };

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => state.set("q", search.value || null, { page: null, cluster: null }) || render(), 60);
  });
  order.addEventListener("change", () => state.set("sort", order.value, { page: null, cluster: null }) || render());
  for (const cell of document.querySelectorAll("#clusters-table th[data-order] button"))
    cell.addEventListener("click", () => state.set("sort", cell.parentElement.dataset.order, { page: null, cluster: null }) || render());
  const turn = (by) => state.set("page", Math.max(Number(state.get("page") ?? 1) + by, 1), { cluster: null }) || render();
  document.getElementById("previous").addEventListener("click", () => turn(-1));
  document.getElementById("next").addEventListener("click", () => turn(1));
  return render;
}

const brief = (text) => (text.length > 160 ? text.slice(0, 159) + "…" : text);

/** Show one cluster: reasons, texts with their differences, matrix, graph and the pairs as a table. */
function clusterDetail(data, clusters, place) {
  const members = clusters.members(place);
  const pairs = clusters.pairs(place);
  const n = data.clusters.texts[place];
  const kept = clusters.text(members[0].document);
  const box = el("div", { class: "cluster" });
  const reasons = data.clusters.reasons[place];
  if (reasons) box.append(el("ul", { class: "reasons" }, ...reasons.map((reason) => el("li", { text: reason }))));
  box.append(el("p", { class: "hint", text: "The number is the probability that the text and the one that stays are duplicates. Struck words are only in the text that stays, underlined ones only in this one." }));
  box.append(pagedTexts(data, members, kept));
  if (n > 1) {
    const texts = d3.range(n);
    const pictures = el("div", { class: "pictures" });
    if (n <= MATRIX) pictures.append(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "probability of each pair" }, matrix(n, pairs, data.threshold)));
    if (n > 2 && n <= GRAPH) {
      const bridge = data.clusters.bridges[place];
      const caption = el("figcaption", { class: "hint", text: "Lines are accepted pairs; the filled text stays." + (bridge ? " The heavy line alone joins two parts." : "") });
      const figure = el("figure", {}, caption);
      graph(texts, pairs, data.threshold, bridge, (picture) => figure.prepend(picture));
      pictures.append(figure);
    }
    box.append(pictures, pairTable(pairs, data.threshold));
  }
  return box;
}

function pagedTexts(data, members, kept) {
  const list = el("ol", { class: "texts" });
  let shown = 0;
  const more = el("button", { type: "button", onclick: () => grow() });
  const grow = () => {
    for (const end = Math.min(shown + PAGE, members.length); shown < end; shown++) list.append(memberLine(data, members[shown], shown, kept));
    more.textContent = `show ${number(Math.min(PAGE, members.length - shown))} more of ${number(members.length)}`;
    more.hidden = shown >= members.length;
  };
  grow();
  return el("div", {}, list, more);
}

function memberLine(data, member, i, kept) {
  const { text, id, length } = data.documents;
  const role = i === 0 ? el("span", { class: "badge stays", text: "stays" })
    : el("span", { class: "badge " + (member.probability >= data.threshold ? "goes" : "doubt"), text: fixed(member.probability) });
  const cut = length[member.document] ? el("span", { class: "hint", text: ` … ${number(length[member.document])} characters` }) : null;
  return el("li", { value: member.text + 1 }, role, " ", i === 0 ? isolated(text[member.document]) : difference(kept, text[member.document]), cut, " ", isolated(id[member.document], { class: "id" }));
}

function pairTable(pairs, threshold) {
  const cut = pairs.length > 200 ? " (the 200 least probable)" : "";
  const body = el("tbody");
  const fill = () => {
    const sorted = [...pairs].sort((a, b) => a.probability - b.probability).slice(0, 200);
    body.replaceChildren(...sorted.map((pair) => row("td", [pair.left + 1, pair.right + 1, fixed(pair.probability, 3), fixed(pair.cosine, 3), pair.probability >= threshold ? "accepted" : "rejected"])));
  };
  return el("details", { ontoggle: () => body.hasChildNodes() || fill() }, el("summary", { text: `${plural(pairs.length, "scored pair")} as a table${cut}` }),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "scored pairs" }, el("table", { class: "twin" }, el("thead", {}, row("th", ["text", "text", "probability", "cosine", "decision"])), body)));
}
