// Texts of strangers reach the page here only, as text nodes.
"use strict";

// The same list as in words.py: what moves or hides other text, or ends a line.
const HIDDEN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu;

/** Make an element; properties that begin with "on" are listeners, `text` its text, others attributes. */
function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return the nodes of a text, with a visible mark for each hidden character. */
function marked(text) {
  const nodes = [];
  let start = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > start) nodes.push(document.createTextNode(text.slice(start, match.index)));
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    nodes.push(el("span", { class: "hidden-mark", title: "a character that does not show", text: `U+${code}` }));
    start = match.index + match[0].length;
  }
  if (start < text.length) nodes.push(document.createTextNode(text.slice(start)));
  return nodes;
}

/** Return an element that keeps the direction of a text from its surroundings. */
function isolated(text, properties = {}) {
  return el("bdi", properties, ...marked(text));
}

const LONGEST_DIFF = 300; // words

/** Return a text with the words it has more (ins) and less (del) than another. */
function difference(from, to) {
  const [a, b] = [words(from), words(to)];
  if (a.length > LONGEST_DIFF || b.length > LONGEST_DIFF) return isolated(to);
  const steps = align(a.map(fold), b.map(fold));
  const parts = [];
  for (const [kind, i] of steps) {
    const word = kind === "del" ? a[i] : b[i];
    const last = parts.at(-1);
    if (last && last.kind === kind) last.words.push(word);
    else parts.push({ kind, words: [word] });
  }
  const box = el("bdi");
  parts.forEach((part, i) => {
    const nodes = marked(part.words.join(" "));
    box.append(...(part.kind === "same" ? nodes : [el(part.kind, {}, ...nodes)]));
    if (i + 1 < parts.length) box.append(" ");
  });
  return box;
}

const words = (text) => text.split(/\s+/u).filter(Boolean);
const fold = (word) => word.toLocaleLowerCase().replace(/[\p{P}\p{S}]+$/u, "") || word;

/** Align two lists by their longest common subsequence: ["same" | "ins", place in b] or ["del", place in a]. */
function align(a, b) {
  const best = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      best[i][j] = a[i] === b[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const steps = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) steps.push(["same", j++]) && i++;
    else if (i < a.length && (j === b.length || best[i + 1][j] >= best[i][j + 1])) steps.push(["del", i++]);
    else steps.push(["ins", j++]);
  }
  return steps;
}

const whole = new Intl.NumberFormat("en");
const number = (value) => whole.format(value);
const fixed = (value, digits = 2) => (value < 0 ? "?" : value.toFixed(digits));
const percent = (value) => (value * 100).toFixed(value > 0.995 && value < 1 ? 1 : 0) + "%";
const plural = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;
