// Draws a chart above each table that asks for one: <figure class="chart" data-chart="lines|bars"><table>…</table></figure>.
// The table stays: it is what the chart shows, and all there is without scripts. The first column is the time
// (<time datetime>), every other a series; a cell's data-value is its number.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A canvas takes no light-dark(): what a colour comes to is what the page computes of it.
function colour(name, alpha = 1) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return alpha === 1 ? found : found.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
}

const COLOURS = ["--water", "--brass", "--slate", "--good", "--bad"];
const HEIGHT = 240;

function read(table) {
  const heads = [...table.tHead.rows[0].cells].map((cell) => ({ label: cell.textContent.trim(), unit: cell.dataset.unit }));
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  // Tables may show the newest first; a chart goes from left to right.
  const points = rows.map((cells) => [
    Date.parse(cells[0].querySelector("time").dateTime) / 1000,
    ...cells.slice(1).map((cell) => (cell.dataset.value === undefined ? null : Number(cell.dataset.value))),
  ]);
  points.sort((a, b) => a[0] - b[0]);
  return { heads, columns: heads.map((_, index) => points.map((point) => point[index])) };
}

function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "usd") return "$" + value.toLocaleString(undefined, { maximumSignificantDigits: 4 });
  if (unit === "ms") return Math.round(value).toLocaleString() + " ms";
  if (unit === "percent") return value.toFixed(1) + " %";
  return value.toLocaleString();
}

// The days beneath a chart, as people of this language write them.
function days(seconds) {
  const month = seconds.length > 1 && seconds[1] - seconds[0] > 25 * 86400;
  const said = new Intl.DateTimeFormat(document.documentElement.lang, { timeZone: "UTC", month: "short", ...(month ? { year: "numeric" } : { day: "numeric" }) });
  return seconds.map((each) => said.format(each * 1000));
}

function draw(figure) {
  const table = figure.querySelector("table:not(.u-legend)"); // a chart's legend is a table as well
  if (!table || !table.tBodies[0] || table.tBodies[0].rows.length < 2) return;
  const { heads, columns } = read(table);
  const bars = figure.dataset.chart === "bars";
  const ink = colour("--soft");
  const grid = { stroke: colour("--line"), width: 1 };
  const font = "12px " + css("--sans");
  const series = heads.slice(1).map((head, index) => {
    const name = COLOURS[index % COLOURS.length];
    return {
      label: head.label,
      stroke: colour(name),
      width: 2,
      fill: bars ? colour(name, 0.6) : undefined,
      paths: bars ? uPlot.paths.bars({ size: [0.7, 60] }) : undefined,
      points: { show: !bars && columns[0].length < 40, size: 5 },
      value: (_, value) => shown(value, head.unit),
    };
  });
  figure.querySelector(".plot")?.remove();
  const plot = document.createElement("div");
  plot.className = "plot";
  plot.setAttribute("aria-hidden", "true"); // the table says the same
  figure.prepend(plot);
  const unit = heads[1].unit;
  const half = bars ? (columns[0][1] - columns[0][0]) / 2 : 0; // the first and the last bar are whole
  const chart = new uPlot(
    {
      width: plot.clientWidth,
      height: HEIGHT,
      series: [{ label: heads[0].label, value: (_, value) => (value === null ? "–" : new Date(value * 1000).toLocaleDateString(document.documentElement.lang, { timeZone: "UTC" })) }, ...series],
      axes: [
        { stroke: ink, grid: { show: false }, ticks: grid, font, space: 72, incrs: [1, 2, 3, 7, 14, 31, 92, 365].map((each) => each * 86400), values: (_, seconds) => days(seconds) },
        { stroke: ink, grid, ticks: { show: false }, font, size: 64, values: (_, values) => values.map((value) => shown(value, unit)) },
      ],
      scales: { x: { range: (_, low, high) => [low - half, high + half] }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), high > 0 ? high * 1.1 : 1] } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    },
    columns,
    plot,
  );
  figure.chart?.destroy();
  figure.chart = chart;
}

function drawAll() {
  document.querySelectorAll("figure.chart").forEach(draw);
}

let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) drawAll(); // a phone's bars come and go without a change of width
  width = innerWidth;
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
document.addEventListener("htmx:afterSwap", (event) => event.target.querySelectorAll("figure.chart").forEach(draw));
drawAll();
