/** Names that belong to one thing alone: in loops the same text makes several. */
import { unique } from "../names.ts";

/** What has been named so far. */
interface Named {
  readonly models: readonly { readonly name: string }[];
  readonly attachments: readonly { readonly name: string }[];
}

export class OwnNames {
  private readonly owners = new Set<string>();
  private readonly ofAttachments = new Set<string>();
  private seen = 0;
  private readonly lastStages = new Map<string, number>();
  private readonly lastNumbers = new Map<string, number>();
  private stamps = 0;

  constructor(private readonly named: Named) {}

  /** A name for a model that no other has. */
  model(name: string): string {
    return unique(name, (n) => this.named.models.some((m) => m.name === n))[0];
  }

  /** A name for an attachment that no other and no model has. */
  attachment(name: string, model?: string): string {
    const { models, attachments } = this.named;
    for (; this.seen < attachments.length; this.seen++) this.ofAttachments.add(attachments[this.seen].name);
    const taken = (n: string) => this.ofAttachments.has(n) || models.some((m) => m.name === n);
    const base = model === undefined ? name : taken(name) ? `${model}_${name}` : name;
    // names are never given back, so the search goes on where it ended
    const [found, last] = unique(base, taken, this.lastNumbers.get(base));
    this.lastNumbers.set(base, last);
    return found;
  }

  /** What the states of a stage are called after: no other stage's are. */
  stageOwner(name: string): string {
    const [owner, last] = unique(name, (n) => this.owners.has(n), this.lastStages.get(name));
    this.lastStages.set(name, last);
    this.owners.add(owner);
    return owner;
  }

  /** Places in the file's order for `n` lines. */
  takeStamps(n: number): { base: number; step: number } {
    const base = this.stamps;
    this.stamps += n;
    return { base, step: 1 };
  }
}
