// The Hugging Face tokenizers library (Rust, through its Node binding) on one thread: the peer of our tokenizer.
//   node bench/peers/tokenize.mjs FOLDER_WITH_node_modules tokenizer.json corpus.jsonl.gz
// Prints one JSON object; MB are 10^6 bytes of UTF-8.
process.env.RAYON_NUM_THREADS = "1";
process.env.TOKENIZERS_PARALLELISM = "false";
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [modules, file, corpus] = process.argv.slice(2);
const { Tokenizer } = createRequire(join(modules, "node_modules", "x.js"))("tokenizers");
let path = file;
if (file.endsWith(".gz")) {
  path = join(tmpdir(), `tokenizer-${process.pid}.json`);
  writeFileSync(path, gunzipSync(readFileSync(file)));
}
let load = Infinity;
for (let pass = 0; pass < 3; pass++) {
  const start = performance.now();
  Tokenizer.fromFile(path);
  load = Math.min(load, performance.now() - start);
}
const tokenizer = Tokenizer.fromFile(path);
const texts = gunzipSync(readFileSync(corpus)).toString("utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));
const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
let best = Infinity;
let tokens = 0;
let ids = [];
for (let pass = 0; pass < 3; pass++) {
  const start = performance.now();
  const encoded = await tokenizer.encodeBatch(texts, { addSpecialTokens: false });
  best = Math.min(best, (performance.now() - start) / 1000);
  tokens = encoded.reduce((sum, each) => sum + each.getLength(), 0);
  ids = encoded.map((each) => Array.from(each.getIds()));
}
let decoding = Infinity;
let written = 0;
for (let pass = 0; pass < 3; pass++) {
  const start = performance.now();
  const decoded = await tokenizer.decodeBatch(ids, false);
  decoding = Math.min(decoding, (performance.now() - start) / 1000);
  written = decoded.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}
console.log(JSON.stringify({
  megabytes_per_second: bytes / best / 1e6,
  tokens,
  decoded_per_second: written / decoding / 1e6,
  load_milliseconds: load,
}));
