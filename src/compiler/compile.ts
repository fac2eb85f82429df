/** From a `.peft` file to a project: graphs, parameters, stages, and every problem found on the way. */

import type { Statement } from "./ast.ts";
import type { Attachment } from "./elaborate/attachment.ts";
import { checkSites } from "./elaborate/check.ts";
import { Elaborator, type Overrides } from "./elaborate/elaborator.ts";
import { checkHeads } from "./elaborate/heads.ts";
import { Instance } from "./elaborate/instance.ts";
import { modelOf } from "./elaborate/model-of.ts";
import { ties } from "./elaborate/models.ts";
import { outcomeOf } from "./elaborate/outcome.ts";
import { siteParameters } from "./elaborate/parameters.ts";
import { kindsOf } from "./elaborate/roles.ts";
import { startGraph } from "./elaborate/starts.ts";
import { Run } from "./elaborate/statements.ts";
import { Storage } from "./elaborate/storage.ts";
import { checkUpdates } from "./elaborate/updates.ts";
import { Grow, Stopped, unexpected } from "./elaborate/work.ts";
import { mostProblems } from "./limits.ts";
import type { AttachmentReport, Host, ParamDecl, Project, SiteReport, StateDecl } from "./project.ts";
import type { Problem } from "./report/problem.ts";

export type { Overrides } from "./elaborate/elaborator.ts";

/**
 * Compiles a file as far as its graphs. Never throws for a user's mistakes: they are in `problems`, and a project with an error among them
 * is not to be run. `path` and the paths in it are resolved by `host`.
 */
export function compile(path: string, host: Host, overrides: Overrides = {}): Project {
  try {
    return compileOnce(path, host, overrides);
  } catch (error) {
    if (!(error instanceof Grow)) throw error;
    return compile(path, host, { ...overrides, vocabulary: { ...overrides.vocabulary, [error.model]: error.rows } });
  }
}

function compileOnce(path: string, host: Host, overrides: Overrides): Project {
  const e = new Elaborator(host, path, overrides);
  try {
    return compiled(e, path, overrides);
  } catch (error) {
    if (error instanceof Grow) throw error;
    // whatever was thrown: what was found up to there is told, and the file is left for what it is
    const problem = error instanceof Stopped ? error.problem : unexpected(error, e.work.at);
    const nothing = { actions: [], params: new Map(), states: new Map(), models: [], attachments: [], unattached: undefined };
    return { file: path, ...nothing, problems: told([...e.problems, problem]) };
  }
}

function compiled(e: Elaborator, path: string, overrides: Overrides): Project {
  const run = new Run(e, undefined as never);
  e.collect(() => {
    const unit = e.files.load(path, undefined, run.variables);
    if (!unit) {
      e.problems.push({ code: "P0215", severity: "error", message: `there is no file ${path}`, span: undefined });
      return;
    }
    run.useScope(unit.scope);
    const syntax = e.problems.some((p) => p.severity === "error");
    if (syntax) return;
    run.all(unit.program.items.filter((i): i is Statement => !["Import", "Type", "Role", "Module", "Method", "Function"].includes(i.kind)));
    checkSites(e);
    checkUpdates(e);
    checkHeads(e);
    for (const { name, folder, span } of e.objectives.unclaimed())
      e.problems.push({
        code: "P0698",
        severity: "warning",
        message: `${folder} holds \`${name}\`, which an objective trained, and this file has no such objective`,
        span,
        notes: [`give the objective the name it had: \`${name.split(".")[0]} = …\``],
      });
  });
  // of a model that a condition refuses there is nothing to list
  const whole = e.models.filter(({ instance }) => {
    let made = false;
    e.collect(() => {
      for (const i of instance.tree()) for (const _ of i.stored());
      made = true;
    });
    return made;
  });
  e.models.splice(0, e.models.length, ...whole);
  const lasting = statesInUse(e);
  return {
    file: path,
    actions: e.actions,
    params: parameters(e),
    states: states(e),
    models: e.models.map((m) => {
      const tree = [...m.instance.tree()];
      const stored = tree.flatMap((i) => [...i.stored()].map(([, s]) => s));
      return {
        ...m.report,
        tokenizer: m.instance.tokenizer?.source ?? m.report.folder,
        params: stored.map((s) => s.name),
        shapes: Object.fromEntries(stored.map((s) => [s.path, s.shape])),
        ties: Object.fromEntries([...ties(m.instance, new Set(stored))].map((tie) => [tie.path, tie.tiedTo])),
        modules: Object.fromEntries(tree.map((i) => [i.path, kindsOf(i)])),
      };
    }),
    attachments: e.attachments.filter((a) => !a.maker).map((a) => report(e, a, lasting)),
    unattached: overrides.unattached,
    problems: told(e.problems),
  };
}

