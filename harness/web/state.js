// What is chosen, kept in the hash of the address, so that a view can be shared.

const FILTERS = [
  {id: "tool", title: "Tool", of: (cell) => cell.tool},
  {id: "model", title: "Model", of: (cell) => cell.group.model},
  {id: "place", title: "Place", of: (cell) => cell.group.place},
  {id: "batch", title: "Batch", of: (cell) => String(cell.group.batch_size)},
  {id: "measure", title: "Measured", of: (cell) => cell.group.measure},
  {id: "precision", title: "Precision", of: (cell) => cell.group.precision},
  {id: "status", title: "Status", of: (cell) => cell.status},
  {id: "level", title: "Same net", of: (cell) => cell.level ?? MISSING},
];
const THEMES = ["auto", "light", "dark"];

/** What stands where nothing was chosen. */
function initialState() {
  const filters = Object.fromEntries(FILTERS.map(({id}) => [id, ""]));
  const view = DATA.views.length ? viewKey(DATA.views[0]) : "";
  return {
    view,
    metric: "time",
    q: "",
    ...filters,
    sort: "",
    order: "up",
    page: "1",
    columns: "1",
    chart: "",
    curve: "loss",
    cell: "",
    theme: "auto",
  };
}

function viewKey({machine, suite}) {
  return `${machine}/${suite}`;
}

/** Return the state that a hash says, without what is not known. */
function readState(hash) {
  const state = initialState();
  for (const [name, value] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (Object.hasOwn(state, name)) state[name] = value;
  }
  if (!METRIC.has(state.metric)) state.metric = "time";
  if (!Object.hasOwn(COLUMNS, state.sort)) state.sort = "";
  if (!THEMES.includes(state.theme)) state.theme = "auto";
  if (!DATA.views.some((view) => viewKey(view) === state.view)) state.view = initialState().view;
  if (!CELLS_BY_ID.has(state.cell)) state.cell = "";
  return state;
}

/** Return the hash of a state: what differs from the initial one. */
function writeState(state) {
  const initial = initialState();
  const chosen = Object.entries(state).filter(([name, value]) => value !== initial[name]);
  return `#${new URLSearchParams(chosen)}`;
}

/** Return the cells of a view that the filters and the search let through. */
function visibleCells(state) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = FILTERS.filter(({id}) => state[id]);
  return DATA.cells.filter(
    (cell) =>
      cell.group.view === state.view &&
      chosen.every(({id, of}) => of(cell) === state[id]) &&
      words.every((word) => cell.words.includes(word)),
  );
}
