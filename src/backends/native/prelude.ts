/**
 * What every printed C file begins with: types, and scalar functions over `W` lanes, for each width that its kernels use. It is written for the vector extensions that gcc and
 * clang share, without a header. Masks are all ones or zeros in each lane.
 */
import * as series from "../series.ts";
import { f32 } from "./text.ts";

const COMMON = `typedef float f32;
typedef int i32;
typedef unsigned u32;
typedef unsigned long long u64;
typedef long long ix;
typedef f32 f32a __attribute__((may_alias));
typedef i32 i32a __attribute__((may_alias));
#define INFINITE __builtin_inff()
#define NOT_A_NUMBER __builtin_nanf("")
#define ALWAYS static inline __attribute__((always_inline, unused))
/* clang has no shuffles by variables */
#ifdef __clang__
#define LOOKUP(gather, p, at, ...) gather(p, at)
#else
#define LOOKUP(gather, p, at, ...) __builtin_shuffle(__VA_ARGS__, at)
#endif
ALWAYS ix least(ix a, ix b) { return a < b ? a : b; }
ALWAYS i32 floor_mod(i32 x, i32 y) {
  i32 d = y == 0 || y == -1 ? 1 : y, r = x % d;
  return r != 0 && (r ^ d) < 0 ? r + d : r;
}
`;

/** Horner's scheme over a name, in C. */
function horner(x: string, coefficients: readonly number[]): string {
  return coefficients.slice(1).reduce((p, c) => `(${p} * ${x} + ${f32(c)})`, `splat_f@(${f32(coefficients[0])})`);
}

const list = (width: number, of: (l: number) => string): string => Array.from({ length: width }, (_, l) => of(l)).join(", ");

/** Numbers of a table of 16, by their places. */
function lookup(width: number): string {
  if (width < 8) return "";
  const tables = width === 8 ? "*(const uf8 *)p, *(const uf8 *)(p + 8)" : "*(const uf@ *)p";
  return `ALWAYS vf@ lookup@(const f32a *p, vi@ at) { return LOOKUP(gather_f@, p, at, ${tables}); }\n`;
}

