/** One session as it looks. Must not know where it comes from. */

import { html, say } from "./dom.js";
import { icon, scene, type IconName } from "./icons.js";
import type { Connection, Shown } from "./wall.js";
import { ago, doneOf, formOf, phaseOf, titleOf, troubleOf } from "./words.js";

const CONNECTIONS: Record<Connection, string> = {
  loading: "Loading",
  live: "Live",
  polling: "Polling",
  reconnecting: "Reconnecting",
  final: "Final",
  lost: "Not available",
};
const ICONS: Partial<Record<Connection, IconName>> = { lost: "stop" };

/** What a card asks of the page. */
export interface Wishes {
  remove: (id: number) => void;
  retry: (id: number) => void;
}

export class Card {
  readonly element: HTMLLIElement;
  readonly remove: HTMLButtonElement;
  #shown: Shown | null = null;
  #picture = html("img", { class: "thumbnail", alt: "", decoding: "async", referrerpolicy: "no-referrer" });
  #phase = html("p", { class: "phase" });
  #title = html("a");
  #form = html("p", { class: "form" });
  #percent = html("span", { class: "percent" });
  #done = html("span", { class: "done" });
  #bar = html("progress", { max: 100, value: 0 });
  #meter = html("div", { class: "meter" }, html("p", {}, this.#percent, this.#done), this.#bar);
  #troubleTitle = html("strong");
  #troubleText = html("span");
  #retry = html("button", { type: "button", class: "quiet" }, "Try again");
  #trouble = html("p", { class: "reason" }, this.#troubleTitle, this.#troubleText);
  #link = html("span", { class: "link" });
  #age = html("span", { class: "age" });
  #licence = html("a", { class: "licence", rel: "license noreferrer" });

  constructor(
    readonly id: number,
    gateway: string,
    wishes: Wishes,
  ) {
    const heading = `title-${id}`;
    this.remove = html(
      "button",
      { type: "button", class: "remove", "aria-label": `Remove session ${id}` },
      icon("remove"),
    );
    this.remove.addEventListener("click", () => wishes.remove(id));
    this.#retry.addEventListener("click", () => wishes.retry(id));
    this.#retry.setAttribute("aria-label", `Try session ${id} again`);
    this.#title.href = `${gateway}/sessions/${id}`;
    this.#bar.setAttribute("aria-label", `Progress of session ${id}`);
    this.#picture.addEventListener("load", () => this.#picture.classList.add("loaded"));
    this.#picture.addEventListener("error", () => this.#picture.classList.remove("loaded"));
    const picture = html("div", { class: "picture" });
    picture.append(scene(id), this.#picture, this.#phase, this.remove, this.#licence);
    const body = html("div", { class: "body" });
    body.append(
      html("h3", { id: heading }, this.#title),
      this.#form,
      this.#meter,
      this.#trouble,
      html("div", { class: "foot" }, this.#link, this.#age, this.#retry),
    );
    const article = html("article", { "aria-labelledby": heading }, picture, body);
    this.element = html("li", { class: "card" }, article);
    this.draw({ session: null, failure: null, connection: "loading", asOf: null });
  }

  draw(shown: Shown): void {
    this.#shown = shown;
    const { session, failure, connection } = shown;
    const held = heldUp(shown);
    const [word, tone] = session ? phaseOf(session) : [held ?? CONNECTIONS[connection], "none" as const];
    const sign = ICONS[connection] ?? (connection as IconName);
    Object.assign(this.element.dataset, { tone, connection, empty: session === null });
    this.element.firstElementChild?.setAttribute("aria-busy", String(connection === "loading"));
    mark(this.#phase, session ? tone : held ? "wait" : sign, word);
    say(this.#title, titleOf(this.id, session));
    say(this.#form, session ? formOf(session) : `No. ${this.id}`);
    this.#drawMeter(shown);
    this.#drawPicture(shown);
    this.#drawLicence(shown);
    const trouble = failure && troubleOf(failure);
    this.#trouble.hidden = session !== null || trouble === null;
    say(this.#troubleTitle, trouble?.title ?? "");
    say(this.#troubleText, trouble?.text ?? "");
    this.#retry.hidden = connection !== "lost";
    mark(this.#link, held ? "wait" : sign, held ? "Trying again" : CONNECTIONS[connection]);
    this.#link.dataset["state"] = held ? "held" : connection;
    this.tick(Date.now());
  }

  /** How old it is by now. */
  tick(now: number): void {
    const { asOf = null, connection = "loading", failure = null } = this.#shown ?? {};
    const verb = failure ? "as of" : connection === "live" ? "changed" : "checked";
    const isTold = asOf !== null && connection !== "final" && connection !== "lost";
    say(this.#age, isTold ? `${verb} ${ago(asOf, now)}` : "");
  }

  #drawMeter({ session, connection }: Shown): void {
    const percent = session?.progress.percent ?? null;
    this.#meter.classList.toggle("bone", connection === "loading");
    this.#bar.value = percent ?? 0;
    this.#bar.setAttribute("aria-valuetext", session ? `${percent ?? "?"} %, ${doneOf(session)}` : "Not known yet");
    say(this.#percent, percent === null ? "–" : `${percent} %`);
    say(this.#done, session ? doneOf(session) : "");
  }

  #drawPicture({ session }: Shown): void {
    const newest = session?.thumbnails.at(-1)?.url ?? "";
    if (newest && this.#picture.getAttribute("src") !== newest) this.#picture.src = newest;
  }

  #drawLicence({ session }: Shown): void {
    const licence = session?.outputLicense ?? session?.inputLicense ?? null;
    const address = licence?.url && /^https?:/i.test(licence.url) ? licence.url : "";
    this.#licence.hidden = address === "";
    if (address) this.#licence.href = address;
    say(this.#licence, licence?.name || "Licence");
  }
}

/** What holds up a session that the gateway does answer for; null if nothing does. */
function heldUp({ session, failure, connection }: Shown): string | null {
  if (!failure?.problem || connection === "lost") return null;
  return session ? "Held up" : "Not available yet";
}

/** An icon and its word; drawn anew only when the word is another. */
function mark(element: HTMLElement, name: IconName, word: string): void {
  if (element.textContent === word && element.dataset["icon"] === name) return;
  element.dataset["icon"] = name;
  element.replaceChildren(icon(name), html("span", {}, word));
}
