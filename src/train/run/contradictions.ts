/** Options with which an adapter was trained, and those of the attachments that take its values. */
import type { ModelReport, Project, Static } from "../../compiler/project.ts";
import type { Problem } from "../../compiler/report/problem.ts";
import type { AdapterFolder } from "../../formats/adapters/folder.ts";
import type { Mappings } from "../../formats/adapters/mapping.ts";
import { misplaced } from "../../ground/misplaced.ts";
import { InputError } from "../../ir/errors.ts";

/** Warns of tensors that are elsewhere than the folder says (P0608), and (P0699) of each option that is another in the file than in the folder: the same values act otherwise. What only leaves out by chance in training says nothing. */
export function contradictions(project: Project, folder: string, adapter: AdapterFolder, mappings: Mappings): Problem[] {
  const passing = new Set(mappings.lowRank.map(({ dropout }) => dropout));
  const found = new Map<string, Problem>();
  for (const part of adapter.parts)
    for (const { method, from, options } of [part, ...(part.or ?? [])])
      for (const a of project.attachments) {
        if (a.method !== method || a.declaredIn !== from || !part.sites.some(({ path }) => a.sites.some((s) => s.path === path))) continue;
        for (const [name, there] of Object.entries(options)) {
          const here = a.options[name];
          if (here === undefined || passing.has(name) || same(there as Static, here)) continue;
          const message = `\`${folder}\` was trained with ${name} = ${JSON.stringify(there)}, and \`${a.name}\` has ${name} = ${JSON.stringify(here)}: it acts as the file says`;
          const notes = [`\`attach … = load("${folder}") to …\` takes what the folder says`];
          found.set(message, { code: "P0699", severity: "warning", message, span: a.span, notes });
        }
      }
  return [...found.values(), ...project.models.flatMap((model) => elsewhere(project, model, folder, adapter))];
}

/** P0690: no attachment is left for a part: of its method there is none, or those that there are have the values of parts with other options. */
export function unattached(project: Project, folder: string, adapter: AdapterFolder, part: AdapterFolder["parts"][number]): InputError {
  const load = `\`attach … = load("${folder}") to …\` attaches what the folder says`;
  const alike = adapter.parts.filter(({ method, from }) => method === part.method && from === part.from);
  const here = project.attachments.filter(({ method, declaredIn }) => method === part.method && declaredIn === part.from);
  if (here.length === 0)
    return new InputError("P0690", `\`${folder}\` holds ${part.method} of ${part.from}, which the file does not attach`, [
      `the file attaches: ${project.attachments.map((a) => a.method).join(", ") || "nothing"}`,
      load,
    ]);
  const names = Object.keys(part.options).filter((name) =>
    alike.some((one) => JSON.stringify(one.options[name]) !== JSON.stringify(part.options[name])),
  );
  const forms = alike.map(({ options, sites }) => {
    const said = names.map((name) => `${name}: ${JSON.stringify(options[name])}`).join(", ");
    return `${part.method}(${said}) at \`${sites[0].path}\`${sites.length > 1 ? ` and ${sites.length - 1} more` : ""}`;
  });
  return new InputError(
    "P0690",
    `\`${folder}\` holds ${part.method} in ${alike.length} forms (its options differ by module, as rank_pattern and alpha_pattern say), and the file attaches ${here.length}`,
    [...forms.slice(0, 6), load, "or attach each of them in the file"],
  );
}

/** P0608 of a model that takes the adapter's values, at what it attaches. */
function elsewhere(project: Project, model: ModelReport, folder: string, adapter: AdapterFolder): Problem[] {
  const takes = project.attachments.find(
    (a) => a.model === model.name && adapter.parts.some(({ sites }) => sites.some(({ path }) => a.sites.some((s) => s.path === path))),
  );
  if (takes === undefined) return [];
  const weighted = Object.entries(model.modules).map(([path, kinds]) => ({ path, kinds, shape: model.shapes[`${path}.weight`] ?? [] }));
  return misplaced(folder, adapter, weighted, model.config.vocab_size, takes.span);
}

/** Numbers that went through f32 or a text are the same. */
const same = (a: Static, b: Static): boolean =>
  typeof a === "number" && typeof b === "number"
    ? Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), Math.abs(b))
    : JSON.stringify(a) === JSON.stringify(b);