/** The functions for one width; \`@\` stands for it. */
function functions(width: number): string {
  const { LN2_HIGH, LN2_LOW, ROUND } = series;
  const bytes = 4 * width;
  const half = width / 2;
  /** Over the lanes: halves are joined until one is left. */
  const across = (name: string, letter: "f" | "i", join: (a: string, b: string) => string) => {
    const ends =
      width > 4
        ? `v${letter}${half} a, b; __builtin_memcpy(&a, &x, ${bytes / 2}); __builtin_memcpy(&b, (char *)&x + ${bytes / 2}, ${bytes / 2}); return ${name}${half}(${join("a", "b")});`
        : `v${letter}4 y = {x[2], x[3], x[2], x[3]}; y = ${join("x", "y")}; v${letter}4 z = {y[1], y[1], y[1], y[1]}; return (${join("y", "z")})[0];`;
    return `ALWAYS ${letter}32 ${name}@(v${letter}@ x) { ${ends} }`;
  };
  const helper = (name: string) => (a: string, b: string) => `${name}${width > 4 ? half : 4}(${a}, ${b})`;
  const text = `
typedef f32 vf@ __attribute__((vector_size(${bytes})));
typedef i32 vi@ __attribute__((vector_size(${bytes})));
typedef u32 vu@ __attribute__((vector_size(${bytes})));
typedef f32 uf@ __attribute__((vector_size(${bytes}), aligned(4), may_alias));
typedef i32 ui@ __attribute__((vector_size(${bytes}), aligned(4), may_alias));
#define LANES@ ((vi@){${list(width, String)}})
ALWAYS vf@ splat_f@(f32 x) { return (vf@){${list(width, () => "x")}}; }
ALWAYS vi@ splat_i@(i32 x) { return (vi@){${list(width, () => "x")}}; }
ALWAYS vf@ sel_f@(vi@ m, vf@ a, vf@ b) { return (vf@)(((vi@)a & m) | ((vi@)b & ~m)); }
ALWAYS vi@ sel_i@(vi@ m, vi@ a, vi@ b) { return (a & m) | (b & ~m); }
ALWAYS vf@ gather_f@(const f32a *p, vi@ at) { vf@ r; for (int l = 0; l < @; l++) r[l] = p[at[l]]; return r; }
ALWAYS vi@ gather_i@(const i32a *p, vi@ at) { vi@ r; for (int l = 0; l < @; l++) r[l] = p[at[l]]; return r; }
${lookup(width)}ALWAYS vf@ abs_f@(vf@ x) { return (vf@)((vi@)x & 0x7fffffff); }
ALWAYS vf@ signed_f@(vf@ size, vf@ x) { return (vf@)((vi@)size | ((vi@)x & (-2147483647 - 1))); }
ALWAYS vf@ sqrt_f@(vf@ x) { f32 t[@]; __builtin_memcpy(t, &x, ${bytes}); for (int l = 0; l < @; l++) t[l] = __builtin_sqrtf(t[l]); vf@ r; __builtin_memcpy(&r, t, ${bytes}); return r; }
ALWAYS vf@ round_f@(vf@ x) {
  vf@ half = signed_f@(splat_f@(8388608.0f), x), r = (x + half) - half;
  return sel_f@(abs_f@(x) < 8388608.0f, signed_f@(r, x), x);
}
ALWAYS vf@ floor_f@(vf@ x) { vf@ r = round_f@(x); return signed_f@(r - (vf@)((vi@)splat_f@(1.0f) & (r > x)), x); }
ALWAYS vf@ ceil_f@(vf@ x) { return -floor_f@(-x); }
ALWAYS vf@ sign_f@(vf@ x) { return sel_f@((x == 0.0f) | (x != x), x, signed_f@(splat_f@(1.0f), x)); }
ALWAYS vf@ max_f@(vf@ a, vf@ b) { return sel_f@((a > b) | (a != a), a, b); }
ALWAYS vf@ min_f@(vf@ a, vf@ b) { return sel_f@((a < b) | (a != a), a, b); }
ALWAYS vi@ max_i@(vi@ a, vi@ b) { return sel_i@(a > b, a, b); }
ALWAYS vi@ min_i@(vi@ a, vi@ b) { return sel_i@(a < b, a, b); }
ALWAYS vi@ abs_i@(vi@ x) { return sel_i@(x < 0, -x, x); }
ALWAYS vi@ sign_i@(vi@ x) { return (x < 0) - (x > 0); }
ALWAYS vi@ mod_i@(vi@ a, vi@ b) { vi@ r; for (int l = 0; l < @; l++) r[l] = floor_mod(a[l], b[l]); return r; }
ALWAYS vi@ whole@(vf@ x) {
  vi@ high = x >= 2147483648.0f, low = x < -2147483648.0f, plain = (x == x) & ~high & ~low;
  vi@ r = __builtin_convertvector((vf@)((vi@)x & plain), vi@);
  return (r & plain) | (high & 2147483647) | (low & (-2147483647 - 1));
}
ALWAYS vf@ number@(vi@ x) { return __builtin_convertvector(x, vf@); }
ALWAYS vf@ exp_f@(vf@ x) {
  x = min_f@(max_f@(x, splat_f@(${f32(series.EXP_RANGE[0])})), splat_f@(${f32(series.EXP_RANGE[1])}));
  vf@ t = x * ${f32(Math.LOG2E)} + ${f32(ROUND)}, n = t - ${f32(ROUND)};
  vf@ r = (x - n * ${f32(LN2_HIGH)}) - n * ${f32(LN2_LOW)};
  vf@ e = (r * r * ${horner("r", series.EXP)} + r) + 1.0f;
  return (e + e) * (vf@)(((vi@)t << 23) + ${126 << 23});
}
ALWAYS vf@ log_f@(vf@ x) {
  vi@ small = x < 1.17549435e-38f;
  vf@ v = sel_f@(small, x * 8388608.0f, x);
  vi@ k = ((vi@)v - 0x3f3504f3) >> 23;
  vf@ m = (vf@)((vi@)v - (k << 23)), n = number@(k) - (vf@)((vi@)splat_f@(23.0f) & small);
  vf@ t = m - 1.0f, s = t / (t + 2.0f), z = s * s, h = t * t * 0.5f;
  vf@ r = ((s * (h + z * ${horner("z", series.LOG)}) + n * ${f32(LN2_LOW)}) - h + t) + n * ${f32(LN2_HIGH)};
  r = sel_f@(x == INFINITE, x, r);
  r = sel_f@(x == 0.0f, splat_f@(-INFINITE), r);
  return sel_f@((x < 0.0f) | (x != x), splat_f@(NOT_A_NUMBER), r);
}
ALWAYS vf@ tanh_f@(vf@ x) {
  x = min_f@(max_f@(x, splat_f@(${f32(-series.TANH_END)})), splat_f@(${f32(series.TANH_END)}));
  vf@ z = x * x;
  return x * ${horner("z", series.TANH_OVER)} / ${horner("z", series.TANH_UNDER)};
}
ALWAYS vf@ erf_f@(vf@ x) {
  vf@ t = min_f@(abs_f@(x), splat_f@(4.0f)), s = t * t;
  vf@ near = ${horner("s", series.ERF_NEAR)} * x;
  vf@ far = 1.0f - exp_f@(${horner("t", series.ERF_FAR)} * t);
  return sel_f@(t < ${f32(series.ERF_NEAR_END)}, near, signed_f@(far, x));
}
ALWAYS vf@ wave_f@(vf@ x, i32 quadrant) {
  vf@ n = round_f@(x * ${f32(2 / Math.PI)});
  vf@ r = ((x - n * ${f32(series.HALF_PI[0])}) - n * ${f32(series.HALF_PI[1])}) - n * ${f32(series.HALF_PI[2])};
  vi@ k = whole@(n) + quadrant;
  vf@ z = r * r, sine = ${horner("z", series.SIN)} * z * r + r, cosine = (${horner("z", series.COS)} * z * z - z * 0.5f) + 1.0f;
  return (vf@)((vi@)sel_f@((k & 1) != 0, cosine, sine) ^ ((k & 2) << 30));
}
/* ln|x| as a sum of two f32, so that large exponents do not lose digits */
ALWAYS vf@ pow_f@(vf@ x, vf@ b) {
  vf@ a = abs_f@(x);
  vi@ e = ((vi@)a - 0x3f3504f3) >> 23;
  vf@ k = number@(e), m = (vf@)((vi@)a - (e << 23)), t = m - 1.0f, d = m + 1.0f, s = t / d;
  vf@ sh = (vf@)((vi@)s & -4096), dh = (vf@)((vi@)d & -4096), dl = m - (dh - 1.0f), sl = ((t - sh * dh) - sh * dl) / d, z = s * s;
  vf@ q = z * s * ${horner("z", series.POW)};
  vf@ h1 = k * ${f32(LN2_HIGH)}, h2 = sh * 2.0f, sum = h1 + h2, bb = sum - h1, lost = (h1 - (sum - bb)) + (h2 - bb);
  vf@ low = (lost + (sl * 2.0f + q)) + k * ${f32(LN2_LOW)};
  vf@ bh = (vf@)((vi@)b & -4096), uh = (vf@)((vi@)sum & -4096), p1 = bh * uh;
  vf@ size = exp_f@(p1) * exp_f@((bh * (sum - uh) + (b - bh) * sum) + b * low);
  size = sel_f@(a == 0.0f, sel_f@(b < 0.0f, splat_f@(INFINITE), splat_f@(0.0f)), size);
  vf@ half = b * 0.5f;
  vi@ whole = b == floor_f@(b), odd = whole & ~(half == floor_f@(half));
  size = (vf@)((vi@)size ^ ((vi@)x & (-2147483647 - 1) & odd));
  size = sel_f@((x < 0.0f) & ~whole, splat_f@(NOT_A_NUMBER), size);
  size = sel_f@((x != x) | (b != b), splat_f@(NOT_A_NUMBER), size);
  return sel_f@((b == 0.0f) | (x == 1.0f), splat_f@(1.0f), size);
}
${across("sum_f", "f", (a, b) => `${a} + ${b}`)}
${across("sum_i", "i", (a, b) => `${a} + ${b}`)}
${across("most_f", "f", helper("max_f"))}
${across("most_i", "i", helper("max_i"))}
${across("least_f", "f", helper("min_f"))}
${across("least_i", "i", helper("min_i"))}
${across("all", "i", (a, b) => `${a} & ${b}`)}
`;
  return text.replaceAll("@", String(width));
}

