// A small PNG: at most 256 colours, which a page with text hardly needs more of.

import { deflateSync } from "node:zlib";

const COLOURS_MAX = 256;

const table = Uint32Array.from({ length: 256 }, (_, at) => {
  let value = at;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});
const crc = (bytes) => ~bytes.reduce((sum, byte) => table[(sum ^ byte) & 255] ^ (sum >>> 8), ~0) >>> 0;

function chunk(type, content) {
  const body = Buffer.concat([Buffer.from(type), content]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length);
  sum.writeUInt32BE(crc(body));
  return Buffer.concat([length, body, sum]);
}

/** The colours that are seen most, and for each colour the nearest of them. */
function palette(pixels) {
  const seen = new Map();
  for (const pixel of pixels) seen.set(pixel, (seen.get(pixel) ?? 0) + 1);
  const colours = [...seen].sort(([, one], [, other]) => other - one).slice(0, COLOURS_MAX).map(([pixel]) => pixel);
  const distance = (one, other) =>
    [0, 8, 16].reduce((sum, shift) => sum + ((one >>> shift & 255) - (other >>> shift & 255)) ** 2, 0);
  const nearest = (pixel) => colours.reduce((best, colour, at) =>
    distance(pixel, colour) < distance(pixel, colours[best]) ? at : best, 0);
  return { colours, index: new Map([...seen.keys()].map((pixel) => [pixel, nearest(pixel)])) };
}

/** Of pixels in the order red, green, blue, alpha, as a canvas has them; alpha is left out. */
export function smallPng(width, height, rgba) {
  const pixels = Uint32Array.from({ length: width * height }, (_, at) =>
    rgba[4 * at] << 16 | rgba[4 * at + 1] << 8 | rgba[4 * at + 2]);
  const { colours, index } = palette(pixels);
  const rows = Buffer.alloc((width + 1) * height);
  pixels.forEach((pixel, at) => { rows[at + 1 + Math.floor(at / width)] = index.get(pixel); });
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  // Eight bits each, of a palette.
  head.set([8, 3, 0, 0, 0], 8);
  const colour = Buffer.from(colours.flatMap((pixel) => [pixel >>> 16, pixel >>> 8 & 255, pixel & 255]));
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("PLTE", colour),
    chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}
