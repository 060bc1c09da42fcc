/** What the page's address says: which sessions, of which gateway. Pure; must not know the page. */

/** As many as one list takes. */
export const MOST = 50;
const LARGEST = 2 ** 31 - 1;

export interface Address {
  ids: number[];
  /** The gateway's base address. */
  gateway: string;
}

/** Reads the address of a page that lies one folder below the gateway unless it names another. */
export function read(page: URL): Address {
  const ids = (page.searchParams.get("ids") ?? "").split(",").map(sessionId);
  const known = ids.filter((id) => id !== null);
  const named = page.searchParams.get("gateway");
  const base = named && /^https?:/i.test(named) && URL.canParse(named) ? new URL(named) : new URL("..", page);
  const gateway = (base.origin + base.pathname).replace(/\/$/, "");
  return { ids: [...new Set(known)].slice(0, MOST), gateway };
}

/** The page's address with these sessions in it, all else as it was. */
export function write(page: URL, ids: readonly number[]): string {
  const others = new URLSearchParams(page.search);
  others.delete("ids");
  const query = [ids.length > 0 ? `ids=${ids.join(",")}` : "", others.toString()];
  return `?${query.filter(Boolean).join("&")}`;
}

/** A session's number as people write it; null if it is none. */
export function sessionId(text: string): number | null {
  const trimmed = text.trim();
  return /^[1-9]\d{0,9}$/.test(trimmed) && Number(trimmed) <= LARGEST ? Number(trimmed) : null;
}
