// What harness/page_runs.py has packed, as objects again.

/** Return the values of a packed column. */
function unpackColumn(packed, count) {
  if (Array.isArray(packed)) return packed;
  if ("all" in packed) return new Array(count).fill(packed.all);
  return packed.at.map((place) => packed.of[place]);
}

/** Return one value of a packed column. */
function unpackValue(packed, row) {
  if (Array.isArray(packed)) return packed[row];
  return "all" in packed ? packed.all : packed.of[packed.at[row]];
}

/** Return the rows of packed columns. */
function unpackRows({count, columns}) {
  const entries = Object.entries(columns).map(([name, packed]) => [name, unpackColumn(packed, count)]);
  return Array.from({length: count}, (_, row) => {
    const found = {};
    for (const [name, values] of entries) found[name] = values[row];
    return found;
  });
}

/** Return groups and cells that know each other; a cell's runs are unpacked when they are asked for. */
function readData(text) {
  const data = JSON.parse(text);
  const groups = unpackRows(data.groups);
  for (const group of groups) group.cells = [];
  let firstRun = 0;
  const cells = unpackRows(data.cells);
  for (const cell of cells) {
    cell.group = groups[cell.group];
    cell.group.cells.push(cell);
    cell.firstRun = firstRun;
    firstRun += cell.runs;
    cell.words = searchable(cell);
  }
  for (const group of groups) group.view = `${group.machine}/${group.suite}`;
  return {...data, groups, cells};
}

/** Return what the search looks through. */
function searchable(cell) {
  const {tool, group, status, reason, level, notes, level_notes: why} = cell;
  const words = [
    tool,
    group.model,
    group.place,
    `batch ${group.batch_size}`,
    group.precision,
    group.measure,
    status,
    reason,
  ];
  return [...words, level, ...notes, ...why].join(" ").toLowerCase();
}

/** Return the runs of a cell. */
function runsOf(cell) {
  const {columns} = DATA.runs;
  return Array.from({length: cell.runs}, (_, run) => {
    const values = Object.entries(columns).map(([name, packed]) => [name, unpackValue(packed, cell.firstRun + run)]);
    return Object.fromEntries(values);
  });
}

const DATA = readData(document.getElementById("data").textContent);
const CELLS_BY_ID = new Map(DATA.cells.map((cell) => [cell.id, cell]));
