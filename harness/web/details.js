// What is known of one cell, in a dialog.

/** Open the details of a cell and say so in the hash. */
function openDetails(cell) {
  change({cell: cell.id});
}

/** Show the details that the state asks for, or none. */
function drawDetails() {
  const dialog = document.getElementById("details");
  const cell = CELLS_BY_ID.get(state.cell);
  if (!cell) {
    if (dialog.open) dialog.close();
    return;
  }
  document.getElementById("details-body").replaceChildren(...detailsOf(cell));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function detailsOf(cell) {
  const runs = runsOf(cell);
  return [
    element(
      "div",
      {className: "line"},
      element("h2", {id: "details-title"}, `${cell.tool} · ${cell.group.lines.join(" · ")}`),
      element("button", {type: "button", onclick: () => change({cell: ""})}, "Close"),
    ),
    ...statusOf(cell),
    part("Numbers", listOf(numbersOf(cell))),
    part("Run it again", element("pre", {tabIndex: 0}, element("code", {}, cell.command)), commandNote(cell)),
    part("Same net", ...proofOf(cell, runs)),
    part("Where the time went (s)", tableOf(["", ...runs.map((run) => `run ${run.run}`)], ledgerOf(runs))),
    part("Runs", tableOf(["", ...runs.map((run) => `run ${run.run}`)], runLines(cell, runs))),
    part("Samples", ...runs.map(samplesOf)),
    part("Versions", ...versionsOf(runs)),
    element("p", {}, element("a", {href: writeState(state)}, "Link to this cell")),
  ];
}

function part(title, ...children) {
  return element("section", {}, element("h3", {}, title), ...children);
}

function statusOf(cell) {
  const notice = (...words) => element("p", {className: "notice"}, ...words);
  const {unverified} = cell.group;
  return [
    cell.status === "ok" ? "" : notice(element("strong", {}, cell.status), ": ", element("bdi", {}, cell.reason ?? "")),
    ...cell.notes.map((note) => notice(`† ${note}`)),
    unverified ? notice(`Not known to be the published bytes: ${unverified}`) : "",
  ];
}

function numbersOf(cell) {
  const numbers = METRICS.filter(({id}) => cell[id]).map((metric) => [metric.title, withUnit(cell, metric)]);
  const energy = cell.energy ? [["Energy is", `per 1,000 samples, of ${cell.energy_of}`]] : [];
  const ranks = cell.versus_best
    ? [
        ["vs best", cell.versus_best],
        ["Rank", cell.rank],
      ]
    : [];
  return [...numbers, ...energy, ...ranks, ["Runs", cell.repeats]];
}

function commandNote(cell) {
  const words = cell.command.includes(" replay ")
    ? "In the project's folder; it says how the new run compares with this one."
    : "In the project's folder, with the matrix that the cell is from.";
  return element("p", {className: "note"}, words);
}

/** Return the levels with what was compared, the worst difference and the tolerance. */
function proofOf(cell, runs) {
  const [level, reason, findings] = runs.at(-1).proof;
  const reached = cell.level ?? level ?? "not proven";
  const words = [DATA.levels[reached] ?? "", reason ?? "", ...cell.level_notes].filter(Boolean);
  const lines = findings.map(([of, what, precision, worst, where, tolerance, holds, note]) => [
    of,
    what,
    precision,
    worst === null ? "no number" : digits(worst),
    tolerance === null ? MISSING : digits(tolerance),
    where || MISSING,
    holds ? "holds" : "does not hold",
    note || MISSING,
  ]);
  return [
    element("p", {}, element("strong", {}, reached), words.length ? `: ${words.join("; ")}` : ""),
    ...(lines.length ? [tableOf(["Level", "What", "Precision", "Worst", "Allowed", "Where", "", "Note"], lines)] : []),
  ];
}

/** The parts of a run's ledger, the first step, which lies within training, before it. */
const PART_ORDER = DATA.parts
  .filter((name) => name !== "first_step_s")
  .flatMap((name) => (name === "train_s" ? ["first_step_s", name] : [name]));

function partName(name) {
  return name.replace(/_s$/, "").replaceAll("_", " ");
}

function ledgerOf(runs) {
  return PART_ORDER.map((name) => [partName(name), ...runs.map((run) => digits(run.parts[DATA.parts.indexOf(name)]))])
    .map(([name, ...values]) => [name === "train" ? "train, with the first step" : name, ...values])
    .filter(hasValue);
}

function hasValue([, ...values]) {
  return values.some((value) => value !== MISSING && value !== "");
}

function runLines(cell, runs) {
  const lines = [
    ["finished (UTC)", ...runs.map((run) => run.finished_at.replace("T", " "))],
    ["status", ...runs.map((run) => run.status)],
    ["reason", ...runs.map((run) => run.reason ?? "")],
    [isStep(cell) ? "median step (ms)" : "training (s)", ...runs.map((run) => measuredOf(cell, run))],
    ["steady epoch (s)", ...runs.map((run) => digits(run.steady_s))],
    ["error rate (%)", ...runs.map((run) => digits(run.error_pct))],
    ["test loss", ...runs.map((run) => digits(run.test_loss))],
    ...DATA.seen.map((title, place) => [title, ...runs.map((run) => digits(run.seen[place]))]),
    ["others % before", ...runs.map((run) => digits(run.others_before_pct))],
    ["machine's speed before (GFLOP/s)", ...runs.map((run) => digits(run.gflops))],
  ];
  return lines.filter(hasValue);
}

function measuredOf(cell, {measured}) {
  return measured === null ? MISSING : digits(measured * factorOf(METRIC.get("time"), cell));
}

/** Return the epochs or steps of a run, folded away. */
function samplesOf(run) {
  const [title, heads, lines] = run.steps ? stepLines(run) : epochLines(run);
  return element("details", {}, element("summary", {}, title), tableOf(heads, lines));
}

function stepLines({run, steps: [at, ms, warmups]}) {
  return [
    `run ${run}: ${counted(at.at(-1), "step")}, ${at.length} of them shown`,
    ["Step", "ms", ""],
    at.map((step, place) => [step, digits(ms[place]), step <= warmups ? "warm-up" : ""]),
  ];
}

function epochLines({run, epochs}) {
  if (!epochs) return [`run ${run}: no epochs`, [], []];
  const [at, seconds, losses, errors] = epochs;
  return [
    `run ${run}: ${counted(at.at(-1), "epoch")}, ${at.length} of them shown`,
    ["Epoch", "ends at (s)", "loss", ...(errors ? ["error (%)"] : [])],
    at.map((epoch, place) => [
      epoch,
      digits(seconds[place]),
      digits(losses[place]),
      ...(errors ? [digits(errors[place])] : []),
    ]),
  ];
}

function versionsOf(runs) {
  const {packages, system, commit} = runs.at(-1).versions;
  const around = [
    ["system", system],
    ["commit of SameNet", commit],
  ].filter(([, value]) => value);
  return [listOf(Object.entries(packages).map(([name, version]) => [name, version ?? MISSING])), listOf(around)];
}

function listOf(pairs) {
  return element(
    "dl",
    {},
    ...pairs.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

function isNumber(text) {
  return /^-?[\d.,]+(e[+-]?\d+)?$/.test(String(text));
}

function tableOf(heads, lines) {
  const classes = heads.map((_, place) => (place > 0 && lines.some((line) => isNumber(line[place])) ? "number" : ""));
  const first = (text) => element("th", {scope: "row"}, text);
  const other = (text, place) => element("td", {className: classes[place + 1]}, text);
  const row = ([name, ...rest]) => element("tr", {}, first(name), ...rest.map(other));
  const headings = heads.map((text, place) => element("th", {scope: "col", className: classes[place]}, text));
  const head = element("thead", {}, element("tr", {}, ...headings));
  return element("div", {className: "scroll"}, element("table", {}, head, element("tbody", {}, ...lines.map(row))));
}
