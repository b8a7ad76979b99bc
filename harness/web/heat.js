// The matrix as a heat map: a row for each tool, a column for each group of cells that may be compared.

const COLUMNS_SHOWN = 24;
const COLUMNS_PRINTED = 6;
const STEPS_OF_RATIO = [1.05, 1.25, 1.6, 2, 3, 5];
const STEPS_OF_SHARE = [15, 30, 45, 60, 75, 90];
const ALWAYS_NAMED = ["model", "batch_size", "place", "measure"];
/** What a group's name holds only where there is another group that differs in it alone. */
const NAMED_IF_NEEDED = [
  ["precision", (group) => group.precision],
  ["epochs", (group) => counted(group.epochs, "epoch")],
  ["seed", (group) => `seed ${group.seed}`],
  ["warmup", (group) => `${group.warmup} warm-up`],
  ["timed", (group) => `${group.timed} timed`],
  ["gpus", (group) => counted(group.gpus, "GPU")],
];

/** Draw the columns that the state asks for, of the groups of these cells; for a printer all, below each other. */
function drawHeat(cells, {all = false} = {}) {
  const groups = [...new Set(cells.map((cell) => cell.group))];
  const first = drawPager("heat-pager", "columns", "columns", groups.length, COLUMNS_SHOWN);
  const parts = all ? inParts(groups, COLUMNS_PRINTED) : [groups.slice(first, first + COLUMNS_SHOWN)];
  const place = document.getElementById("heat");
  place.replaceChildren(...parts.map((part) => heatTable(part, new Set(cells))));
  place.querySelector("tbody button")?.setAttribute("tabindex", "0");
  drawLegend();
}

function inParts(values, size) {
  return Array.from({length: Math.ceil(values.length / size)}, (_, part) =>
    values.slice(part * size, (part + 1) * size),
  );
}

function heatTable(groups, visible) {
  const cellOf = (group, tool) => group.cells.find((cell) => cell.tool === tool && visible.has(cell));
  const tools = toolsOf(groups.flatMap((group) => group.cells).filter((cell) => visible.has(cell)));
  const corner = element("th", {scope: "col", className: "corner"}, "Tool");
  const head = element("tr", {}, corner, ...groups.map(headOf));
  const cellsOf = (tool) => groups.map((group) => heatCell(cellOf(group, tool)));
  const rows = tools.map((tool) => element("tr", {}, element("th", {scope: "row"}, tool), ...cellsOf(tool)));
  const table = element("table", {role: "grid"}, element("thead", {}, head), element("tbody", {}, ...rows));
  table.setAttribute("aria-labelledby", "heat-title");
  return table;
}

/** Return the tools of cells in the order of the project, others after them, the floor last. */
function toolsOf(cells) {
  const floors = new Set(cells.filter((cell) => cell.floor).map((cell) => cell.tool));
  const known = (tool) => (DATA.tools.includes(tool) ? DATA.tools.indexOf(tool) : DATA.tools.length);
  const place = (tool) => (floors.has(tool) ? DATA.tools.length + 1 : known(tool));
  const tools = [...new Set(cells.map((cell) => cell.tool))];
  return tools.sort((one, other) => place(one) - place(other) || inOrderOfPeople(one, other));
}

/** Give each group the lines that name it and no other group of its machine. */
function nameGroups(groups) {
  const alike = Map.groupBy(groups, (group) =>
    JSON.stringify([group.view, ...ALWAYS_NAMED.map((name) => group[name])]),
  );
  for (const same of alike.values()) {
    const needed = NAMED_IF_NEEDED.filter(([name]) => new Set(same.map((group) => group[name])).size > 1);
    for (const group of same) {
      const kind = group.measure === "epochs" ? [] : [`${group.measure} steps`];
      group.lines = [
        group.model,
        `batch ${group.batch_size}`,
        group.place,
        ...kind,
        ...needed.map(([, words]) => words(group)),
      ];
    }
  }
}

function headOf(group) {
  const [model, ...lines] = group.lines;
  const choose = element(
    "button",
    {
      type: "button",
      className: "plain",
      title: "Show its charts",
      onclick: () => change({chart: group.id}, "charts-title"),
    },
    element("strong", {}, model),
    ...lines.map((line) => element("span", {}, line)),
  );
  return element("th", {scope: "col"}, choose);
}

function heatCell(cell) {
  if (!cell) return element("td", {className: "none"});
  const metric = METRIC.get(state.metric);
  const why = whyUnranked(cell),
    ratio = ratioToBest(cell, metric);
  const lines =
    cell.status === "ok"
      ? [withUnit(cell, metric, shownMedian), why || ratioWords(cell, metric, ratio)]
      : [cell.status];
  const button = element(
    "button",
    {
      type: "button",
      className: `cell ${heatClass(cell, metric, ratio)}`,
      tabIndex: -1,
      onclick: () => openDetails(cell),
    },
    element("span", {}, lines[0] + (cell.notes.length ? "†" : "")),
    lines[1] ? element("small", {}, lines[1]) : null,
  );
  button.dataset.id = cell.id;
  return element("td", {role: "gridcell"}, button);
}

function ratioWords(cell, metric, ratio) {
  if (ratio === null) return metric.better && cell[metric.id] ? "alone" : "";
  return ratio === 1 ? "best" : `${Number.isFinite(ratio) ? digits(ratio) : "∞"} ×`;
}

/** Return the class that colours a cell: a step from the best to the worst, or hatched. */
function heatClass(cell, metric, ratio) {
  if (whyUnranked(cell)) return "hatched";
  if (!cell[metric.id]) return "empty";
  if (metric.better && ratio === null) return "empty";
  if (metric.better) return `heat-${STEPS_OF_RATIO.filter((step) => ratio > step).length}`;
  return `heat-${STEPS_OF_SHARE.filter((step) => cell[metric.id][0] < step).length}`;
}

function drawLegend() {
  const ratios = METRIC.get(state.metric).better !== null;
  const steps = ratios ? STEPS_OF_RATIO : [...STEPS_OF_SHARE].reverse();
  const words = ratios
    ? [`best to ${steps[0]} ×`, ...steps.slice(1).map((step) => `to ${step} ×`), `over ${steps.at(-1)} ×`]
    : [`${steps[0]} % or more`, ...steps.slice(1).map((step) => `from ${step} %`), `below ${steps.at(-1)} %`];
  const keys = words.map((word, place) => element("span", {className: `key heat-${place}`}, word));
  document
    .getElementById("legend")
    .replaceChildren(...keys, element("span", {className: "key hatched"}, "not compared"));
  document.getElementById("metric-note").textContent = METRIC.get(state.metric).note;
}

const MOVES = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  Home: [0, -Infinity],
  End: [0, Infinity],
};

/** Move the focus within the grid, over places where nothing stands; one cell at a time can be reached with Tab. */
function moveInHeat(event) {
  const move = MOVES[event.key],
    from = event.target.closest("td");
  if (!move || !from) return;
  event.preventDefault();
  const rows = [...from.closest("tbody").rows].map((row) =>
    [...row.cells].slice(1).map((cell) => cell.firstElementChild),
  );
  const next = nextButton(rows, from.parentNode.sectionRowIndex, from.cellIndex - 1, move);
  if (!next) return;
  event.target.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function nextButton(rows, row, column, [down, right]) {
  if (!Number.isFinite(right)) {
    const found = rows[row].filter(Boolean);
    return right < 0 ? found[0] : found.at(-1);
  }
  do {
    row += down;
    column += right;
  } while (rows[row] && column >= 0 && column < rows[row].length && !rows[row][column]);
  return rows[row]?.[column];
}
