// Starts Swagger UI on the gateway's own document.
"use strict";

// Swagger UI's dark colours hang on a class, not on the browser's preference: carry it over.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

const base = new URL(".", document.baseURI).href;

async function start() {
  // Relative, so that it holds behind a path prefix.
  const spec = await (await fetch(new URL("openapi.json", base))).json();
  // The page may only ask where it came from, and knows better than the gateway where that is.
  spec.servers = [{ url: base.replace(/\/$/, ""), description: "This gateway." }];
  SwaggerUIBundle({
    dom_id: "#swagger-ui",
    spec,
    deepLinking: true,
    tryItOutEnabled: true,
    displayOperationId: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    // Its colours are made for black boxes, and an operation has more than a dozen of them.
    syntaxHighlight: false,
    // The default sends the document's address to a validator elsewhere.
    validatorUrl: null,
  });
}

start();
