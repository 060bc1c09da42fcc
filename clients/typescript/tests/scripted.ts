/** A server that answers by script, over a real port. */

import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Reply = (response: ServerResponse) => void;

export const STREAM = { "Content-Type": "text/event-stream; charset=utf-8" };
export const session = (phase: string) => ({ id: 1005, progress: { phase } });
export const problem = (status: number, code: string, retryable: boolean) =>
  ({ title: "Title", detail: "Detail.", status, code, retryable });
export const event = (type: string, data: unknown, id = "") =>
  `event: ${type}\n${id && `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
export const told = (phase: string, id: string) => event("session", session(phase), id);

/** A stream that says all this and ends. */
export const stream = (...said: string[]): Reply => (response) =>
  void response.writeHead(200, STREAM).end(["retry: 3000\n\n", ...said].join(""));
/** A stream that says all this and then nothing more. */
export const silent = (...said: string[]): Reply => (response) => {
  response.writeHead(200, STREAM).flushHeaders();
  for (const part of said) response.write(part);
};
export const json = (status: number, body: unknown, headers = {}): Reply => (response) =>
  void response
    .writeHead(status, { "Content-Type": "application/json", ...headers })
    .end(JSON.stringify(body));
export const polled = (phase: string, tag: string, maxAge = 5): Reply =>
  json(200, session(phase), { ETag: tag, "Cache-Control": `max-age=${maxAge}`, Age: "2" });
export const hangUp: Reply = (response) => void response.socket?.destroy();

export interface Asked {
  paths: string[];
  headers: IncomingHttpHeaders[];
}

/** Gives these answers in turn while `use` runs, and notes what was asked; then it hangs up. */
export async function serving(
  replies: Reply[],
  use: (url: string, asked: Asked) => Promise<void>,
): Promise<Asked> {
  const asked: Asked = { paths: [], headers: [] };
  const left = [...replies];
  const server = createServer((request, response) => {
    asked.paths.push(request.url ?? "");
    asked.headers.push(request.headers);
    (left.shift() ?? hangUp)(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await use(`http://127.0.0.1:${port}`, asked);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  return asked;
}
