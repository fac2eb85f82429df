/**
 * Asking the hub, on the guard: the token goes to the hub's own origin and nowhere else, redirects are followed here one by one, nothing is waited for without
 * an end, and answers that are read whole have a greatest length, counted after decompression.
 */
import { InputError } from "../ir/errors.ts";

/** Nobody answered, or stopped in the middle. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
}

interface HttpSettings {
  readonly endpoint: string;
  readonly token: string | undefined;
  /** Seconds without a byte after which a connection is given up. */
  readonly patience: number;
  /** Instead of `MOST_ANSWERS`. */
  readonly answers?: number;
}

/** Bytes of an answer that is read whole: a page of a listing, what is known of a repository. */
export const LONGEST_ANSWER = 32 * 2 ** 20;
/** Answers to one source, pages of its listing included: a thousand files a page. */
const MOST_ANSWERS = 1000;
const MOST_REDIRECTS = 10;

export interface Answer {
  readonly response: Response;
  /** Pieces of the body. `Unreachable` where it breaks off or stalls. */
  pieces(): AsyncGenerator<Uint8Array>;
  /** Reads no more. */
  drop(): void;
}

export class HubHttp {
  private readonly origin: URL;
  private answers = 0;

  /** P0677: `endpoint` is no address. */
  constructor(private readonly settings: HttpSettings) {
    if (!URL.canParse(settings.endpoint) || !/^https?:$/.test(new URL(settings.endpoint).protocol))
      throw new InputError("P0677", `HF_ENDPOINT is ${JSON.stringify(settings.endpoint)}, which is no http address`);
    this.origin = new URL(settings.endpoint);
  }

  /** In the shape of `fetch`, for the hub's library: the whole answer of the hub itself. */
  readonly whole = async (input: string | URL | Request): Promise<Response> => {
    const most = this.settings.answers ?? MOST_ANSWERS;
    if (++this.answers > most)
      throw new InputError("P0677", `${this.settings.endpoint} does not come to an end: ${most} answers and more for one source`);
    const url = input instanceof Request ? input.url : String(input);
    const { response, pieces, drop } = await this.ask(url, { accept: "application/json" }, false);
    const parts: Uint8Array[] = [];
    let length = 0;
    const until = performance.now() + 10_000 * this.settings.patience;
    for await (const piece of pieces()) {
      parts.push(piece);
      length += piece.length;
      if (length <= LONGEST_ANSWER && performance.now() <= until) continue;
      drop();
      throw length > LONGEST_ANSWER
        ? new InputError("P0677", `${this.settings.endpoint} answers with more than ${LONGEST_ANSWER} bytes where a list is wanted`)
        : new Unreachable(`${this.settings.endpoint} answers too slowly`);
    }
    const { status, headers } = response;
    // already decompressed
    const told = new Headers(headers);
    for (const name of ["content-encoding", "content-length"]) told.delete(name);
    const answer = new Response(Buffer.concat(parts), { status, headers: told });
    Object.defineProperty(answer, "url", { value: url });
    return answer;
  };

  /** A file's content, from whatever host the hub sends to. */
  file(path: string, from: number): Promise<Answer> {
    const headers: Record<string, string> = { "accept-encoding": "identity" };
    if (from > 0) headers.range = `bytes=${from}-`;
    return this.ask(`${this.settings.endpoint}${path}`, headers, true);
  }

  private async ask(first: string, headers: Readonly<Record<string, string>>, elsewhere: boolean): Promise<Answer> {
    let url = new URL(first);
    for (let hops = 0; ; hops++) {
      const own = url.origin === this.origin.origin;
      if (!own && !elsewhere) throw new InputError("P0677", `${this.settings.endpoint} sends to ${url.origin}, which is not the hub`);
      if (!/^https?:$/.test(url.protocol) || (this.origin.protocol === "https:" && url.protocol !== "https:"))
        throw new InputError("P0677", `${this.settings.endpoint} sends to ${url.origin}, which is not encrypted`);
      const { token } = this.settings;
      const answer = await this.once(url, own && token !== undefined ? { ...headers, authorization: `Bearer ${token}` } : headers);
      const { status } = answer.response;
      const location = answer.response.headers.get("location");
      if (status < 300 || status > 399 || location === null) return answer;
      answer.drop();
      if (hops === MOST_REDIRECTS || !URL.canParse(location, url.href))
        throw new InputError("P0677", `${this.settings.endpoint} sends from place to place, and never to a file`);
      url = new URL(location, url.href);
    }
  }

  private async once(url: URL, headers: Readonly<Record<string, string>>): Promise<Answer> {
    const { patience } = this.settings;
    const ending = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(() => ending.abort(), patience * 1000);
    };
    const broken = (error: unknown): Unreachable =>
      new Unreachable(
        ending.signal.aborted
          ? `${url.host} says nothing for ${patience} s`
          : `${url.host}: ${error instanceof Error ? reason(error) : String(error)}`,
      );
    wait();
    let response: Response;
    try {
      response = await fetch(url, { headers, redirect: "manual", signal: ending.signal });
    } catch (error) {
      clearTimeout(timer);
      throw broken(error);
    }
    const { body } = response;
    const drop = () => {
      clearTimeout(timer);
      ending.abort();
    };
    return {
      response,
      drop,
      async *pieces() {
        try {
          for await (const piece of (body ?? []) as unknown as AsyncIterable<Uint8Array>) {
            clearTimeout(timer);
            yield piece;
            wait();
          }
        } catch (error) {
          throw broken(error);
        } finally {
          drop();
        }
      },
    };
  }
}

/** `fetch` wraps what the system says. */
const reason = (error: Error): string => (error.cause instanceof Error ? error.cause.message : error.message);
