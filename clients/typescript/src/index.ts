/** A typed client of the Renderfarm gateway: what a page may import. Must hold no code. */

export { type Answer, type AskOptions, type AskSome, type PartList } from "./answer.js";
export { createClient, type Gateway } from "./client.js";
export { PollError } from "./failure.js";
export { hasEnded, type PollOptions } from "./poll.js";
export { isProblem } from "./problem.js";
export { type Watched } from "./session.js";
export { type SessionsWatch, type WatchedItem, type WatchedSessions } from "./sessions.js";
export { type Connection, type WatchOptions } from "./watch.js";
export type {
  Attachment,
  BlendFile,
  Code,
  components,
  InvalidPart,
  License,
  MySession,
  MySessions,
  operations,
  paths,
  Phase,
  Problem,
  ProblemPage,
  Progress,
  Queue,
  Session,
  SessionItem,
  SessionList,
  SessionPart,
  State,
  Thumbnail,
  Timestamps,
  UpstreamCall,
} from "./schema.js";
