/** Reads text/event-stream (HTML standard, section 9.2.6). Must not know what the events mean. */

export interface ServerEvent {
  type: string;
  data: string;
  /** The last event id that the stream has told, empty if none. */
  id: string;
  /** Milliseconds to wait before a new connection, as the stream has told; undefined if not. */
  retry: number | undefined;
}

/** Characters of one event, at most: more than the largest session, less than a page can bear. */
export const MOST = 2 ** 23;

/** The parser of one connection: bytes as they come, events as they are whole. */
export class EventParser {
  #decoder = new TextDecoder(); // drops a byte order mark
  #line = "";
  #afterReturn = false;
  #type = "";
  #data: string[] = [];
  #length = 0; // of the data so far
  #id = "";
  #retry: number | undefined;

  /**
   * The events that these bytes complete. What the stream ends within is never told. Each byte is
   * looked at once. Throws RangeError if one event has more than MOST characters.
   */
  push(bytes: Uint8Array): ServerEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    // A line ends with its CR, not with the LF that may follow in the next bytes.
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    this.#afterReturn = text.endsWith("\r");
    const events: ServerEvent[] = [];
    let start = 0;
    for (const { index, 0: end } of text.matchAll(/\r\n?|\n/g)) {
      this.#take(text.slice(start, index));
      start = index + end.length;
      if (this.#line === "") events.push(...this.#dispatch());
      else this.#field(this.#line);
      this.#line = "";
    }
    this.#take(text.slice(start));
    return events;
  }

  #take(piece: string): void {
    if (this.#length + this.#line.length + piece.length > MOST) {
      throw new RangeError(`An event of more than ${MOST} characters`);
    }
    this.#line += piece;
  }

  #dispatch(): ServerEvent[] {
    const [type, data] = [this.#type || "message", this.#data];
    this.#type = "";
    this.#data = [];
    this.#length = 0;
    if (data.length === 0) return [];
    return [{ type, data: data.join("\n"), id: this.#id, retry: this.#retry }];
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.#type = value;
    else if (name === "data") this.#length += this.#data.push(value) && value.length + 1;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#retry = Number(value);
    // anything else, comments included, means nothing
  }
}
