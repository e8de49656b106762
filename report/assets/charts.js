// Pictures, each with its twin as a table.
"use strict";

const CLASS = "plot"; // one name, so that the style Plot adds has one hash in the policy

function chart(box, options, title, description) {
  const width = Math.max(Math.min(box.clientWidth || 640, 860), 280);
  const picture = Plot.plot({
    className: CLASS,
    width,
    height: options.height ?? 240,
    marginLeft: 56,
    marginBottom: 42,
    ...options,
  });
  for (const part of picture.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label"); // it is one picture
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${title}. ${description}`);
  return picture;
}

/** Fill `box` with a picture, drawn again when its width changes, and a table of the same numbers. */
function figure(box, { title, description, draw, head, rows }) {
  const canvas = el("div", { class: "canvas" });
  const body = el("tbody", {}, ...rows().map((cells) => row("td", cells)));
  const table = el("table", { class: "twin" }, el("thead", {}, row("th", head)), body);
  const details = el("details", {}, el("summary", { text: "as a table" }), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, as a table` }, table));
  box.replaceChildren(el("h3", { text: title }), el("p", { class: "hint", text: description }), canvas, details);
  const render = () => canvas.replaceChildren(draw(canvas));
  let width = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth === width) return;
    width = canvas.clientWidth;
    render();
  }).observe(canvas);
  return render;
}

function row(kind, cells) {
  return el("tr", {}, ...cells.map((cell) => el(kind, { text: cell, scope: kind === "th" ? "col" : null })));
}

