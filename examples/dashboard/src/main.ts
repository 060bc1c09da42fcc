/** Builds the page from its address, and keeps the address right. */

import { createClient } from "renderfarm-gateway-client";

import { MOST, read, sessionId, write } from "./address.js";
import { Card } from "./card.js";
import { say } from "./dom.js";
import { Mine } from "./mine.js";
import { Wall, type Shown } from "./wall.js";
import { isShared, phaseOf, titleOf, troubleOf } from "./words.js";

const SANDBOX = [1005, 1004, 1006, 1007, 1011, 1003, 1002, 1001, 1008, 1009, 1010, 1012];

const find = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const list = find<HTMLUListElement>("wall");
const input = find<HTMLInputElement>("number");
const wrong = find("wrong");

const { ids: first, gateway: base } = read(new URL(location.href));
let ids = first;
const cards = new Map<number, Card>();
const states = new Map<number, Shown>();
const gateway = createClient(base);
const wall = new Wall(gateway, show);

function show(id: number, shown: Shown): void {
  announce(id, states.get(id), shown);
  states.set(id, shown);
  cards.get(id)?.draw(shown);
  summarise();
}

/** Phase changes, for those who do not see them. */
function announce(id: number, before: Shown | undefined, { session }: Shown): void {
  if (!session || !before?.session) return;
  const [[was], [is]] = [phaseOf(before.session), phaseOf(session)];
  if (was !== is) say(find("news"), `${titleOf(id, session)}: ${is}`);
}

/** How news of a session come, in a word. */
function wayOf({ connection, failure }: Shown): string {
  if (connection === "lost") return "not available";
  return failure?.problem ? "held up" : connection;
}

function summarise(): void {
  const all = [...states.values()];
  const counts = (["live", "polling", "reconnecting", "held up", "final", "not available"] as const)
    .map((way) => [all.filter((shown) => wayOf(shown) === way).length, way] as const)
    .filter(([count]) => count > 0)
    .map(([count, way]) => `${count} ${way}`);
  say(find("summary"), counts.join(" · ") || (ids.length > 0 ? "Connecting…" : "Render sessions, live"));

  const failures = all.flatMap(({ failure }) => (failure && isShared(failure) ? [failure] : []));
  const failure = failures.find(({ problem }) => problem) ?? failures[0];
  const isNone = !failure;
  if (find("trouble").hidden !== isNone) {
    find("trouble").hidden = isNone;
    say(find("news"), failure ? troubleOf(failure).title : "All is well again");
  }
  if (!failure) return;
  const { title, text } = troubleOf(failure);
  say(find("trouble-title"), title);
  say(find("trouble-text"), text);
}

/** These sessions, in this order: cards that stay are not touched. */
function arrange(wanted: number[]): void {
  ids = wanted;
  for (const [id, card] of cards) {
    if (ids.includes(id)) continue;
    card.element.remove();
    cards.delete(id);
    states.delete(id);
  }
  for (const id of ids) {
    if (cards.has(id)) continue;
    const card = new Card(id, base, { remove, retry: (lost) => wall.retry(lost) });
    card.element.dataset["id"] = String(id);
    cards.set(id, card);
    list.append(card.element);
  }
  wall.set(ids);
  find("empty").hidden = ids.length > 0;
  history.replaceState(null, "", write(new URL(location.href), ids) || "?");
  summarise();
}

function remove(id: number): void {
  const at = ids.indexOf(id);
  arrange(ids.filter((it) => it !== id));
  // The focus goes where the card was, not back to the top of the page.
  const next = cards.get(ids[at] ?? ids[at - 1] ?? 0);
  (next?.remove ?? input).focus();
}

function add(event: SubmitEvent): void {
  event.preventDefault();
  const id = sessionId(input.value);
  const told =
    id === null
      ? "A session's number is a whole number from 1 to 2147483647."
      : ids.includes(id)
        ? `Session ${id} is here already.`
        : ids.length >= MOST
          ? `There is room for ${MOST} sessions.`
          : "";
  say(wrong, told);
  input.setAttribute("aria-invalid", String(told !== ""));
  input.focus();
  if (told || id === null) return;
  arrange([...ids, id]);
  input.value = "";
  cards.get(id)?.element.scrollIntoView({ block: "nearest" });
}

find<HTMLFormElement>("add").addEventListener("submit", add);
find<HTMLAnchorElement>("sandbox").href = write(new URL(location.href), SANDBOX);
document.addEventListener("visibilitychange", () => wall.sleep(document.hidden));
setInterval(() => cards.forEach((card) => card.tick(Date.now())), 1000);
arrange(ids);
new Mine(
  gateway,
  {
    open: find<HTMLButtonElement>("mine-open"),
    section: find("mine"),
    text: find("mine-text"),
    list: find("mine-list"),
    login: find<HTMLAnchorElement>("mine-login"),
    logout: find<HTMLButtonElement>("mine-logout"),
  },
  (id) => {
    if (!ids.includes(id) && ids.length < MOST) arrange([...ids, id]);
    cards.get(id)?.element.scrollIntoView({ block: "nearest" });
  },
);
