// Reads one text a line (base64) and prints, for each, what JSON.parse finds in the guarded places, or null.
'use strict';

const readline = require('node:readline');

const member = (value, key) =>
  value !== null && typeof value === 'object' && !Array.isArray(value) && Object.hasOwn(value, key) ? value[key] : null;

const at = (value, path) => path.reduce(member, value);

// Strings, and numbers that no reader rounds; nothing else is an id.
const comparable = (value) =>
  value === null || ['string', 'boolean'].includes(typeof value) || Math.abs(value) < 2 ** 53 ? value : ['no id'];

const paths = JSON.parse(process.argv[2]);

const view = (text) => {
  try {
    const value = JSON.parse(text);
    return paths.map((path) => comparable(at(value, path)));
  } catch {
    return null;
  }
};

// Some servers drop a byte order mark before they parse, some do not.
const keeping = new TextDecoder('utf-8', { ignoreBOM: true });
const dropping = new TextDecoder('utf-8');

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const bytes = Buffer.from(line, 'base64');
  console.log(JSON.stringify([view(keeping.decode(bytes)), view(dropping.decode(bytes))]));
});
