"use strict";
// Everything that a model or a data set wrote enters the page through textContent alone.
const PAGE = 50;
const rollouts = JSON.parse(document.getElementById("rollouts").textContent);
const list = document.getElementById("list");
const form = document.getElementById("filter");
const more = document.getElementById("more");
const runs = JSON.parse(list.dataset.runs);
let matching = [];
let shown = 0;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined && text !== null) made.textContent = text;
  return made;
}

function origin(rollout) {
  return rollout.step === null ? "evaluation" : "training";
}

function place(rollout) {
  const at = rollout.step === null
    ? `evaluation at ${Number(rollout.context).toLocaleString("en")}`
    : `step ${rollout.step}`;
  return [runs.length > 1 ? runs[rollout.run] : "", rollout.stage, at].filter(Boolean).join(" · ");
}

function facts(rollout) {
  const score = rollout.score;
  const rows = [["score", `${score.value ?? "none"} (${score.verifier})`]];
  for (const [key, value] of Object.entries(score.breakdown || {})) rows.push([key, value]);
  rows.push(["tokens", `${rollout.prompt_tokens} prompt, ${rollout.response_tokens} response`]);
  rows.push(["finished by", rollout.finish_reason]);
  if (rollout.advantage !== null) rows.push(["advantage", Number(rollout.advantage).toFixed(3)]);
  rows.push(["weights", `version ${rollout.version}`]);
  rows.push(["example", `${rollout.id} (${rollout.source})`]);
  const table = element("dl");
  for (const [key, value] of rows) {
    table.append(element("dt", "", key), element("dd", "", String(value)));
  }
  return table;
}

function body(rollout) {
  const made = element("div", "body");
  const answers = (rollout.answers || []).join("\n");
  made.append(
    element("h4", "", "gold answers"), element("p", "", answers),
    element("h4", "", "response"), element("pre", "", rollout.response || "(empty)"),
    element("h4", "", "score"), facts(rollout),
  );
  return made;
}

function card(rollout) {
  const made = element("details", "rollout");
  const line = element("summary");
  line.append(
    element("span", `chip ${rollout.verdict}`, rollout.verdict),
    element("span", "where", place(rollout)),
    element("span", "asked", rollout.question),
    element("span", "length", `${rollout.response_tokens} tokens`),
  );
  made.append(line);
  made.addEventListener("toggle", () => {
    if (made.open && !made.querySelector(".body")) made.append(body(rollout));
  });
  return made;
}

function searched(rollout) {
  const { question, answers, response, id } = rollout;
  return [question, (answers || []).join("\n"), response, id].join("\n").toLowerCase();
}

function showMore() {
  const next = matching.slice(shown, shown + PAGE);
  list.append(...next.map(card));
  shown += next.length;
  more.hidden = shown >= matching.length;
  document.getElementById("count").textContent =
    `${matching.length} match, ${shown} listed, of ${rollouts.length} in this report`;
}

function filter() {
  const { run, stage, from, score, text } = Object.fromEntries(new FormData(form));
  const needle = text.trim().toLowerCase();
  matching = rollouts.filter((rollout) =>
    (!run || rollout.run === Number(run)) &&
    (!stage || rollout.stage === stage) &&
    (!from || origin(rollout) === from) &&
    (!score || rollout.verdict === score) &&
    (!needle || searched(rollout).includes(needle)));
  shown = 0;
  list.replaceChildren();
  showMore();
}

for (const stage of new Set(rollouts.map((rollout) => rollout.stage))) {
  form.elements.stage.append(element("option", "", stage));
}
// report.html#stage=phase2&score=wrong opens with that filter set, so that a view can be shared.
for (const [key, value] of new URLSearchParams(location.hash.slice(1))) {
  const field = form.elements.namedItem(key);
  if (field) field.value = value;
}
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
more.addEventListener("click", showMore);
document.getElementById("open-all").addEventListener("click", () => {
  for (const made of list.children) made.open = true;
});
filter();
