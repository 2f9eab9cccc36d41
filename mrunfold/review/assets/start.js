"use strict";

const ALPHABET = '@ALPHABET@'; // no ' in it
const CODES = new Uint8Array(128);
for (let i = 0; i < ALPHABET.length; i++) CODES[ALPHABET.charCodeAt(i)] = i;

// So many bytes of a text: two characters are 13 bits.
function bytesOf(text, count) {
  const bytes = new Uint8Array(count);
  let [held, bits, n] = [0, 0, 0];
  for (let i = 0; n < count; i += 2) {
    held = (held << 13) | (CODES[text.charCodeAt(i)] * ALPHABET.length + CODES[text.charCodeAt(i + 1)]);
    for (bits += 13; bits >= 8 && n < count; n++) {
      bits -= 8;
      bytes[n] = held >> bits;
    }
    held &= (1 << bits) - 1;
  }
  return bytes;
}

// What was deflated with gzip, whose checksum is looked at.
async function unzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const page = JSON.parse(document.getElementById("page-data").textContent);

// Runs NiiVue, then what the page does; each is a script of the page's policy, by its hash.
(async () => {
  const run = (text) => {
    const script = document.createElement("script");
    script.textContent = text;
    document.body.append(script);
  };
  const packed = bytesOf(document.getElementById("niivue").textContent, page.bundle);
  run(new TextDecoder().decode(await unzipped(packed)));
  for (const one of document.querySelectorAll("script.run")) run(one.textContent);
})().catch((error) => {
  document.getElementById("status").textContent = `This browser cannot show the images (${error.message}); take a newer one.`;
  document.title = "cannot show";
});
