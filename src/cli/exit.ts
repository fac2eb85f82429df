/** Exit codes, as in the language's "What bad input gets". */
export const EXIT = { ok: 0, mistake: 1, usage: 2, device: 3, bug: 70, interrupted: 130 } as const;
