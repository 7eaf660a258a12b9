// The list of questions: filters, order, keys, and only those rows in the document that are seen.
"use strict";

const lab = window.routerlabPage;
const browser = document.getElementById("browser");
if (!browser) return;

const { make } = lab;
const by = (name) => document.getElementById(name);
const HEIGHT = 62;
const SPARE = 6;
const SHORT = {
  fix: "fixed",
  break: "broken",
  right_anyway: "right either way",
  wrong_anyway: "wrong either way",
  direct_right: "no call, right",
  direct_wrong: "no call, wrong",
  failed: "tool failed",
};
const list = by("list");
const tall = by("tall");
const narrow = window.matchMedia("(max-width: 860px)");
const state = { rows: [], shown: [], at: -1 };

// --- filters -----------------------------------------------------------------------------------

const options = (select, first, values) => {
  const before = select.value;
  const made = values.map(([value, text]) => make("option", { value }, text));
  select.replaceChildren(...(first ? [make("option", { value: "" }, first)] : []), ...made);
  if (values.some(([value]) => value === before)) select.value = before;
};

const counted = (rows, key) => {
  const counts = new Map();
  for (const row of rows) counts.set(key(row), (counts.get(key(row)) ?? 0) + 1);
  return counts;
};

const name = (row) => lab.data.actions[row.action].name;

const fillFilters = () => {
  const outcomes = counted(state.rows, (row) => row.outcome);
  const known = Object.keys(SHORT).filter((key) => outcomes.has(key));
  options(by("by-outcome"), "all", [
    ["right", `right (${state.rows.filter((row) => row.correct).length})`],
    ["wrong", `wrong (${state.rows.filter((row) => !row.correct).length})`],
    ...known.map((key) => [key, `${SHORT[key]} (${outcomes.get(key)})`]),
    ["missed", `wrong, another action right (${state.rows.filter(missed).length})`],
  ]);
  const actions = counted(state.rows, name);
  const order = lab.data.actions.map((it) => it.name).filter((it) => actions.has(it));
  options(by("by-action"), "all", order.map((it) => [it, `${it} (${actions.get(it)})`]));
  const categories = [...counted(state.rows, (row) => row.category)].sort((a, b) => b[1] - a[1]);
  options(by("by-category"), "all", categories.filter(([it]) => it).map(([it, n]) => [it, `${it} (${n})`]));
};

const missed = (row) => !row.correct && row.right.some(Boolean);

const fitsOutcome = (row, wanted) => {
  if (!wanted) return true;
  if (wanted === "right" || wanted === "wrong") return row.correct === (wanted === "right");
  return wanted === "missed" ? missed(row) : row.outcome === wanted;
};

const textOf = (row) => {
  row.text ??= [row.id, row.question, row.gold, row.kind, ...row.choices, ...row.answers, ...row.outputs]
    .join("\n")
    .toLowerCase();
  return row.text;
};

const sureness = (row) => row.p[row.action];

const apply = () => {
  const chosen = state.shown[state.at];
  const words = by("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [outcome, action, category] = ["by-outcome", "by-action", "by-category"].map((it) => by(it).value);
  state.shown = state.rows.filter(
    (row) =>
      fitsOutcome(row, outcome) &&
      (!action || name(row) === action) &&
      (!category || row.category === category) &&
      words.every((word) => textOf(row).includes(word)),
  );
  const order = by("order").value;
  if (order !== "file") {
    const sign = order === "sure" ? -1 : 1;
    state.shown.sort((a, b) => sign * (sureness(a) - sureness(b)));
  }
  const right = state.shown.filter((row) => row.correct).length;
  const share = state.shown.length ? `, ${((100 * right) / state.shown.length).toFixed(1)} % right` : "";
  const number = (n) => n.toLocaleString("en");
  by("count").textContent = `${number(state.shown.length)} of ${number(state.rows.length)} questions${share}`;
  tall.style.height = `${state.shown.length * HEIGHT}px`;
  list.scrollTop = 0;
  state.at = state.shown.indexOf(chosen);
  if (state.at < 0 && state.shown.length && !narrow.matches) open(0);
  else if (state.at >= 0) reveal();
  if (!state.shown.length) by("detail").replaceChildren(make("p", { class: "empty" }, "No question fits all filters."));
  draw();
};

// --- rows --------------------------------------------------------------------------------------

const line = (row, index) => {
  const element = make(
    "div",
    { class: "row", role: "option", id: `row-${index}`, "aria-selected": String(index === state.at) },
    make("div", { class: "asked" }, row.question || row.id),
    make(
      "div",
      { class: "about" },
      make("span", { class: `mark ${row.outcome}` }),
      make("span", {}, SHORT[row.outcome]),
      make("span", {}, `${name(row)} ${(100 * sureness(row)).toFixed(0)} %`),
      make("span", { class: "id" }, row.category || row.id),
    ),
  );
  element.style.top = `${index * HEIGHT}px`;
  element.addEventListener("click", () => open(index, true));
  return element;
};

const draw = () => {
  const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - SPARE);
  const last = Math.min(state.shown.length, Math.ceil((list.scrollTop + list.clientHeight) / HEIGHT) + SPARE);
  const rows = [];
  for (let index = first; index < last; index++) rows.push(line(state.shown[index], index));
  tall.replaceChildren(...rows);
};

const reveal = () => {
  const top = state.at * HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + HEIGHT > list.scrollTop + list.clientHeight) list.scrollTop = top + HEIGHT - list.clientHeight;
};

const close = () => {
  browser.classList.remove("open");
  document.body.style.overflow = "";
  by("detail").querySelector("audio")?.pause();
  list.focus({ preventScroll: true });
};

const open = (index, asked = false) => {
  state.at = index;
  lab.detail(by("detail"), state.shown[index], close);
  list.setAttribute("aria-activedescendant", `row-${index}`);
  if (narrow.matches && asked) {
    browser.classList.add("open");
    document.body.style.overflow = "hidden";
    by("detail").scrollTop = 0;
  }
  draw();
};

// --- what the reader does ----------------------------------------------------------------------

const STEPS = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: 10, PageUp: -10 };

list.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && state.at >= 0) open(state.at, true);
  const step = STEPS[event.key];
  if (!step || !state.shown.length || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  open(Math.min(state.shown.length - 1, Math.max(0, state.at + step)));
  reveal();
  draw();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && browser.classList.contains("open")) close();
});

let asked = 0;
list.addEventListener("scroll", () => {
  cancelAnimationFrame(asked);
  asked = requestAnimationFrame(draw);
});
new ResizeObserver(draw).observe(list);

const take = () => {
  state.rows = lab.data.splits[by("by-split").value];
  state.at = -1;
  fillFilters();
  apply();
};

options(
  by("by-split"),
  "",
  Object.entries(lab.data.splits).map(([split, rows]) => [split, `${split} (${rows.length})`]),
);
by("by-split").addEventListener("change", take);
for (const filter of ["by-outcome", "by-action", "by-category", "order"]) by(filter).addEventListener("change", apply);
by("find").addEventListener("input", apply);
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("filters").addEventListener("reset", () => setTimeout(take));
take();
