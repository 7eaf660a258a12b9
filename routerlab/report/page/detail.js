// One question in full: what was asked and heard, what each action would have led to, what the
// router did. Every text goes in as text.
"use strict";

const lab = window.routerlabPage;
const { make } = lab;
const SAYS = lab.data.outcomes;

const choices = (row) => {
  const shown = row.choices.length ? row.choices : [row.gold];
  const items = shown.map((choice) => {
    const who = [];
    if (choice === row.answer) who.push("router");
    if (choice === row.answers[0]) who.push("direct");
    const gold = choice === row.gold;
    const said = [gold ? "right" : null, who.length ? who.join(", ") : null].filter(Boolean).join(" · ");
    const kind = gold ? "gold" : choice === row.answer ? "missed" : null;
    return make("li", { class: kind }, make("span", {}, choice), said ? make("small", {}, said) : null);
  });
  return make("ul", { class: "choices" }, ...items);
};

const probability = (p) => {
  const bar = make("b");
  bar.style.width = `${100 * p}%`;
  const said = p < 0.001 ? "<0.1" : (100 * p).toFixed(1);
  return make("div", { class: "prob" }, make("i", {}, bar), make("span", {}, said));
};

const action = (row, index) => {
  const answer = row.answers[index];
  const right = row.right[index];
  const verdict = `${right ? "✓" : "✗"} ${answer || "no answer"}`;
  return make(
    "tr",
    { class: index === row.action ? "taken" : null },
    make("th", { scope: "row" }, lab.data.actions[index].name),
    make("td", {}, probability(row.p[index])),
    make("td", { class: right ? "ok" : "no" }, verdict),
    make("td", { class: "out" }, row.outputs[index] || (index ? "–" : "")),
  );
};

const actions = (row) => {
  const heads = [["who", "action"], ["sure", "prob. %"], ["said", "answer"], ["", "what the tool says"]];
  const head = make("tr", {}, ...heads.map(([kind, text]) => make("th", { class: kind || null, scope: "col" }, text)));
  const rows = lab.data.actions.map((_, index) => action(row, index));
  return make("table", { class: "acts" }, make("thead", {}, head), make("tbody", {}, ...rows));
};

const output = (row) => {
  const seen = row.seen;
  if (!seen) return [];
  const said = seen.error ? `failed: ${seen.error}` : seen.text;
  const values = JSON.stringify(seen.values ?? {}, null, 1);
  return [
    make("h4", {}, `What ${lab.data.actions[row.action].name} said`),
    make("p", { class: "output" }, said || "nothing"),
    make("details", {}, make("summary", {}, "Its values"), make("pre", {}, values)),
  ];
};

const card = (row) => {
  const it = lab.data.actions[row.action];
  const lines = [["measures", it.measures], ["unit", it.unit], ["stops at", it.stops_at], ["version", it.version]];
  const known = lines.filter(([, text]) => text);
  if (!known.length) return [];
  const parts = known.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);
  return [make("h4", {}, `The card of ${it.name}`), make("dl", { class: "card" }, ...parts)];
};

const otherCards = (row) => {
  const others = lab.data.actions.filter((it, index) => index !== row.action && it.measures);
  if (!others.length) return null;
  const parts = others.flatMap((it) => [
    make("dt", {}, it.name),
    make("dd", {}, [it.measures, it.stops_at].filter(Boolean).join(". Stops at: ")),
  ]);
  return make("details", {}, make("summary", {}, "The other cards"), make("dl", { class: "card wide" }, ...parts));
};

// Fill an element with a row.
lab.detail = (place, row, back) => {
  const head = make(
    "div",
    { class: "head" },
    make("span", { class: `chip ${row.outcome}` }, SAYS[row.outcome]),
    row.category ? make("span", { class: "chip" }, row.category) : null,
    make("span", {}, row.kind),
    make("code", {}, row.id),
  );
  const leave = make("button", { type: "button", class: "quiet back" }, "Back to the list");
  leave.addEventListener("click", back);
  place.replaceChildren(
    leave,
    head,
    make("p", { class: "asked" }, row.question || "(the question's text is not in this run's files)"),
    choices(row),
    lab.player(row),
    actions(row),
    ...output(row),
    ...card(row),
    otherCards(row) ?? "",
  );
};