/** Rows of four to columns of four, for panels of products: `count` places of four rows. */
const TRANSPOSE = `
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define MIX4(x, y, a, b, c, d) __builtin_shufflevector(x, y, a, b, c, d)
#endif
#endif
#ifndef MIX4
#define MIX4(x, y, a, b, c, d) __builtin_shuffle(x, y, (vi4){a, b, c, d})
#endif
static __attribute__((noinline)) void columns4(f32a *restrict to, ix step, ix count, const f32a *a, const f32a *b, const f32a *c, const f32a *d) {
  ix k = 0;
  for (; k + 4 <= count; k += 4, to += 4 * step) {
    vf4 r0 = *(const uf4 *)(a + k), r1 = *(const uf4 *)(b + k), r2 = *(const uf4 *)(c + k), r3 = *(const uf4 *)(d + k);
    vf4 p = MIX4(r0, r1, 0, 4, 1, 5), q = MIX4(r2, r3, 0, 4, 1, 5), s = MIX4(r0, r1, 2, 6, 3, 7), t = MIX4(r2, r3, 2, 6, 3, 7);
    *(uf4 *)to = MIX4(p, q, 0, 1, 4, 5);
    *(uf4 *)(to + step) = MIX4(p, q, 2, 3, 6, 7);
    *(uf4 *)(to + 2 * step) = MIX4(s, t, 0, 1, 4, 5);
    *(uf4 *)(to + 3 * step) = MIX4(s, t, 2, 3, 6, 7);
  }
  for (; k < count; k++, to += step) {
    to[0] = a[k];
    to[1] = b[k];
    to[2] = c[k];
    to[3] = d[k];
  }
}
`;

