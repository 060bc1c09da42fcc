/** Reads text/event-stream (HTML standard, section 9.2.6). Must not know what the events mean. */

export interface ServerEvent {
  type: string;
  data: string;
  /** The last event id that the stream has told, empty if none. */
  id: string;
  /** Milliseconds to wait before a new connection, as the stream has told; undefined if not. */
  retry: number | undefined;
}

/** The parser of one connection: bytes as they come, events as they are whole. */
export class EventParser {
  #decoder = new TextDecoder(); // drops a byte order mark
  #line = "";
  #afterReturn = false;
  #type = "";
  #data: string[] = [];
  #id = "";
  #retry: number | undefined;

  /** The events that these bytes complete. What the stream ends within is never told. */
  push(bytes: Uint8Array): ServerEvent[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === "") return [];
    // A line ends with its CR, not with the LF that may follow in the next bytes.
    if (this.#afterReturn && text.startsWith("\n")) text = text.slice(1);
    this.#afterReturn = text.endsWith("\r");
    const lines = (this.#line + text).split(/\r\n|\n|\r/);
    this.#line = lines.pop() ?? "";
    return lines.flatMap((line) => (line === "" ? this.#dispatch() : this.#field(line)));
  }

  #dispatch(): ServerEvent[] {
    const [type, data] = [this.#type || "message", this.#data];
    this.#type = "";
    this.#data = [];
    if (data.length === 0) return [];
    return [{ type, data: data.join("\n"), id: this.#id, retry: this.#retry }];
  }

  #field(line: string): [] {
    const [, name = "", value = ""] = /^([^:]*)(?:: ?(.*))?$/su.exec(line) ?? [];
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.#retry = Number(value);
    return []; // anything else, comments included, means nothing
  }
}
