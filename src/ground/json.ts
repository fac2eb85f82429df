/** What JSON can say. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonRecord = { readonly [key: string]: Json };

/** The plain values of an object, also of objects and lists within it, by their own key and by the whole path. */
export const leavesOf = (value: object, path = ""): { readonly key: string; readonly path: string; readonly value: unknown }[] =>
  Object.entries(value).flatMap(([key, inner]) => {
    const at = path === "" ? key : `${path}.${key}`;
    return typeof inner === "object" && inner !== null ? leavesOf(inner, at) : [{ key, path: at, value: inner }];
  });
