// Ask, save, go on. The page says "saved" only after the server has the answer on the disk.
"use strict";

const at = (id) => document.getElementById(id);
let state = null;
let shownAt = 0;
let busy = false;

async function call(path, content = {}) {
  const response = await fetch(`/${path}`, { method: "POST", body: JSON.stringify(content) });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error);
  return body;
}

/** Run one request at a time; a failure is said, and the question stays. */
async function attempt(path, content, done) {
  if (busy) return;
  busy = true;
  try {
    const body = await call(path, content);
    at("failure").hidden = true;
    done(body);
  } catch (error) {
    at("failure").hidden = false;
    at("failure").textContent = error instanceof TypeError ? "Not saved: the server does not answer. Start dupmine review again; what was saved is kept." : `Not saved: ${error.message}`;
  } finally {
    busy = false;
  }
}

function show(next) {
  state = next;
  shownAt = performance.now();
  const { question, done, session, left, before, reviewer } = state;
  at("who").textContent = reviewer;
  at("progress").max = Math.max(session, 1);
  at("progress").value = done;
  at("count").textContent = `${number(done)} of ${number(session)} in this session, ${number(left)} left` + (before ? `, ${number(before)} answered before` : "");
  at("ask").hidden = !question;
  at("end").hidden = Boolean(question);
  at("undo").disabled = at("undo-last").disabled = !done;
  at("note").value = "";
  if (!question) return showEnd(left);
  at("question").textContent = question.cluster ? "Untick what does not ask the same as the first text." : "Do these two ask the same?";
  at("texts").replaceChildren(question.cluster ? members(question.texts) : pair(question.texts));
  at("answers").replaceChildren(...buttons(question.cluster));
  showScore(question);
}

function showEnd(left) {
  at("question").textContent = left ? "Session complete" : "Nothing is left to ask";
  at("end-text").textContent = left ? `${number(left)} questions are left. Take a break, or go on.` : "Export the labels, then see dupmine audit or the report.";
  at("session").hidden = !left;
}

const pair = (texts) => el("div", { class: "pair" }, ...texts.map((text, i) => el("div", { tabindex: "0", role: "region", "aria-label": i ? "right text" : "left text" }, isolated(text))));

function members(texts) {
  const [head, ...others] = texts;
  return el("ul", { class: "members" }, el("li", { class: "stays-line" }, isolated(head)),
    ...others.map((text) => el("li", {}, el("label", {}, el("input", { type: "checkbox", checked: true }), isolated(text)))));
}

function buttons(cluster) {
  const button = (name, key, kind, act) => el("button", { type: "button", class: kind, onclick: act }, name, el("kbd", { text: key }));
  if (cluster)
    return [button("save", "Enter", "yes", answerCluster), button("unsure of all", "U", "", () => answer("unsure"))];
  return [
    button("duplicate", "D", "yes", () => answer("duplicate")),
    button("different", "N", "no", () => answer("different")),
    button("unsure", "U", "", () => answer("unsure")),
  ];
}

function showScore(question) {
  const { score } = question;
  at("reveal").disabled = Boolean(score);
  at("score").hidden = !score;
  at("reasons").replaceChildren(...(score?.reasons ?? []).map((reason) => el("li", { text: reason })));
  if (!score) return;
  const values = score.probability.map((value) => (value === null ? "?" : value.toFixed(3))).join(", ");
  at("score").textContent = `probability ${values}; threshold ${score.threshold}; ${score.together ? "in one cluster" : "in different clusters"}`;
}

function answer(...answers) {
  const count = state.question.cluster ? state.question.texts.length - 1 : 1;
  const all = answers.length === count ? answers : Array(count).fill(answers[0]);
  const content = { number: state.question.number, answers: all, seconds: (performance.now() - shownAt) / 1000, note: at("note").value };
  return attempt("answer", content, (next) => {
    at("saved").textContent = `saved: ${[...new Set(all)].join(", ")} (${next.done})`;
    show(next);
  });
}

function answerCluster() {
  const ticks = [...document.querySelectorAll(".members input")];
  return answer(...ticks.map((tick) => (tick.checked ? "duplicate" : "different")));
}

const undo = () => attempt("undo", {}, (next) => {
  at("saved").textContent = "the last answer was taken back";
  show(next);
});

const reveal = () => attempt("reveal", { number: state.question.number }, (next) => {
  state = next;
  showScore(next.question);
});

function exported({ path, labels, reviewers, kappa, disagreements }) {
  const agreement = kappa === null ? "" : ` Cohen's kappa is ${kappa.toFixed(2)}.`;
  at("exported").hidden = false;
  at("exported-text").textContent = `${plural(labels, "label")} by ${Object.entries(reviewers).map(([who, n]) => `${who} (${n})`).join(", ")} in ${path}.${agreement}`;
  at("disagreements").replaceChildren(...disagreements.slice(0, 200).map(({ pair, labels }) =>
    el("li", {}, isolated(pair[0]), " and ", isolated(pair[1]), ": " + Object.entries(labels).map(([who, label]) => `${who} ${label}`).join(", "))));
}

at("undo").addEventListener("click", undo);
at("undo-last").addEventListener("click", undo);
at("reveal").addEventListener("click", reveal);
at("session").addEventListener("click", () => attempt("session", {}, show));
at("export").addEventListener("click", () => attempt("export", {}, exported));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], textarea")) return;
  const key = event.key.toLowerCase();
  const pairKeys = { d: () => answer("duplicate"), n: () => answer("different") };
  const keys = { u: () => answer("unsure"), s: reveal, ...(state?.question?.cluster ? {} : pairKeys) };
  if (key === "backspace") undo();
  else if (state?.question && keys[key]) keys[key]();
  else if (state?.question?.cluster && key === "enter" && !event.target.matches("button")) answerCluster();
  else return;
  event.preventDefault();
});
attempt("state", {}, (next) => {
  show(next);
  document.documentElement.dataset.ready = "1";
});
