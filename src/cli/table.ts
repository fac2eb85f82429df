/** Columns of text, and numbers as people write them. */

/** Rows with columns padded to equal width; numbers stand to the right. */
export function table(rows: readonly (readonly (string | number)[])[], indent = "  "): string {
  const text = rows.map((row) => row.map((cell) => (typeof cell === "number" ? grouped(cell) : cell)));
  const widths: number[] = [];
  for (const row of text) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  return text
    .map((row, r) => {
      const cells = row.map((cell, i) => (typeof rows[r][i] === "number" ? cell.padStart(widths[i]) : cell.padEnd(widths[i])));
      return `${indent}${cells.join("  ").trimEnd()}\n`;
    })
    .join("");
}

/** `1 825 458 176`. */
export const grouped = (n: number): string => (Number.isInteger(n) ? String(n).replace(/\B(?=(\d{3})+(?!\d))/g, " ") : String(n));

/** `1.23 GFLOP`. */
export function showFlops(n: number): string {
  const units = ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"];
  let value = n;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toPrecision(3)} ${units[unit]}`;
}

/** `1:05:09`, `2:10`, `12 s`. */
export function showTime(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  const two = (n: number) => String(n).padStart(2, "0");
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** Four significant digits, without an exponent where that is short. */
export const short = (x: number): string => (Number.isFinite(x) ? String(Number(x.toPrecision(4))) : String(x));
