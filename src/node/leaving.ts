/** What a process undoes that ends before its time: locks it holds, files it has half written. */
const undone = new Set<() => void>();
let listening = false;

/** `undo` runs if the process ends before what is given back is called. */
export function whenLeaving(undo: () => void): () => void {
  if (!listening) process.on("exit", leave);
  listening = true;
  undone.add(undo);
  return () => void undone.delete(undo);
}

function leave(): void {
  for (const undo of undone) {
    try {
      undo();
    } catch {
      // nothing can be said any more, and the next run tidies up
    }
  }
  undone.clear();
}
