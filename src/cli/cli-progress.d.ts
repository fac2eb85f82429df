/** What we use of `cli-progress`, which ships no types. */
declare module "cli-progress" {
  export interface BarOptions {
    format?: string;
    barsize?: number;
    hideCursor?: boolean;
    clearOnComplete?: boolean;
    linewrap?: boolean | null;
    gracefulExit?: boolean;
  }
  export class SingleBar {
    constructor(options: BarOptions, preset?: object);
    start(total: number, value: number, payload?: object): void;
    update(value: number, payload?: object): void;
    stop(): void;
  }
  export const Presets: { readonly shades_classic: object };
}
