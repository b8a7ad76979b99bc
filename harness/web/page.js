// What people do on the page, and what is drawn then.

let state = readState(location.hash);
const DARK = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  return state.theme === "dark" || (state.theme === "auto" && DARK.matches);
}

/** What has to be drawn again when a part of the state changes. */
const DRAWN_BY = {
  all: ["view", ...FILTERS.map(({id}) => id), "q"],
  heat: ["metric", "columns"],
  table: ["sort", "order", "page"],
  charts: ["view", "chart", "theme"],
  bars: ["metric"],
  curves: ["curve"],
  theme: ["theme"],
  details: ["cell"],
};

/** Change the state, the hash and what is drawn; go to an element of the page if one is named. */
function change(chosen, goTo = null) {
  const starts = Object.keys(chosen).some((name) => DRAWN_BY.all.includes(name)) ? {page: "1", columns: "1"} : {};
  moveTo({...state, ...starts, ...chosen});
  history.replaceState(null, "", writeState(state));
  if (goTo) document.getElementById(goTo).scrollIntoView({block: "start"});
}

function moveTo(next) {
  const changed = new Set(Object.keys(next).filter((name) => next[name] !== state[name]));
  state = next;
  draw((part) => DRAWN_BY[part].some((name) => changed.has(name)));
}

/** Draw the parts of the page that `isDue` names. */
function draw(isDue) {
  if (isDue("theme")) document.documentElement.dataset.theme = state.theme;
  if (isDue("all")) drawFilters();
  const cells = visibleCells(state);
  if (isDue("all") || isDue("heat")) drawHeat(cells);
  if (isDue("all") || isDue("table")) drawTable(cells);
  if (isDue("charts")) drawChoice();
  drawChosen(cells);
  if (isDue("charts")) drawCharts();
  else if (isDue("bars")) drawCharts(["bars"]);
  else if (isDue("curves")) drawCharts(["curves_epochs", "curves_seconds"]);
  if (isDue("details")) drawDetails();
}

/** Show what is chosen, and how much it leaves. */
function drawChosen(cells) {
  for (const input of document.querySelectorAll("input[type=radio]")) input.checked = state[input.name] === input.value;
  const search = document.getElementById("search");
  if (search.value !== state.q) search.value = state.q;
  document.getElementById("view").value = state.view;
  const group = chartGroup();
  document.getElementById("chart-of").value = group?.id ?? "";
  document.getElementById("curve").hidden = !group || !hasErrors(group);
  const inView = DATA.cells.filter((cell) => cell.group.view === state.view).length;
  const some = cells.length === inView ? "" : `${cells.length} of `;
  document.getElementById("count").textContent = `${some}${counted(inView, "cell")}`;
  document.getElementById("link").href = writeState({...state, cell: ""});
  const view = DATA.views.find((one) => viewKey(one) === state.view);
  document.getElementById("view-note").textContent = view?.note ?? "";
}

/** Offer, for each filter, the values that occur on this machine; none where there is only one. */
function drawFilters() {
  const cells = DATA.cells.filter((cell) => cell.group.view === state.view);
  const fields = FILTERS.map((filter) => {
    const values = [...new Set(cells.map(filter.of))].sort(inOrderOfPeople);
    if (values.length < 2 && !state[filter.id]) return null;
    const options = values.map((value) => element("option", {value, selected: value === state[filter.id]}, value));
    const select = element(
      "select",
      {id: `filter-${filter.id}`, onchange: (event) => change({[filter.id]: event.target.value})},
      element("option", {value: ""}, "all"),
      ...options,
    );
    return element("label", {}, filter.title, " ", select);
  });
  const focused = document.activeElement?.id;
  document.getElementById("filters").replaceChildren(...fields.filter(Boolean));
  if (focused?.startsWith("filter-")) document.getElementById(focused)?.focus();
}

const PEOPLE = new Intl.Collator("en", {numeric: true});

function inOrderOfPeople(one, other) {
  return PEOPLE.compare(one, other);
}

/** Offer the groups of cells that the charts can be about. */
function drawChoice() {
  const groups = DATA.groups.filter((group) => group.view === state.view);
  const options = groups.map((group) => element("option", {value: group.id}, group.lines.join(" · ")));
  document.getElementById("chart-of").replaceChildren(...options);
}

/** Return a choice of a switch. */
function radio(name, value, title) {
  return element(
    "label",
    {},
    element("input", {type: "radio", name, value, onchange: () => change({[name]: value})}),
    element("span", {}, title),
  );
}

function makeSwitches() {
  const measured = METRICS.filter(({id}) => DATA.cells.some((cell) => cell[id]));
  document.getElementById("metric").append(...measured.map(({id, title}) => radio("metric", id, title)));
  document.getElementById("theme").append(...THEMES.map((theme) => radio("theme", theme, theme)));
  const curves = [
    ["loss", "loss curves"],
    ["error", "error curves"],
  ];
  document.getElementById("curve").append(...curves.map(([value, title]) => radio("curve", value, title)));
  const views = DATA.views.map((view) => element("option", {value: viewKey(view)}, view.title));
  document.getElementById("view").append(...views);
  makeFigures();
}

function listen() {
  const on = (id, event, act) => document.getElementById(id).addEventListener(event, act);
  on("search", "input", (event) => change({q: event.target.value}));
  on("view", "change", (event) =>
    change({...initialState(), theme: state.theme, metric: state.metric, view: event.target.value}),
  );
  on("chart-of", "change", (event) => change({chart: event.target.value}));
  on("reset", "click", () => change({...initialState(), theme: state.theme, metric: state.metric, view: state.view}));
  on("heat", "keydown", moveInHeat);
  // The event comes late: by then another cell may be open.
  on("details", "close", (event) => event.target.open || change({cell: ""}));
  on("details", "click", (event) => event.target.id === "details" && change({cell: ""}));
  document.addEventListener("keydown", focusSearch);
  DARK.addEventListener("change", () => state.theme === "auto" && drawCharts());
  addEventListener("hashchange", () => moveTo(readState(location.hash)));
  addEventListener("beforeprint", () => drawLists({all: true}));
  addEventListener("afterprint", () => drawLists({all: false}));
}

/** Draw all of what is else shown a page at a time, or a page again. */
function drawLists(options) {
  drawHeat(visibleCells(state), options);
  drawTable(visibleCells(state), options);
}

function focusSearch(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=search], select")) return;
  event.preventDefault();
  document.getElementById("search").focus();
}

function start() {
  document.getElementById("made").textContent = DATA.views.length
    ? `${counted(DATA.cells.length, "cell")} from ${counted(DATA.runs.count, "record")}.`
    : "No records yet: python runner.py makes them.";
  nameGroups(DATA.groups);
  document.querySelector("main").hidden = !DATA.views.length;
  makeSwitches();
  listen();
  draw(() => true);
  document.documentElement.dataset.ready = "true";
}

start();
