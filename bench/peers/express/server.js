// Express with lru-cache: the answer's bytes are kept, as fetched from an origin.
"use strict";

const express = require("express");
const { LRUCache } = require("lru-cache");

const { PORT, ORIGIN } = process.env;
const cache = new LRUCache({ max: 10_000, ttl: 3_600_000 });
const app = express();

app.get("/sessions/:id", async (req, res) => {
  const { id } = req.params;
  let body = cache.get(id);
  if (!body) {
    const answer = await fetch(`${ORIGIN}/sessions/${encodeURIComponent(id)}`);
    if (!answer.ok) return res.sendStatus(502);
    body = Buffer.from(await answer.arrayBuffer());
    cache.set(id, body);
  }
  res.set("Content-Type", "application/json").send(body);
});

app.listen(Number(PORT), "127.0.0.1");
