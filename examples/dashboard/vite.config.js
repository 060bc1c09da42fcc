import { defineConfig } from "vite";

const gateway = "http://127.0.0.1:8000";

export default defineConfig({
  base: "./", // every address is relative: the page works below /demo and behind any prefix
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the policy allows no data: but pictures
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/sessions": gateway, "/problems": gateway, "/me": gateway, "/login": gateway, "/logout": gateway } },
});
