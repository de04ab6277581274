import type { Context } from "./context.js";
import { internals } from "./index.js";
import type { FlushResult, UsageReport } from "./types.js";

const { exclusively, FaucetError, readJson, REPORTS } = internals;

/** The gateway takes no older report (milliseconds), and no more of them at once. */
const OLDEST = 7 * 24 * 3600 * 1000;
const AT_ONCE = 100;
/** Refusals that end when the user tops up or a month is over: such a report is kept and sent again. */
const FOR_NOW = new Set(["insufficient_funds", "budget_exceeded", "wallet_frozen"]);
/** Of receipts' ids: those of the latest calls. */
const KEPT_IDS = 200;

interface Kept {
  /** Whose call it was; null where no session had told yet. */
  user: string | null;
  report: UsageReport;
}
interface Answered {
  report_id: string;
  state: "accepted" | "duplicate" | "rejected";
  request_id?: string | null;
  price_usd?: string | null;
  error?: { code?: string } | null;
}

/**
 * Usage of local models that no gateway has heard of yet. It is kept in the storage until the gateway has answered, so
 * that it survives a restart; the gateway knows a report by its id, so that one that is sent twice counts once.
 */
export class Reports {
  /** The gateway's ids of calls that were reported. */
  readonly requests = new Map<string, string>();

  constructor(private readonly context: Context) {}

  async pending(): Promise<UsageReport[]> {
    return (await this.read()).map(({ report }) => report);
  }

  async add(user: string | null, report: UsageReport): Promise<void> {
    await this.change((all) => [...all, { user, report }]);
    if (user) void this.flush().catch(() => undefined); // else with the next session or call
  }

  /** Sends what is kept of the present user. Throws FaucetError; then everything is still kept. */
  flush(feature?: string): Promise<FlushResult> {
    const { context } = this;
    return exclusively(context.storage, this.name("flush"), async () => {
      const count = { accepted: 0, duplicate: 0, rejected: 0 };
      if ((await this.read()).length) {
        const { session } = await context.sessions.get(feature);
        const mine = ({ user }: Kept): boolean => user === null || user === session.end_user_id;
        for (;;) {
          const reports = (await this.read()).filter(mine).slice(0, AT_ONCE).map(({ report }) => report);
          if (!reports.length) break;
          const sent = { body: { reports }, again: true };
          const { data } = (await context.call("local/usage-reports", sent, readJson, feature)) as { data: Answered[] };
          if (!data.length) break;
          const over = data.filter(({ state, error }) => state !== "rejected" || !FOR_NOW.has(error?.code ?? ""));
          const known = new Set(over.map(({ report_id }) => report_id));
          await this.change((all) => all.filter(({ report }) => !known.has(report.report_id)));
          over.forEach((each) => this.note(each, count));
          if (over.length < data.length) break; // the others would be refused again
        }
      }
      return { ...count, pending: (await this.read()).length };
    });
  }

  private note({ report_id, state, request_id, price_usd, error }: Answered, count: Record<string, number>): void {
    count[state] = (count[state] ?? 0) + 1;
    if (request_id) this.requests.set(report_id, request_id);
    for (const old of [...this.requests.keys()].slice(0, -KEPT_IDS)) this.requests.delete(old);
    if (state === "accepted" && Number(price_usd) > 0) {
      this.context.emit({ type: "balance", spent_usd: price_usd ?? undefined });
    }
    if (state === "rejected") {
      const told = new FaucetError("The gateway refused a usage report.", { code: error?.code ?? "report_rejected" });
      this.context.emit({ type: "error", error: told });
    }
  }

  private name(what: string): string {
    return this.context.key(what);
  }

  private async read(): Promise<Kept[]> {
    try {
      const all = JSON.parse((await this.context.storage.getItem(this.name(REPORTS))) ?? "[]") as Kept[];
      return all.filter(({ report }) => Date.parse(report.started_at) > Date.now() - OLDEST);
    } catch {
      return []; // not ours, or not whole
    }
  }

  private change(work: (all: Kept[]) => Kept[]): Promise<void> {
    const { storage } = this.context;
    const name = this.name(REPORTS);
    return exclusively(storage, name, async () => {
      const all = work(await this.read());
      await (all.length ? storage.setItem(name, JSON.stringify(all)) : storage.removeItem(name));
    });
  }
}
