// All cells as a table that can be sorted; a page of rows at a time, so that thousands are no burden.

const ROWS_SHOWN = 100;
const ofMetric = (id) => ({
  title: METRIC.get(id).title,
  number: true,
  text: (cell) => withUnit(cell, METRIC.get(id), shownMedian),
  value: (cell) => cell[id]?.[0] ?? null,
});
const COLUMNS = {
  tool: {title: "Tool", text: (cell) => cell.tool, value: (cell) => cell.tool},
  model: {title: "Model", text: (cell) => cell.group.model, value: (cell) => cell.group.model},
  batch: {title: "Batch", number: true, text: (cell) => cell.group.batch_size, value: (cell) => cell.group.batch_size},
  place: {title: "Place", text: (cell) => cell.group.place, value: (cell) => cell.group.place},
  measure: {title: "Measured", text: (cell) => measured(cell.group), value: (cell) => measured(cell.group)},
  time: {
    ...ofMetric("time"),
    text: (cell) => (cell.status === "ok" ? withUnit(cell, METRIC.get("time")) : cell.status),
  },
  best: {
    title: "vs best",
    number: true,
    text: (cell) => cell.versus_best ?? MISSING,
    value: (cell) => ratioToBest(cell, METRIC.get("time")),
  },
  rank: {
    title: "Rank",
    text: (cell) => cell.rank ?? MISSING,
    value: (cell) => (cell.rank === MISSING ? null : cell.rank),
  },
  steady: ofMetric("steady"),
  speed: ofMetric("speed"),
  gpu_pct: ofMetric("gpu_pct"),
  cpu_pct: ofMetric("cpu_pct"),
  energy: ofMetric("energy"),
  error_pct: ofMetric("error_pct"),
  level: {title: "Same net", text: (cell) => cell.level ?? MISSING, value: (cell) => cell.level},
  runs: {title: "Runs", number: true, text: (cell) => cell.repeats, value: (cell) => cell.repeats},
  status: {title: "Status", text: (cell) => cell.status, value: (cell) => cell.status},
};
/** Columns in which what is compared with nothing comes last, whichever way they are sorted. */
const COMPARED = new Set(["time", "best", "rank", ...METRICS.map(({id}) => id)]);

function withUnit(cell, metric, show = shownInterval) {
  const shown = show(cell, metric);
  return shown === MISSING ? shown : `${shown} ${metric.unit(cell)}`;
}

function measured({measure, epochs, precision, seed}) {
  const what = measure === "epochs" ? counted(epochs, "epoch") : `${measure} steps`;
  return [what, precision, ...(seed ? [`seed ${seed}`] : [])].join(", ");
}

/** Return cells in the order that the state asks for; without one they stand group by group, the best first. */
function sortedCells(cells) {
  const column = COLUMNS[state.sort];
  if (!column) return cells;
  const sign = state.order === "down" ? -1 : 1;
  const keyed = cells.map((cell) => ({
    cell,
    value: column.value(cell),
    last: COMPARED.has(state.sort) && !cell.ranked,
  }));
  const isMissing = ({value}) => value === null;
  keyed.sort(
    (one, other) =>
      one.last - other.last || isMissing(one) - isMissing(other) || sign * inOrder(one.value, other.value),
  );
  return keyed.map(({cell}) => cell);
}

function inOrder(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Draw a page of the table, or all of it for a printer. */
function drawTable(cells, {all = false} = {}) {
  const sorted = sortedCells(cells);
  const first = drawPager("table-pager", "page", "cells", sorted.length, ROWS_SHOWN);
  const rows = all ? sorted : sorted.slice(first, first + ROWS_SHOWN);
  const [shown, shared] = shownColumns(cells);
  document.getElementById("shared").textContent = shared;
  const body = element("tbody", {}, ...rows.map((cell) => tableRow(cell, shown)));
  const table = document.getElementById("cells");
  const focused = document.activeElement?.closest?.("#cells th")?.dataset.column;
  table.replaceChildren(tableHead(shown), body);
  if (focused) table.querySelector(`th[data-column="${focused}"] button`)?.focus();
}

/** Columns that are named once above the table where they are the same in all cells. */
const SHARED = {batch: (text) => `batch ${text}`, place: String, measure: String, status: (text) => `all ${text}`};

/** Return the columns in which something stands, and words for those that are the same in all cells. */
function shownColumns(cells) {
  const columns = Object.entries(COLUMNS);
  const isShared = ([name, {text}]) => name in SHARED && new Set(cells.map(text)).size === 1;
  const shared = columns.filter(isShared).map(([name, {text}]) => SHARED[name](text(cells[0])));
  const mayBeEmpty = (name) => COMPARED.has(name) && name !== "time";
  const hasSome = ([name, {value}]) => !mayBeEmpty(name) || cells.some((cell) => value(cell) !== null);
  const shown = columns.filter((column) => !isShared(column) && hasSome(column));
  return [shown, shared.join(" · ")];
}

function tableHead(columns) {
  const heads = columns.map(([name, {title, number}]) => {
    const sorted = state.sort === name,
      down = state.order === "down";
    const arrow = sorted ? (down ? "▼" : "▲") : "";
    const head = element(
      "th",
      {scope: "col", className: number ? "number" : ""},
      element(
        "button",
        {type: "button", className: "plain", onclick: () => sortBy(name)},
        title,
        element("span", {className: "arrow", "aria-hidden": "true"}, arrow),
      ),
    );
    head.dataset.column = name;
    head.setAttribute("aria-sort", !sorted ? "none" : down ? "descending" : "ascending");
    return head;
  });
  return element("thead", {}, element("tr", {}, ...heads));
}

/** Sort by a column, the other way round if it is sorted by it already. */
function sortBy(name) {
  const order = state.sort === name && state.order === "up" ? "down" : "up";
  change({sort: name, order, page: "1"});
}

function tableRow(cell, columns) {
  const row = element("tr", {className: whyUnranked(cell) ? "unranked" : "", onclick: () => openDetails(cell)});
  for (const [name, {text, number}] of columns) {
    const mark = name === "time" && cell.notes.length ? "†" : "";
    const words = `${text(cell)}${mark}`;
    const inside = name === "tool" ? element("button", {type: "button", className: "plain open"}, words) : words;
    const properties = name === "tool" ? {scope: "row"} : {className: number ? "number" : ""};
    row.append(element(name === "tool" ? "th" : "td", properties, inside));
  }
  return row;
}

/** Draw what leads to other pages of a list, if there are any, and return which is the first item of this page. */
function drawPager(id, name, of, count, each) {
  const pages = Math.max(1, Math.ceil(count / each));
  const page = Math.min(Math.max(1, Math.trunc(Number(state[name])) || 1), pages);
  const first = (page - 1) * each;
  const turn = (to) => () => change({[name]: String(to)});
  const step = (words, to) =>
    element("button", {type: "button", disabled: to < 1 || to > pages, onclick: turn(to)}, words);
  const words = `${first + 1} to ${Math.min(first + each, count)} of ${count} ${of}`;
  const links = [step("Back", page - 1), element("span", {}, words), step("Next", page + 1)];
  document.getElementById(id).replaceChildren(...(pages > 1 ? links : []));
  return first;
}
