/** Shares kernels out to files, so that several are compiled at once and a file whose kernels stay is not compiled again. */
import { type FileKernel, printFile } from "./print.ts";

export interface NativeFile {
  /** C, and the kernels by their numbers in it. */
  readonly text: string;
  readonly kernels: readonly string[];
}

/** Characters of kernels' text in a file: a few tenths of a second for a compiler. */
const SIZE = 45_000;

/** Kernels keep their order, so that programs that begin alike have their first files in common. */
export function filesOf(kernels: readonly FileKernel[]): NativeFile[] {
  const groups: FileKernel[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const kernel of kernels) {
    if (size + kernel.text.length > SIZE) {
      groups.push([]);
      size = 0;
    }
    groups[groups.length - 1].push(kernel);
    size += kernel.text.length;
  }
  return groups.map((group) => ({ text: printFile(group), kernels: group.map((k) => k.name) }));
}
