/** Where a program's arenas lie in one linear memory: one after the other, in the program's order. */

import type { ArenaName, Placed, Program } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";

export interface Layout {
  /** Byte address of a tensor. */
  address(placed: Placed): number;
  /** The first byte of an arena, and its bytes; `undefined` if the program has none of that name. */
  arena(name: ArenaName): { readonly at: number; readonly bytes: number } | undefined;
  readonly bytes: number;
}

export function layoutOf(program: Program): Layout {
  const pages = new Map<string, number>();
  const arenas = new Map<ArenaName, { at: number; bytes: number }>();
  let at = 0;
  for (const arena of program.arenas) {
    const start = at;
    arena.pages.forEach((bytes, i) => {
      pages.set(`${arena.name} ${i}`, at);
      at += bytes;
    });
    arenas.set(arena.name, { at: start, bytes: at - start });
  }
  return {
    bytes: at,
    arena: (name) => arenas.get(name),
    address(placed) {
      const page = pages.get(`${placed.arena} ${placed.page}`);
      if (page === undefined) throw new Bug(`the program has no page ${placed.page} of ${placed.arena}`);
      return page + placed.offset;
    },
  };
}
