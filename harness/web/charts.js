// The charts, whose definitions are harness/charts.py's, drawn one after the other.

/** A chart by the definition that draws it, `id` unless said, with its rows and words above it; no rows, no chart. */
const CHARTS = [
  {id: "bars", title: "Side by side", rows: barRows, words: metricTitle},
  {
    id: "crossover",
    title: "Time by size of the net",
    rows: crossoverRows,
    words: (group) => `seconds of training, or a step, by ${sweepOf(group).parameter}`,
  },
  {id: "curves_epochs", title: "What was learned, by epochs", rows: epochRows, words: curveTitle, ofOneRun: true},
  {id: "curves_seconds", title: "What was learned, by seconds", rows: secondRows, words: curveTitle, ofOneRun: true},
  {id: "ledger", title: "Where the time went", rows: ledgerRows, words: () => "means over the runs"},
  {id: "cpu", by: "utilisation", title: "CPU over time", rows: cpuRows, words: () => "% of the cores", ofOneRun: true},
  {id: "gpu", by: "utilisation", title: "GPU over time", rows: gpuRows, words: () => "%", ofOneRun: true},
  {id: "memory", by: "utilisation", title: "Memory over time", rows: memoryRows, words: () => "MiB", ofOneRun: true},
  {id: "steps", title: "Step by step", rows: stepRows, words: () => "ms", ofOneRun: true},
];
const ONE_RUN = " each tool's run with the median time";
/** `ast`: the policy allows no eval; `defaultStyle`: nor a style of its own. */
const EMBED = {ast: true, actions: false, renderer: "svg", defaultStyle: false, tooltip: {disableDefaultStyle: true}};
const drawn = new Map();
const due = new Set();
let isDrawing = false;

function metricTitle(group) {
  const metric = METRIC.get(state.metric);
  return `${metric.title} (${metric.unit(group.cells[0])})${metric.better ? `, ${metric.better} is better` : ""}`;
}

function curveTitle(group) {
  return curveOf(group) === "loss" ? "training loss" : "error rate (%)";
}

/** Draw these charts, or all: one after the other, so that the page can be used meanwhile. */
async function drawCharts(ids = CHARTS.map(({id}) => id)) {
  for (const id of ids) due.add(id);
  if (isDrawing) return;
  isDrawing = true;
  const place = document.getElementById("charts");
  delete place.dataset.drawn;
  try {
    for (let chart = nextDue(); chart; chart = nextDue()) {
      await new Promise((resume) => setTimeout(resume));
      await drawChart(chart, chartGroup());
    }
    place.dataset.drawn = "true";
  } finally {
    isDrawing = false;
  }
}

/** Return the next chart to draw, which is then due no more. */
function nextDue() {
  const chart = CHARTS.find(({id}) => due.has(id));
  if (chart) due.delete(chart.id);
  return chart;
}

async function drawChart(chart, group) {
  document.documentElement.dataset.charts = isDark() ? "dark" : "light";
  const figure = document.getElementById(`chart-${chart.id}`);
  const rows = group ? chart.rows(group) : [];
  figure.hidden = rows.length === 0;
  drawn.get(chart.id)?.finalize();
  drawn.delete(chart.id);
  const place = figure.querySelector("div");
  place.replaceChildren();
  if (!rows.length) return;
  const config = DATA.themes[isDark() ? "dark" : "light"];
  const {view} = await vegaEmbed(place, specOf(chart, group, rows), {...EMBED, config});
  drawn.set(chart.id, view);
}

/** Return a chart's definition with its rows and words. */
function specOf(chart, group, rows) {
  const spec = structuredClone(DATA.charts[chart.by ?? chart.id]);
  const values = {rows, crossings: crossingsOf(group)};
  for (const data of spec.data) if (data.name in values) data.values = values[data.name];
  spec.signals.find(({name}) => name === "axis_title" || name === "y_title").value = chart.words(group);
  return spec;
}

/** Make the places where charts are drawn. */
function makeFigures() {
  const caption = ({title, ofOneRun}) =>
    element("figcaption", {}, title, ofOneRun ? element("small", {}, ONE_RUN) : null);
  const figures = CHARTS.map((chart) =>
    element("figure", {id: `chart-${chart.id}`, hidden: true}, caption(chart), element("div", {className: "chart"})),
  );
  document.getElementById("charts").replaceChildren(...figures);
}
