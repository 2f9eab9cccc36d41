"use strict";

// Unpacks NiiVue and runs it, then what the page does; each is a script of the page's policy, by its hash.
(async () => {
  const run = (text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.body.append(script);
  };
  const packed = Uint8Array.from(atob(document.getElementById("niivue").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  run(await new Response(stream).text());
  for (const one of document.querySelectorAll("script.run")) run(one.textContent);
})().catch((error) => {
  document.getElementById("status").textContent = `This browser cannot show the images (${error.message}); take a newer one.`;
  document.title = "cannot show";
});
