// sharp, on one core and without its cache.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const sharp = createRequire(process.env.SHARP)("sharp");
sharp.concurrency(1);
sharp.cache(false);

const [folder, out] = process.argv.slice(2);
const tasks = JSON.parse(readFileSync(join(folder, "tasks.json"), "utf8"));
const white = { r: 255, g: 255, b: 255, alpha: 1 };

function encoded(image, { format, quality }, chromaSubsampling) {
  return format === "webp"
    ? image.webp({ quality, effort: 4 }).toBuffer()
    : image.jpeg({ quality, chromaSubsampling, optimiseCoding: true }).toBuffer();
}

async function work(photo, outputs) {
  const data = readFileSync(join(folder, photo));
  if (outputs[0].square) {
    const side = outputs[0].square;
    const page = sharp(data, { failOn: "error" })
      .resize(side, side, { fit: "contain", background: white, withoutEnlargement: true })
      .flatten({ background: white });
    return [await encoded(page, outputs[0], "4:4:4")];
  }
  if (outputs.length === 1) {
    const image = sharp(data, { failOn: "error" }).autoOrient().resize(outputs[0].width);
    return [await encoded(image, outputs[0], "4:2:0")];
  }
  // Decoded once, then each width from the next larger one, as the others do.
  const widths = [...new Set(outputs.map((output) => output.width))].sort((a, b) => b - a);
  const reduced = {};
  let last = sharp(data, { failOn: "error" }).autoOrient();
  for (const width of widths) {
    const { data: pixels, info: raw } = await last.resize(width).raw().toBuffer({ resolveWithObject: true });
    reduced[width] = { pixels, raw: { width: raw.width, height: raw.height, channels: raw.channels } };
    last = sharp(pixels, { raw: reduced[width].raw });
  }
  const made = [];
  for (const output of outputs) {
    const { pixels, raw } = reduced[output.width];
    made.push(await encoded(sharp(pixels, { raw }), output, "4:2:0"));
  }
  return made;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [name, count] = line.split(" ");
  const seconds = [];
  let made = [];
  let answer;
  try {
    for (let turn = 0; turn < Number(count); turn += 1) {
      const started = process.hrtime.bigint();
      made = await work(tasks[name].photo, tasks[name].outputs);
      seconds.push(Number(process.hrtime.bigint() - started) / 1e9);
    }
    const files = made.map((_, index) => `${name}.${index}`);
    files.forEach((file, index) => writeFileSync(join(out, file), made[index]));
    answer = { seconds, files };
  } catch (error) {
    answer = { cannot: String(error.message).slice(0, 80) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