/**
 * The tile of a product, for a width, rows and vectors: adds `count` products to the sums at `t`, or to 0 where there is no `more`. B: places of the sum one behind the
 * other, the tile's columns side by side; A: where each row begins, and the step from one place to the next. Sums stay in registers.
 */
function tileFunction(width: number, rows: number, vectors: number): string {
  const each = (of: (r: number, h: number) => string, r0 = 0, r1 = rows) =>
    Array.from({ length: r1 - r0 }, (_, r) => Array.from({ length: vectors }, (_, h) => of(r0 + r, h)).join(" ")).join("\n");
  const place = (r: number, h: number) => `*(uf${width} *)(t + ${(r * vectors + h) * width})`;
  return `static __attribute__((noinline)) void tile_${width}_${rows}_${vectors}(const f32a *restrict b, const f32a *const *a, ix step, ix count, f32a *restrict t, i32 more) {
${Array.from({ length: rows }, (_, r) => `const f32a *const a${r} = a[${r}];`).join("\n")}
vf${width} ${Array.from({ length: rows * vectors }, (_, i) => `c${Math.floor(i / vectors)}_${i % vectors} = {0}`).join(", ")};
if (more) {
${each((r, h) => `c${r}_${h} = ${place(r, h)};`)}
}
for (ix k = 0, j = 0; k < count; k++, j += step, b += ${vectors * width}) {
${Array.from({ length: vectors }, (_, h) => `vf${width} const b${h} = *(const uf${width} *)(b + ${h * width});`).join("\n")}
${Array.from({ length: rows }, (_, r) => `vf${width} const x${r} = splat_f${width}(a${r}[j]);\n${each((_r, h) => `c${r}_${h} += x${r} * b${h};`, r, r + 1)}`).join("\n")}
}
${each((r, h) => `${place(r, h)} = c${r}_${h};`)}
}
`;
}

/** Declarations of a prelude: what is a name's own is the text that defines it. */
function definitions(text: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const part of text.split(/\n(?=typedef|#define|#if|ALWAYS|static)/)) {
    const name = /^typedef .*?(\w+)(?: __attribute__.*)?;|^#define (\w+)|^ALWAYS \w+ (\w+)\(|^static .*? (\w+)\(/.exec(part);
    const key = name?.slice(1).find((n) => n !== undefined);
    if (key !== undefined) out.set(key, part.trimEnd());
  }
  return out;
}

const known = new Map<number, Map<string, string>>();
const functionsOf = (width: number): Map<string, string> => {
  const made = known.get(width) ?? definitions(functions(width));
  known.set(width, made);
  return made;
};

/** The beginning of a file with that text: what it uses of all this. */
export function prelude(text: string): string {
  const tiles = new Map<string, string>();
  for (const [name, width, rows, vectors] of text.matchAll(/tile_(\d+)_(\d+)_(\d+)/g))
    tiles.set(name, tileFunction(Number(width), Number(rows), Number(vectors)));
  const transpose = /\bcolumns4\b/.test(text) ? TRANSPOSE : "";
  const available = new Map([4, 8, 16].flatMap((w) => [...functionsOf(w)]));
  const wanted = new Set<string>();
  const want = (of: string) => {
    for (const [word] of of.matchAll(/\b[A-Za-z]\w*\b/g))
      if (available.has(word) && !wanted.has(word)) {
        wanted.add(word);
        want(available.get(word)!);
      }
  };
  for (const part of [text, transpose, ...tiles.values()]) want(part);
  const used = [...available].filter(([name]) => wanted.has(name)).map(([, definition]) => definition);
  return [COMMON, ...used, transpose, ...tiles.values()].join("\n");
}
