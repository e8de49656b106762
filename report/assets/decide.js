// What another threshold would do. Every number here was computed by `rethreshold`; the slider knows no others.
"use strict";

const CHANGES_PER_PAGE = 20;

function decide(data, state) {
  const points = data.points;
  const own = points.findIndex((point) => point.threshold === data.threshold);
  const slider = document.getElementById("slider");
  const measured = points.some((point) => point.precision);
  slider.max = points.length - 1;
  const redraw = thresholdChart(points, own, () => Number(slider.value), measured, data.measured_by);

  const show = (place) => {
    const point = points[place];
    slider.value = place;
    slider.setAttribute("aria-valuetext", `threshold ${point.threshold}`);
    document.getElementById("threshold").textContent = point.threshold + (point.name ? ` (${point.name})` : "");
    const cells = [
      ["documents that could go", number(point.removed), signed(point.removed - points[own].removed)],
      ["clusters", number(point.clusters), signed(point.clusters - points[own].clusters)],
      ["largest cluster", number(point.largest), signed(point.largest - points[own].largest)],
      ["accepted pairs", number(point.accepted), signed(point.accepted - points[own].accepted)],
    ];
    if (measured) cells.push(["precision of accepted pairs", share(point.precision), ""], [data.measured_by === "by the audit" ? "recall among scored pairs" : "recall", share(point.recall), ""]);
    document.getElementById("figures").replaceChildren(
      ...cells.map(([name, value, change]) => el("div", {}, el("dt", { text: name }), el("dd", {}, el("b", { text: value }), change && place !== own ? el("span", { class: "change", text: change }) : null)))
    );
    document.getElementById("command").textContent = `dupmine mine … --threshold ${point.threshold}`;
    changes(document.getElementById("goes"), data, point.goes, "would go too");
    changes(document.getElementById("stays"), data, point.stays, "would stay after all");
    document.getElementById("unchanged").hidden = place !== own;
    redraw();
  };
  const nearest = (threshold) => d3.minIndex(points, (point) => Math.abs(point.threshold - threshold));
  slider.addEventListener("input", () => {
    show(Number(slider.value));
    state.set("threshold", Number(slider.value) === own ? null : points[slider.value].threshold);
  });
  document.getElementById("own").addEventListener("click", () => {
    show(own);
    state.set("threshold", null);
  });
  return () => show(state.get("threshold") === null ? own : nearest(Number(state.get("threshold"))));
}

const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "±") + number(Math.abs(value));
const share = (values) => (values ? `${percent(values[0])} (${percent(values[1])} to ${percent(values[2])})` : "–");

/** Say how many documents change sides; their texts are listed once the box is open. */
function changes(box, data, side, words) {
  const { document: at, stays } = side;
  const last = Math.min(at.length, 200);
  let shown = 0;
  const list = el("ul", { class: "texts" });
  const more = el("button", { type: "button", onclick: () => grow() });
  const grow = () => {
    for (const end = Math.min(shown + CHANGES_PER_PAGE, last); shown < end; shown++) {
      const [gone, kept] = [at[shown], stays[shown]].map((i) => data.documents.text[i]);
      list.append(el("li", {}, difference(kept, gone), el("div", { class: "hint" }, "stays: ", isolated(kept))));
    }
    more.textContent = `show more (${number(shown)} of ${number(last)})`;
    more.hidden = shown >= last;
  };
  const listed = at.length < side.count ? `, ${number(at.length)} of them drawn at random` : "";
  const note = at.length > last ? ` The first ${last} are listed here.` : "";
  box.hidden = !side.count;
  box.replaceChildren(
    el("summary", { text: `${plural(side.count, "document")} ${words}` }),
    el("p", { class: "hint", text: `Compared with the threshold of the result${listed}.${note} Struck words are only in the text that stays, underlined ones only in this one.` }),
    list,
    more
  );
  box.ontoggle = () => box.open && !shown && grow();
  box.ontoggle();
}

function thresholdChart(points, own, current, measured, origin) {
  const title = "Documents that could go, by threshold";
  const description = "Each dot is a threshold that was computed. The dashed line is the threshold of the result, the ring the one that is chosen.";
  const dots = points.map((point) => ({ ...point, low: point.precision?.[1], high: point.precision?.[2], value: point.precision?.[0] }));
  const drawRemoved = figure(document.getElementById("removed-chart"), {
    title,
    description,
    draw: (box) =>
      chart(box, {
        x: { label: "threshold", domain: [0, 1] },
        y: { label: "documents", grid: true, zero: true, tickFormat: "~s" },
        marks: [
          Plot.areaY(dots, { x: "threshold", y: "removed", fill: "var(--accent)", fillOpacity: 0.15 }),
          Plot.lineY(dots, { x: "threshold", y: "removed", stroke: "var(--accent)" }),
          Plot.dot(dots, { x: "threshold", y: "removed", fill: "var(--accent)", r: 2.5 }),
          Plot.ruleX([points[own].threshold], { stroke: "var(--ink)", strokeDasharray: "4 3" }),
          Plot.dot([dots[current()]], { x: "threshold", y: "removed", stroke: "var(--ink)", strokeWidth: 2.5, r: 7 }),
        ],
      }, title, description),
    head: ["threshold", "documents that could go", "clusters", "largest cluster", "accepted pairs"],
    rows: () => points.map((p) => [p.threshold, number(p.removed), number(p.clusters), number(p.largest), number(p.accepted)]),
  });
  const box = document.getElementById("precision-chart");
  if (!measured) return drawRemoved;
  const name = "Precision and recall, by threshold";
  const text = `Of the accepted pairs, ${origin}. Solid: precision, with its 95% interval. Dashed: recall. Nothing is drawn where fewer than 8 labels tell.`;
  const drawPrecision = figure(box, {
    title: name,
    description: text,
    draw: (canvas) =>
      chart(canvas, {
        x: { label: "threshold", domain: [0, 1] },
        y: { label: "share", domain: [0, 1], grid: true, tickFormat: ".0%" },
        marks: [
          Plot.areaY(dots, { x: "threshold", y1: "low", y2: "high", fill: "var(--good)", fillOpacity: 0.2 }),
          Plot.lineY(dots, { x: "threshold", y: "value", stroke: "var(--good)" }),
          Plot.lineY(dots, { x: "threshold", y: (p) => p.recall?.[0], stroke: "var(--warn)", strokeDasharray: "6 3" }),
          Plot.ruleX([points[current()].threshold], { stroke: "var(--ink)" }),
        ],
      }, name, text),
    head: ["threshold", "precision", "recall"],
    rows: () => points.map((p) => [p.threshold, share(p.precision), share(p.recall)]),
  });
  return () => [drawRemoved, drawPrecision].forEach((draw) => draw());
}
