// Rows for the charts, of a group of cells; harness/chart_rows.py and harness/crossover.py type them.

/** Return which curves of a group are shown: of the loss, or of the error rate where it was looked at. */
function curveOf(group) {
  return state.curve === "error" && hasErrors(group) ? "error" : "loss";
}

function hasErrors(group) {
  return typicalRuns(group).some(({run}) => run.epochs?.[3]);
}

/** Return the group that the charts are about: the first of those with most to compare, if none is chosen. */
function chartGroup() {
  const groups = DATA.groups.filter((group) => group.view === state.view);
  const compared = (group) => group.cells.filter((cell) => cell.ranked).length;
  const fullest = () => groups.toSorted((one, other) => compared(other) - compared(one))[0];
  return groups.find((group) => group.id === state.chart) ?? fullest();
}

/** Return the groups that differ from one in nothing but the place. */
function siblings(group) {
  const same = ["view", "model", "batch_size", "precision", "measure", "epochs", "warmup", "timed", "seed"];
  return DATA.groups.filter((other) => same.every((name) => other[name] === group[name]));
}

function barRows(group) {
  const metric = METRIC.get(state.metric);
  const cells = siblings(group)
    .flatMap((one) => one.cells)
    .filter((cell) => cell[metric.id] || cell.status !== "ok");
  const isOnePlace = new Set(cells.map((cell) => cell.group)).size === 1;
  return bestFirst(cells, metric).map((cell) => {
    const scaled = (cell[metric.id] ?? []).map((value) => value * factorOf(metric, cell));
    const [value = null, low = null, high = null] = scaled;
    const rank = isOnePlace && state.metric === "time" ? cell.rank : null;
    const note = [cell.reason, ...cell.notes].filter(Boolean).join("; ");
    const status = whyUnranked(cell) || "ok";
    return {tool: cell.tool, place: cell.group.place, value, low, high, status, ranked: cell.ranked, rank, note};
  });
}

/** Return cells in the order of a metric, after them what is compared with nothing, the floor last. */
function bestFirst(cells, metric) {
  const sign = metric.better === "less" ? 1 : -1;
  const place = (cell) => (cell.floor ? 3 : cell.status !== "ok" ? 2 : cell.ranked ? 0 : 1);
  const value = (cell) => cell[metric.id]?.[0] ?? 0;
  return cells.toSorted((one, other) => place(one) - place(other) || sign * (value(one) - value(other)));
}

/** Return the sweep that a group belongs to, of several the one with most sizes. */
function sweepOf(group) {
  const holds = (place) => DATA.cells[place].group === group;
  return DATA.sweeps.find(({sizes}) => sizes.some(([, places]) => places.some(holds)));
}

function crossoverRows(group) {
  const sizes = sweepOf(group)?.sizes ?? [];
  return sizes.flatMap(([parameters, places]) =>
    places
      .map((place) => DATA.cells[place])
      .filter((cell) => cell.ranked && cell.time)
      .map((cell) => sizeRow(cell, parameters)),
  );
}

function sizeRow({tool, time, group: {place}}, parameters) {
  const [seconds, low = null, high = null] = time;
  return {line: `${tool} · ${place}`, tool, place, parameters, seconds, low, high};
}

function crossingsOf(group) {
  return sweepOf(group)?.crossings ?? [];
}

/** Return of each cell that came out well the run whose time is the median, or next to it. */
function typicalRuns(group) {
  return group.cells
    .filter((cell) => cell.status === "ok")
    .map((cell) => {
      const runs = runsOf(cell).sort((one, other) => one.measured - other.measured);
      return {cell, run: runs[Math.floor((runs.length - 1) / 2)]};
    });
}

const epochRows = (group) => curveRows(group, 0);
const secondRows = (group) => curveRows(group, 1);

/** Return curves over a column of a run's epochs. */
function curveRows(group, axis) {
  const values = curveOf(group) === "loss" ? 2 : 3;
  const learning = typicalRuns(group).filter(({cell, run}) => run.epochs?.[values] && !cell.floor);
  return learning.flatMap(({cell: {tool}, run: {epochs}}) =>
    epochs[axis].map((x, place) => ({tool, line: tool, x, y: epochs[values][place]})).filter(({y}) => y !== null),
  );
}

/** Return where the time of each tool's runs went, the least in all first and the floor last. */
function ledgerRows(group) {
  const total = ({parts}) => parts.reduce((sum, seconds) => sum + (seconds ?? 0), 0);
  const kept = group.cells.filter(({parts}) => parts);
  kept.sort((one, other) => one.floor - other.floor || total(one) - total(other));
  return kept.flatMap(({tool, parts}) =>
    DATA.ledger
      .map((part, order) => ({tool, part, order, seconds: parts[order]}))
      .filter(({seconds}) => seconds > 0),
  );
}

const cpuRows = (group) => seriesRows(group, 1, "CPU %");
const memoryRows = (group) => seriesRows(group, 2, "memory MiB");
const gpuRows = (group) => seriesRows(group, 3, "GPU %");

/** Return a column of what was sampled of runs, over seconds since the launch. */
function seriesRows(group, column, series) {
  const sampled = typicalRuns(group).filter(({cell, run}) => run.series?.[column] && !cell.floor);
  return sampled.flatMap(({cell: {tool}, run: {series: columns}}) =>
    columns[0]
      .map((at_s, place) => ({tool, line: tool, series, at_s, value: columns[column][place]}))
      .filter(({value}) => value !== null),
  );
}

function stepRows(group) {
  const stepping = typicalRuns(group).filter(({cell, run}) => run.steps && !cell.floor);
  return stepping.flatMap(
    ({
      cell: {tool},
      run: {
        steps: [at, ms, warmups],
      },
    }) => at.map((step, place) => ({tool, step, ms: ms[place], warmup: step <= warmups})),
  );
}
