/** The visitor's own sessions at the farm: log in, attach, watch. Must not know how a card looks. */

import type { Gateway, MySession, Session } from "renderfarm-gateway-client";

import { html, say } from "./dom.js";

/** What the page's address says once a visitor has come back: their sessions are to be shown. */
const MARK = "mine";
const LISTED = 50;
const QUEUES = {
  accept: "Waits for approval",
  active: "Rendering",
  completed: "Completed",
  cancelled: "Cancelled",
  unknown: "",
} as const;

export interface Places {
  open: HTMLButtonElement;
  section: HTMLElement;
  text: HTMLElement;
  list: HTMLElement;
  login: HTMLAnchorElement;
  logout: HTMLButtonElement;
}

export class Mine {
  constructor(
    readonly gateway: Gateway,
    readonly at: Places,
    /** Puts a session that is attached on the wall. */
    readonly watch: (id: number) => void,
  ) {
    at.open.addEventListener("click", () => void this.show());
    at.logout.addEventListener("click", () => void this.#leave());
    const page = new URL(location.href);
    if (page.searchParams.has(MARK)) void this.show(page.searchParams.get("login"));
  }

  /** Asks who is logged in, and for their sessions. `outcome` is that of a login just now. */
  async show(outcome: string | null = null): Promise<void> {
    this.at.section.hidden = false;
    say(this.at.text, "One moment…");
    try {
      const { data, error } = await this.gateway.mySessions();
      if (data) await this.#list(data.items);
      else if (error.status === 401) this.#ask(outcome);
      else this.#say(error.code === "route_not_found" ? "This gateway has no logins." : error.detail);
    } catch {
      this.#say("The gateway cannot be reached.");
    }
  }

  #say(text: string): void {
    this.at.list.replaceChildren();
    this.at.login.hidden = this.at.logout.hidden = true;
    say(this.at.text, text);
  }

  #ask(outcome: string | null): void {
    const back = new URL(location.href);
    back.searchParams.set(MARK, "1");
    for (const told of ["login", "login_code"]) back.searchParams.delete(told);
    const isOurs = this.gateway.login().startsWith(`${back.origin}/`);
    this.#say(outcome === "denied" ? "You did not allow it." : outcome ? "That did not work." : "");
    this.at.login.href = this.gateway.login(isOurs ? back.pathname + back.search : back.href);
    this.at.login.hidden = false;
  }

  async #list(items: readonly MySession[]): Promise<void> {
    this.#say(items.length > 0 ? "" : "You have no sessions at the farm.");
    this.at.logout.hidden = false;
    const shown = items.slice(0, LISTED);
    const known = new Map<number, Session>();
    if (shown.length > 0) {
      const { data } = await this.gateway.getSessions(shown.map(({ id }) => id));
      for (const { id, session } of data?.items ?? []) if (session) known.set(id, session);
    }
    this.at.list.replaceChildren(...shown.map((item) => this.#row(item, known.get(item.id))));
  }

  #row(item: MySession, session: Session | undefined): HTMLLIElement {
    const button = html("button", { type: "button" }, session ? "Watch" : "Attach");
    const picture = session?.thumbnails[0]?.url;
    const told = html("span", {}, item.title ?? `Session ${item.id}`, html("small", {}, QUEUES[item.queue]));
    const row = html("li", { "data-mine": item.id }, told, button);
    if (picture) {
      const image = html("img", { src: picture, alt: "", width: 64, height: 36 });
      image.addEventListener("error", () => image.remove());
      row.prepend(image);
    }
    button.addEventListener("click", () => {
      if (session) this.watch(item.id);
      else void this.#attach(item.id, button);
    });
    return row;
  }

  async #attach(id: number, button: HTMLButtonElement): Promise<void> {
    button.disabled = true;
    try {
      const { error } = await this.gateway.attach(id);
      if (error) say(this.at.text, error.detail);
      else this.watch(id);
      await this.show();
    } catch {
      this.#say("The gateway cannot be reached.");
    }
  }

  async #leave(): Promise<void> {
    try {
      await this.gateway.logout();
    } finally {
      await this.show();
    }
  }
}
