// A ZIP archive of files that are compressed already: stored as they are, names in UTF-8 (APPNOTE.TXT 4.3 and 4.4.4).

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
const UTF8 = 0x0800;
const VERSION = 20;
const NO_DATE = 0x0021; // 1980-01-01, the earliest that the format knows: when a photo was taken is nobody's business
export const MOST_BYTES = 0xffffffff; // beyond, the format needs ZIP64

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Little-endian numbers: [value, width in bytes]. */
function packed(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, width]) => sum + width, 0)));
  let at = 0;
  for (const [value, width] of fields) {
    if (width === 4) view.setUint32(at, value, true);
    else view.setUint16(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

/**
 * @param {{name: string, data: Blob}[]} files names with "/" between folders, each once
 * @returns {Promise<{archive: Blob, unread: number}>} and how many files are not in it, since they could not be read.
 * Rejects with a RangeError above MOST_BYTES or 65,535 files.
 */
export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  let unread = 0;
  for (const { name, data } of files) {
    const bytes = await data.arrayBuffer().catch(() => null); // one file in memory at a time
    if (bytes === null) {
      unread++;
      continue;
    }
    const path = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(bytes));
    const common = [[VERSION, 2], [UTF8, 2], [0, 2], [0, 2], [NO_DATE, 2], [crc, 4], [data.size, 4], [data.size, 4], [path.length, 2], [0, 2]];
    parts.push(packed([0x04034b50, 4], ...common), path, data);
    directory.push(packed([0x02014b50, 4], [VERSION, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]), path);
    offset += 30 + path.length + data.size;
    if (offset > MOST_BYTES) throw new RangeError("too large for one archive");
  }
  if (files.length > 0xffff) throw new RangeError("too many files for one archive");
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.length - unread;
  const end = packed([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2]);
  return { archive: new Blob([...parts, ...directory, end], { type: "application/zip" }), unread };
}
