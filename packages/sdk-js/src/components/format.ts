/** Write amounts, counts and times as people read them. Amounts come from the API as decimal strings of USD. */

/** Return an amount of USD: at least cents, and as many digits as a price of a fraction of a cent needs. */
export function money(usd: string | number | null | undefined, language = "en"): string {
  const amount = Number(usd ?? 0);
  if (!Number.isFinite(amount)) return "–";
  const size = Math.abs(amount);
  const digits = size === 0 || size >= 1 ? 2 : size >= 0.01 ? 4 : 6;
  const least = size > 0 && size < 0.0000005 ? 9 : digits;
  return new Intl.NumberFormat(language, {
    style: "currency",
    currency: "USD",
    currencyDisplay: "narrowSymbol",
    minimumFractionDigits: 2,
    maximumFractionDigits: least,
  }).format(amount);
}

export function count(number: number, language = "en"): string {
  return new Intl.NumberFormat(language).format(number);
}

/** Return a moment as day and time; the year only where it is another one. */
export function moment(at: string | null | undefined, language = "en"): string {
  const when = new Date(at ?? Number.NaN);
  if (Number.isNaN(when.getTime())) return "–";
  const sameYear = when.getFullYear() === new Date().getFullYear();
  return new Intl.DateTimeFormat(language, {
    month: "short",
    day: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    ...(sameYear ? {} : { year: "numeric" }),
  }).format(when);
}

export function day(at: string | Date, language = "en"): string {
  return new Intl.DateTimeFormat(language, { month: "short", day: "numeric" }).format(new Date(at));
}
