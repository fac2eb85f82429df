/** Many low-rank adapters in one attachment, a row of its tensors each (`LoRABank`), and the same adapters apart. */
import { comparePaths } from "./folder.ts";
import { type LowRank, lowRankOf } from "./low-rank.ts";
import type { BankMapping, Mappings } from "./mapping.ts";
import { type OutAdapter, type OutAttachment, type OutParam, Unsayable } from "./out.ts";

/** The adapter with its banks taken apart: an attachment for each row, named by its number. `undefined`: it has none. */
export function withoutBanks(adapter: OutAdapter, mappings: Mappings): OutAdapter | undefined {
  const bankOf = (attachment: OutAttachment) =>
    mappings.banks.find((bank) => bank.method === attachment.method && bank.from === attachment.from.replace(/\.peft$/, ""));
  if (!adapter.attachments.some(bankOf)) return undefined;
  return {
    ...adapter,
    attachments: adapter.attachments.flatMap((attachment) => {
      const bank = bankOf(attachment);
      return bank === undefined ? [attachment] : rowsOf(attachment, bank, mappings);
    }),
  };
}

function rowsOf({ options, sites }: OutAttachment, bank: BankMapping, mappings: Mappings): OutAttachment[] {
  const one = lowRankMapping(bank, mappings);
  return Array.from({ length: Number(options[bank.count]) }, (_, row) => ({
    name: String(row),
    method: bank.one.method,
    from: bank.one.from,
    options: { ...bank.one.options, rank: options.rank, [one.alpha]: options[bank.alpha], dropout: options[bank.dropout] },
    sites: sites.map(({ params, ...site }) => ({
      ...site,
      params: { [one.down]: rowOf(params[bank.down], row), [one.up]: rowOf(params[bank.up], row) },
    })),
    shared: {},
  }));
}

function rowOf({ shape: [, ...shape], values }: OutParam, row: number): OutParam {
  const size = shape.reduce((a, b) => a * b, 1);
  return { shape, values: () => Array.prototype.slice.call(values(), row * size, (row + 1) * size) };
}

const lowRankMapping = ({ one }: BankMapping, { lowRank }: Mappings) =>
  lowRank.find(({ method, from }) => method === one.method && from === one.from)!;

/**
 * Adapters of one base as the rows of a bank, in their order. It has one rank and one scale: lower ranks are filled up with zeros, and the upper matrix takes what differs in
 * the scale. Places that one of them does not adapt are zeros there.
 */
export function bankOf(adapters: readonly OutAdapter[], mappings: Mappings): OutAdapter | Unsayable {
  const [bank] = mappings.banks;
  const rows: (readonly LowRank[])[] = [];
  for (const [i, adapter] of adapters.entries()) {
    const found = lowRankOf(adapter, mappings);
    if (found instanceof Unsayable) return new Unsayable(`adapter ${i}: ${found.why}`);
    if (found.some(({ magnitude }) => magnitude !== undefined)) return new Unsayable(`adapter ${i}: a bank has no place for magnitudes`);
    rows.push(found);
  }
  const all = rows.flat();
  const rank = Math.max(...all.map((one) => one.rank));
  const { scale } = all[0];
  const dropout = Math.max(...all.map((one) => one.dropout));
  const paths = [...new Set(all.map(({ path }) => path))].sort(comparePaths);
  const sites = paths.map((path) => {
    const here = rows.map((found) => found.find((one) => one.path === path));
    const known = here.find((one) => one !== undefined)!;
    return {
      path,
      params: {
        [bank.down]: stacked([rank, known.down.shape[1]], here, ({ down }) => [down, 1]),
        [bank.up]: stacked([known.up.shape[0], rank], here, ({ up, scale: own }) => [up, own / scale]),
      },
    };
  });
  const options = { [bank.count]: adapters.length, rank, [bank.alpha]: scale * rank, [bank.dropout]: dropout };
  const attachment: OutAttachment = { name: "bank", method: bank.method, from: bank.from, options, sites, shared: {} };
  return { attachments: [attachment], heads: {}, base: adapters[0].base };
}

/** Matrices, each in a corner of [rows, columns], one behind the other; none: zeros. */
function stacked(
  [rows, columns]: readonly [number, number],
  all: readonly (LowRank | undefined)[],
  part: (one: LowRank) => readonly [OutParam, number],
): OutParam {
  return {
    shape: [all.length, rows, columns],
    values: () => {
      const out = new Float32Array(all.length * rows * columns);
      for (const [n, one] of all.entries()) {
        if (one === undefined) continue;
        const [{ shape, values }, factor] = part(one);
        const from = values();
        for (let i = 0; i < shape[0]; i++)
          for (let j = 0; j < shape[1]; j++) out[(n * rows + i) * columns + j] = factor * from[i * shape[1] + j];
      }
      return out;
    },
  };
}