function histogram(data) {
  const { edges, accepted, rejected } = data.histogram;
  const bars = edges.slice(0, -1).flatMap((low, i) => [
    { low, high: edges[i + 1], kind: "rejected", count: rejected[i] },
    { low, high: edges[i + 1], kind: "accepted", count: accepted[i] },
  ]);
  const title = "Scored pairs by probability";
  const description = "Left of the dashed threshold pairs were rejected, right of it accepted. Few pairs near it mean a result that a small change does not move.";
  figure(document.getElementById("histogram"), {
    title,
    description,
    draw: (box) =>
      chart(box, {
        x: { label: "probability", domain: [0, 1] },
        y: { label: "pairs", type: "sqrt", grid: true, tickFormat: "~s" },
        color: { domain: ["accepted", "rejected"], range: ["var(--good)", "var(--faint)"] },
        marks: [
          Plot.rectY(bars, { x1: "low", x2: "high", y: "count", fill: "kind", inset: 0.5 }),
          Plot.ruleX([data.threshold], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
          Plot.ruleY([0], { stroke: "var(--line)" }),
        ],
      }, title, description),
    head: ["probability", "accepted", "rejected"],
    rows: () => edges.slice(0, -1).map((low, i) => [`${low.toFixed(2)} to ${edges[i + 1].toFixed(2)}`, number(accepted[i]), number(rejected[i])]),
  });
}

function clusterSizes(data) {
  const { size, clusters } = data.sizes;
  const dots = size.map((value, i) => ({ size: value, clusters: clusters[i] }));
  const title = "Clusters by size";
  const description = "How many clusters have so many documents. A cluster far to the right of the others deserves a look.";
  figure(document.getElementById("sizes"), {
    title,
    description,
    draw: (box) =>
      chart(box, {
        x: { label: "documents in the cluster", type: "log", tickFormat: "~s", ticks: 6 },
        y: { label: "clusters", type: "log", grid: true, tickFormat: "~s", ticks: 4 },
        marks: [Plot.ruleX(dots, { x: "size", y1: 0.8, y2: "clusters", stroke: "var(--accent)" }), Plot.dot(dots, { x: "size", y: "clusters", fill: "var(--accent)", r: 3 })],
      }, title, description),
    head: ["documents", "clusters"],
    rows: () => dots.map((dot) => [number(dot.size), number(dot.clusters)]),
  });
}

const SLICE = 20; // milliseconds of layout before the page can answer

/** Draw the texts of a cluster as a graph, accepted pairs as lines, its bridge heavy, and pass it to `show`. */
function graph(texts, pairs, threshold, bridge, show) {
  const nodes = texts.map((_, i) => ({ i }));
  const links = pairs.filter((pair) => pair.probability >= threshold).map((pair) => ({ ...pair, source: pair.left, target: pair.right }));
  const layout = d3.forceSimulation(nodes)
    .force("link", d3.forceLink(links).distance((link) => 50 + 140 * (1 - link.probability)))
    .force("charge", d3.forceManyBody().strength(-180))
    .force("x", d3.forceX().strength(0.06))
    .force("y", d3.forceY().strength(0.09))
    .stop();
  let left = links.length > 300 ? 50 : 200;
  const settle = () => {
    for (const end = performance.now() + SLICE; left > 0 && performance.now() < end; left--) layout.tick();
    if (left) setTimeout(settle);
    else show(drawGraph(nodes, links, bridge));
  };
  setTimeout(settle);
}

function drawGraph(nodes, links, bridge) {
  const [width, height, margin] = [420, 300, 22];
  const scale = (values, low, high) => d3.scaleLinear(d3.extent(values).every((v, i, both) => both[0] === both[1]) ? [values[0] - 1, values[0] + 1] : d3.extent(values), [low, high]);
  const [x, y] = [scale(nodes.map((n) => n.x), margin, width - margin), scale(nodes.map((n) => n.y), margin, height - margin)];
  const isBridge = (link) => bridge && link.left === bridge[0] && link.right === bridge[1];
  const label = `Graph of ${plural(nodes.length, "text")} and ${plural(links.length, "accepted pair")}${bridge ? "; one pair alone joins two parts" : ""}. The table below holds the same pairs.`;
  const svg = d3.create("svg").attr("viewBox", [0, 0, width, height]).attr("class", "graph").attr("role", "img").attr("aria-label", label);
  svg.selectAll("line").data(links).join("line")
    .attr("x1", (l) => x(l.source.x)).attr("y1", (l) => y(l.source.y)).attr("x2", (l) => x(l.target.x)).attr("y2", (l) => y(l.target.y))
    .attr("class", (l) => (isBridge(l) ? "bridge" : "link")).attr("stroke-width", (l) => (isBridge(l) ? 4 : 0.5 + 2 * l.probability));
  const node = svg.selectAll("g").data(nodes).join("g").attr("transform", (n) => `translate(${x(n.x)},${y(n.y)})`);
  node.append("circle").attr("r", 11).attr("class", (n) => (n.i === 0 ? "stays" : "goes"));
  node.append("text").attr("dy", "0.35em").text((n) => n.i + 1);
  return svg.node();
}

/** Draw the probabilities of all pairs of a cluster's texts as a table of coloured cells. */
function matrix(n, pairs, threshold) {
  const known = new Map(pairs.map((pair) => [pair.left * n + pair.right, pair.probability]));
  const head = el("tr", {}, el("td"), ...d3.range(n).map((i) => el("th", { scope: "col", text: i + 1 })));
  const lines = d3.range(n).map((i) => {
    const cells = d3.range(n).map((j) => {
      if (i === j) return el("td", { class: "same", text: "·" });
      const value = known.get(Math.min(i, j) * n + Math.max(i, j)) ?? known.get(Math.max(i, j) * n + Math.min(i, j));
      if (value === undefined) return el("td", { class: "unknown", title: "never scored", text: "–" });
      const cell = el("td", { class: value >= threshold ? "accepted" : "rejected", text: value.toFixed(2) });
      cell.style.setProperty("--strength", `${Math.round(20 + 60 * Math.abs(value - threshold) / Math.max(threshold, 1 - threshold))}%`);
      return cell;
    });
    return el("tr", {}, el("th", { scope: "row", text: i + 1 }), ...cells);
  });
  return el("table", { class: "matrix" }, el("caption", { text: "Probability of each pair" }), el("thead", {}, head), el("tbody", {}, ...lines));
}
