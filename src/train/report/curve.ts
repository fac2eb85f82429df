/** A table's columns as lines in an SVG: one number against another, a line for each value of a third. */
import type { ReportTable, ReportValue } from "./report.ts";

const COLOURS = ["#36c", "#d33", "#292", "#a3a", "#e80", "#099", "#666", "#b63"];
const [WIDTH, HEIGHT, MARGIN] = [720, 320, 56];

const middle = (value: ReportValue | undefined): number =>
  typeof value === "number" ? value : typeof value === "object" && value !== null ? value.mean : Number.NaN;
const spread = (value: ReportValue | undefined): number => (typeof value === "object" && value !== null ? value.sd : 0);
const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Points that are not finite are left out; standard deviations are bars. */
export function curve(
  { title, rows }: ReportTable,
  { x, y, by }: { readonly x: string; readonly y: string; readonly by?: string | undefined },
): string {
  const points = rows
    .map((row) => ({ x: middle(row[x]), y: middle(row[y]), sd: spread(row[y]), line: by === undefined ? "" : String(row[by]) }))
    .filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
  const range = (values: readonly number[]): [number, number] => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return low < high ? [low, high] : [low - 0.5, high + 0.5];
  };
  const [left, right] = range(points.map((p) => p.x));
  const [low, high] = range(points.flatMap((p) => [p.y - p.sd, p.y + p.sd]));
  const px = (v: number) => (MARGIN + ((v - left) / (right - left)) * (WIDTH - 3 * MARGIN)).toFixed(1);
  const py = (v: number) => (HEIGHT - MARGIN + ((low - v) / (high - low)) * (HEIGHT - 2 * MARGIN)).toFixed(1);
  const number = (v: number) => String(Number(v.toPrecision(3)));
  const ticks = Array.from({ length: 5 }, (_, i) => low + (i / 4) * (high - low)).map(
    (v) =>
      `<path d="M${MARGIN} ${py(v)}H${WIDTH - 2 * MARGIN}" stroke="#8884"/><text x="${MARGIN - 8}" y="${Number(py(v)) + 4}" text-anchor="end">${number(v)}</text>`,
  );
  const names = [...new Set(points.map((p) => p.line))];
  const lines = names.map((name, i) => {
    const own = points.filter((p) => p.line === name).sort((a, b) => a.x - b.x);
    const colour = COLOURS[i % COLOURS.length];
    const path = own.map((p, k) => `${k === 0 ? "M" : "L"}${px(p.x)} ${py(p.y)}`).join("");
    const bars = own.filter((p) => p.sd > 0).map((p) => `<path d="M${px(p.x)} ${py(p.y - p.sd)}V${py(p.y + p.sd)}" stroke="${colour}"/>`);
    const dots = own.map((p) => `<circle cx="${px(p.x)}" cy="${py(p.y)}" r="3.5" fill="${colour}"/>`);
    const last = own.at(-1)!;
    const label = `<text x="${Number(px(last.x)) + 10}" y="${Number(py(last.y)) + 4}" fill="${colour}">${escaped(name)}</text>`;
    return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>${bars.join("")}${dots.join("")}${label}`;
  });
  const axes = [
    `<text x="${WIDTH / 2}" y="${HEIGHT - 14}" text-anchor="middle">${escaped(x)} (${number(left)} to ${number(right)})</text>`,
    `<text x="${MARGIN}" y="24">${escaped(`${title}: ${y}`)}</text>`,
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="13" fill="#777"><rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>${ticks.join("")}${lines.join("")}${axes.join("")}</svg>\n`;
}