/** The seed of starts: the first stage's, so that `--seed` moves them too. */
function startSeed(e: Elaborator): number {
  for (const a of e.actions) if (a.kind === "stage" && a.stage.verb === "train") return a.stage.seed;
  return e.overrides.seed ?? 0;
}

function parameters(e: Elaborator): Map<string, ParamDecl> {
  const out = new Map<string, ParamDecl>();
  const seed = startSeed(e);
  const all = new Map(e.used);
  for (const m of e.models) for (const i of m.instance.tree()) for (const [, s] of i.stored()) all.set(s.name, s);
  for (const a of e.attachments) for (const site of a.sites) for (const s of siteParameters(site)) all.set(s.name, s);
  const queue = [...all.values()];
  const add = (name: string, s: Storage, source: ParamDecl["source"], frozen: boolean) =>
    out.set(name, { name, path: s.path, owner: s.owner, shape: s.shape, source, frozen, span: s.span });
  for (const s of queue) {
    if (out.has(s.name)) continue;
    e.collect(() => add(s.name, s, s.source ?? started(e, s, seed, queue), s.frozen));
  }
  for (const [name, s] of e.initials) e.collect(() => add(name, s, s.source ?? started(e, s, seed, queue), true));
  return out;
}
function started(e: Elaborator, s: Storage, seed: number, queue: Storage[]): ParamDecl["source"] {
  const { graph, reads } = startGraph(e, s, seed);
  queue.push(...reads.filter((r) => r.role === "parameter"));
  return { kind: "start", graph };
}

function states(e: Elaborator): Map<string, StateDecl> {
  const out = new Map<string, StateDecl>();
  for (const [name, { storage, stage }] of e.stageStates)
    e.collect(() =>
      out.set(name, {
        name,
        dtype: storage.dtype,
        shape: storage.shape,
        graph: startGraph(e, storage, 0).graph,
        owner: stage ?? storage.owner.name,
        lasts: stage === undefined,
        ...(storage.source?.kind === "file" && { source: { folder: storage.source.folder, tensor: storage.source.tensor } }),
      }),
    );
  return out;
}

/** States that some graph reads in which nothing is trained. */
function statesInUse(e: Elaborator): ReadonlySet<string> {
  const entries = e.actions.flatMap((action) => {
    if (action.kind !== "stage") return [];
    const { stage } = action;
    switch (stage.verb) {
      case "train":
        return stage.evaluation;
      case "evaluate":
        return [stage.evaluation];
      case "predict":
        return [stage.entry];
      case "generate":
        return [stage.prefill, stage.decode];
    }
  });
  return new Set(entries.flatMap((entry) => entry?.states ?? []));
}

function report(e: Elaborator, a: Attachment, lasting: ReadonlySet<string>): AttachmentReport {
  const shared: Record<string, string> = {};
  for (const [n, v] of a.shared) {
    if (v instanceof Storage) shared[n] = v.name;
    else if (v instanceof Instance) for (const m of v.tree()) for (const [, s] of m.stored()) shared[s.path] = s.name;
  }
  const sites = a.sites.filter((s) => !s.detached);
  return {
    name: a.name,
    method: a.method.name,
    declaredIn: a.method.file,
    options: a.options,
    model: sites.map((site) => modelOf(e, site)).find((x) => x !== undefined) ?? "",
    selector: a.selector,
    sites: sites.map(
      (s): SiteReport => ({
        path: s.path,
        also: s.also,
        role: s.role?.name,
        turned: s.turned,
        params: Object.fromEntries([...s.parameters()].map(([n, p]) => [n, p.name])),
        states: Object.fromEntries([...s.params].flatMap(([n, p]) => (p?.role === "state" && lasting.has(p.name) ? [[n, p.name]] : []))),
      }),
    ),
    shared,
    outcome: outcomeOf(e, a, sites, shared),
    folders: a.folders,
    span: a.span,
  };
}

/** Each problem once, and of very many the first. */
function told(problems: readonly Problem[]): Problem[] {
  const seen = new Set<string>();
  const all = problems.filter((p) => {
    const key = `${p.code} ${p.span?.file}:${p.span?.start} ${p.message}`;
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
  // a note on what is hidden is for the end
  all.sort((a, b) => Number(a.code === "P0005") - Number(b.code === "P0005"));
  if (all.length <= mostProblems + 1) return all;
  const shown = all.slice(0, mostProblems);
  // what is hidden must not turn a file with errors into one without
  const hidden = all.slice(mostProblems);
  const severity = hidden.some((p) => p.severity === "error") ? "error" : "warning";
  return [...shown, { code: "P0005", severity, message: `and ${hidden.length} more, which are not shown`, span: undefined }];
}
