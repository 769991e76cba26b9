// Reads one form or query a line (JSON: kind, type, data in base64) and prints what each of Node's readers finds under
// the watched names, or null where it cannot read it. qs, which express reads with, is asked if it is installed.
'use strict';

const querystring = require('node:querystring');
const readline = require('node:readline');

const qs = (() => {
  try {
    return require('qs');
  } catch {
    return null;
  }
})();

const names = ['session_id', 'user_id'];

const strings = (values) => values.map((value) => (typeof value === 'string' ? value : 'no string'));

const ofEntries = (fields) =>
  Object.fromEntries(names.filter((name) => fields.has(name)).map((name) => [name, strings(fields.getAll(name))]));

const ofObject = (fields) =>
  Object.fromEntries(names.filter((name) => Object.hasOwn(fields, name)).map((name) => [name, strings([fields[name]].flat())]));

const attempt = async (read) => {
  try {
    return await read();
  } catch {
    return null;
  }
};

const readers = {
  query: [
    ({ text }) => ofEntries(new URLSearchParams(text)),
    ({ text }) => ofEntries(new URL(`http://localhost/?${text}`).searchParams),
    ({ text }) => ofObject(querystring.parse(text)),
    ({ text }) => ofObject(qs === null ? {} : qs.parse(text)),
  ],
  multipart: [({ data, type }) => new Response(data, { headers: { 'content-type': type } }).formData().then(ofEntries)],
};
readers.urlencoded = [...readers.query, ...readers.multipart];

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { kind, type, data: encoded } = JSON.parse(line);
    const data = Buffer.from(encoded, 'base64');
    const views = readers[kind].map((read) => attempt(() => read({ type, data, text: data.toString() })));
    console.log(JSON.stringify(await Promise.all(views)));
  }
})();
