/** The curve of bytes against time, as text and as a picture. */
import { showBytes } from "../train/engine/budget.ts";
import type { FrontPoint } from "../train/engine/fit.ts";
import type { PartedPoint } from "../train/engine/parts.ts";
import { grouped, table } from "./table.ts";

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export const frontText = (stage: string, points: readonly PartedPoint[]): string =>
  `${stage}: peak, time that is added (by the cost model), rows at a time\n${table(points.map((p) => [showBytes(p.bytes), grouped(p.bytes), percent(p.added), p.rows]))}`;

const [WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM] = [640, 320, 80, 30, 20, 50];

/** An SVG of the curve: bytes upwards, added time to the right, both from 0. */
export function frontPicture(points: readonly FrontPoint[]): string {
  const most = Math.max(...points.map((p) => p.bytes));
  const longest = Math.max(0.01, ...points.map((p) => p.added));
  const x = (added: number) => LEFT + ((WIDTH - LEFT - RIGHT) * added) / longest;
  const y = (bytes: number) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * bytes) / most;
  const at = (px: number, py: number) => `${px.toFixed(1)},${py.toFixed(1)}`;
  const label = (px: number, py: number, anchor: string, text: string) =>
    `<text x="${px.toFixed(1)}" y="${py.toFixed(1)}" text-anchor="${anchor}">${text}</text>`;
  const marks = [0, 0.25, 0.5, 0.75, 1];
  const rows = marks.map((m) => {
    const line = `<path d="M${at(LEFT, y(m * most))}H${WIDTH - RIGHT}" stroke="#8884"/>`;
    return line + label(LEFT - 8, y(m * most) + 4, "end", showBytes(Math.round(m * most)));
  });
  const columns = marks.map((m) => label(x(m * longest), HEIGHT - BOTTOM + 18, "middle", percent(m * longest)));
  const curve = `<polyline points="${points.map((p) => at(x(p.added), y(p.bytes))).join(" ")}" fill="none" stroke="#36c" stroke-width="2"/>`;
  const dots = points.map((p) => `<circle cx="${x(p.added).toFixed(1)}" cy="${y(p.bytes).toFixed(1)}" r="3" fill="#36c"/>`);
  const title = label(WIDTH / 2, HEIGHT - 12, "middle", "time that is added to a step") + label(LEFT, 18, "start", "peak");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#777"><rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>${[...rows, ...columns, curve, ...dots, title].join("")}</svg>\n`;
}
