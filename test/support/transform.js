// What Jest does to each source file: swc's transform, and a line that gives the globals a file names a name of the file's own. Jest runs files in
// a context of its own where every look at a global goes through an interceptor; the compiler names Map and Math in its innermost loops, and
// the tests took three to five times as long.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import swcJest from "@swc/jest";

const GLOBALS = [
  ...["Array", "ArrayBuffer", "BigInt", "BigInt64Array", "BigUint64Array", "Boolean", "DataView", "Error", "Float32Array", "Float64Array"],
  ...["Infinity", "Int16Array", "Int32Array", "Int8Array", "JSON", "Map", "Math", "NaN", "Number", "Object", "Promise", "RangeError"],
  ...["Reflect", "RegExp", "Set", "SharedArrayBuffer", "String", "Symbol", "TypeError", "Uint16Array", "Uint32Array", "Uint8Array"],
  ...["WeakMap", "WeakSet", "isNaN", "parseFloat", "parseInt"],
].map((name) => ({ name, used: new RegExp(`(?<![.\\w$])${name}(?![\\w$])`) }));

function local(result) {
  const names = GLOBALS.filter(({ used }) => used.test(result.code)).map(({ name }) => name);
  return { ...result, code: `const {${names.join(",")}}=globalThis;${result.code}` }; // on the first line: places stay
}
const version = createHash("sha256")
  .update(readFileSync(import.meta.filename))
  .digest("hex");

export default {
  createTransformer(options) {
    const swc = swcJest.createTransformer(options);
    return {
      ...swc,
      getCacheKey: (...args) => swc.getCacheKey(...args) + version,
      process: (...args) => local(swc.process(...args)),
      processAsync: async (...args) => local(await swc.processAsync(...args)),
    };
  },
};
