// Draws a run's loss as an SVG: node scripts/picture.mjs RUN_FOLDER OUT.svg
import { readFileSync, writeFileSync } from "node:fs";

const [folder, out] = process.argv.slice(2);
const rows = readFileSync(`${folder}/metrics.jsonl`, "utf8")
  .trim()
  .split("\n")
  .map((l) => JSON.parse(l));
const steps = rows.filter((r) => typeof r.loss === "number" && typeof r.step === "number");
const held = rows.filter((r) => typeof r.eval_perplexity === "number");
const [w, h, m] = [720, 260, 44];
const last = Math.max(...steps.map((r) => r.step));
const losses = [...steps.map((r) => r.loss), ...held.map((r) => r.eval_loss)];
const [low, high] = [Math.floor(Math.min(...losses) * 2) / 2, Math.ceil(Math.max(...losses) * 2) / 2];
const x = (s) => (m + (s / last) * (w - 2 * m)).toFixed(1);
const y = (l) => (h - m + ((low - l) / (high - low)) * (h - 2 * m)).toFixed(1);
const line = steps.map((r, i) => `${i ? "L" : "M"}${x(r.step)} ${y(r.loss)}`).join("");
const ticks = [];
for (let l = low; l <= high; l += 0.5)
  ticks.push(
    `<path d="M${m} ${y(l)}H${w - m}" stroke="#8884"/><text x="${m - 8}" y="${Number(y(l)) + 4}" text-anchor="end">${l.toFixed(1)}</text>`,
  );
const dots = held.map((r) => {
  const at = r.step === 0 ? "start" : "end";
  return `<circle cx="${x(r.step)}" cy="${y(r.eval_loss)}" r="5" fill="#d33"/><text x="${Number(x(r.step)) + (at === "start" ? 12 : -8)}" y="${Number(y(r.eval_loss)) - 9}" text-anchor="${at}" fill="#d33">held-out perplexity ${r.eval_perplexity.toFixed(0)}</text>`;
});
writeFileSync(
  out,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${w} ${h}" font-family="sans-serif" font-size="13" fill="#777"><rect width="${w}" height="${h}" fill="#fff"/>${ticks.join("")}<path d="${line}" fill="none" stroke="#36c" stroke-width="1.5"/>${dots.join("")}<text x="${w / 2}" y="${h - 12}" text-anchor="middle">update (0 to ${last})</text><text x="${w / 2}" y="24" text-anchor="middle">training loss, nats a token</text></svg>\n`,
);
