// Elements and numbers. Every text goes through `element`, which makes text nodes and never reads HTML.

/** Return an element with properties, `on…` listeners, attributes, and children that are elements or texts. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return made;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

const MISSING = "–";
const THREE_DIGITS = new Intl.NumberFormat("en", {maximumSignificantDigits: 3, minimumSignificantDigits: 3});
const TINY = 1e-4,
  HUGE = 1e7;

/** Return a number with three significant digits. */
function digits(value) {
  if (value === null || value === undefined) return MISSING;
  if (value === 0) return "0";
  return Math.abs(value) < TINY || Math.abs(value) >= HUGE ? value.toExponential(2) : THREE_DIGITS.format(value);
}

/** Return a number with its noun. */
function counted(count, noun) {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}

/** What can be shown of a cell; `better` is which way is better, null where neither is. */
const METRICS = [
  {
    id: "time",
    title: "Time",
    better: "less",
    unit: (cell) => (isStep(cell) ? "ms" : "s"),
    note: "Seconds of training with the first step and its compilation; milliseconds a step where steps are measured.",
  },
  {
    id: "steady",
    title: "Steady epoch",
    better: "less",
    unit: () => "s",
    note: "Seconds of the median epoch without the first.",
  },
  {
    id: "speed",
    title: "Samples/s",
    better: "more",
    unit: () => "/s",
    note: "Samples a second over training, or over the timed steps.",
  },
  {
    id: "peak_pct",
    title: "% of peak",
    better: "more",
    unit: () => "%",
    note:
      "Floating-point operations of the spec's net a second, of the most that matrix products of the cell's precision " +
      "reached on the same cores or GPU in its session, before and after any tool's run.",
  },
  {id: "gpu_pct", title: "GPU %", better: null, unit: () => "%", note: "What NVML reports while training."},
  {id: "cpu_pct", title: "CPU %", better: null, unit: () => "%", note: "Of the cores given, while training."},
  {
    id: "energy",
    title: "Energy",
    better: "less",
    unit: () => "J",
    note: "Joules per 1,000 samples, of what could be read: GPUs, CPU packages, or both (a cell's details say).",
  },
  {
    id: "error_pct",
    title: "Error",
    better: "less",
    unit: () => "%",
    note: "Share of the whole test set that is classified wrongly.",
  },
];
const METRIC = new Map(METRICS.map((metric) => [metric.id, metric]));

function isStep(cell) {
  return cell.group.measure !== "epochs";
}

/** Return by what a metric's values are multiplied to be shown: a step's seconds as milliseconds. */
function factorOf(metric, cell) {
  return metric.id === "time" && isStep(cell) ? 1000 : 1;
}

/** Return a metric's median of a cell as it is shown, without its unit. */
function shownMedian(cell, metric) {
  const values = cell[metric.id];
  return values ? digits(values[0] * factorOf(metric, cell)) : MISSING;
}

/** Return a metric of a cell with its interval. */
function shownInterval(cell, metric) {
  const values = cell[metric.id];
  if (!values) return MISSING;
  const [median, low, high] = values.map((value) => digits(value * factorOf(metric, cell)));
  return low === undefined || (low === high && low === median) ? median : `${median} (${low} – ${high})`;
}

/** Return a value over its group's best, the other way round where more is better; null where nothing is compared. */
function ratioToBest(cell, metric) {
  if (!cell.ranked || !metric.better || !cell[metric.id]) return null;
  const values = cell.group.cells.filter((one) => one.ranked && one[metric.id]).map((one) => one[metric.id][0]);
  if (values.length < 2) return null;
  const mine = cell[metric.id][0];
  const [worse, better] = metric.better === "less" ? [mine, Math.min(...values)] : [Math.max(...values), mine];
  return worse === better ? 1 : worse / better;
}

/** Return why a cell is compared with nothing; an empty text if it is. */
function whyUnranked(cell) {
  if (cell.status !== "ok") return cell.status;
  if (cell.floor) return "floor";
  return cell.ranked ? "" : "not proven";
}
