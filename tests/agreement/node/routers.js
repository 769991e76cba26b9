// An HTTP server that answers with what several routers make of the request's target: [router, route, session id].
'use strict';

const http = require('node:http');

const ROUTES = [
  ['create', ['api', 'v1', 'memories']],
  ['store', ['api', 'v1', 'memories', 'session', 'store']],
  ['summarize', ['api', 'v1', 'memories', 'session', null, 'summarize']],
  ['deactivate', ['api', 'v1', 'memories', 'session', null, 'deactivate']],
  ['mcp', ['mcp']],
];

const match = (segments, fold) => {
  for (const [route, pattern] of ROUTES) {
    if (pattern.length !== segments.length) continue;
    const same = (own, segment) => own === null || own === segment || (fold && own === segment.toLowerCase());
    if (pattern.every((own, place) => same(own, segments[place]))) return [route, segments[pattern.indexOf(null)] ?? null];
  }
  return null;
};

const attempt = (name, read) => {
  try {
    const found = read();
    return found && [name, ...found];
  } catch {
    return null;
  }
};

const cut = (path) => path.replace(/^\//, '').replace(/\/$/, '').split('/');

// The ways in which routers for Node read a path, written out.
const written = [
  ['split, then decode', (url) => match(cut(url.split('?')[0]).map(decodeURIComponent), false)],
  ['decode, then split', (url) => match(cut(decodeURIComponent(url.split('?')[0])), true)],
  ['parse as a URL, then decode', (url) => match(cut(new URL(url, 'http://host').pathname).map(decodeURIComponent), false)],
  ['parse as a URL, fold slashes', (url) => match(cut(new URL(url, 'http://host').pathname.replace(/\/+/g, '/')).map(decodeURIComponent), true)],
];

const installed = () => {
  const found = [];
  const express = require('express')();
  const router = require('find-my-way')({ caseSensitive: false, ignoreTrailingSlash: true, ignoreDuplicateSlashes: true });
  const strict = require('find-my-way')();
  for (const [route, pattern] of ROUTES) {
    const path = '/' + pattern.map((segment) => segment ?? ':id').join('/');
    express.post(path, (request, response) => (response.found = [route, request.params.id ?? null]));
    router.on('POST', path, () => {}, route);
    strict.on('POST', path, () => {}, route);
  }
  found.push(['express', (url) => {
    const response = { found: null, setHeader() {}, end() {} };
    express({ method: 'POST', url, headers: {}, socket: {} }, response, () => {});
    return response.found;
  }]);
  for (const [name, one] of [['find-my-way', strict], ['find-my-way, lenient', router]]) {
    found.push([name, (url) => {
      const handle = one.find('POST', url);
      return handle && [handle.store, handle.params.id ?? null];
    }]);
  }
  return found;
};

const readers = process.argv[2] === 'installed' ? installed() : written;

const server = http.createServer((request, response) => {
  request.resume();
  const found = readers.map(([name, read]) => attempt(name, () => read(request.url))).filter(Boolean);
  response.end(JSON.stringify(found));
});
server.on('clientError', (error, socket) => socket.destroy());
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
// Whoever started this holds its standard input open; when that ends, so does this.
process.stdin.on('end', () => process.exit(0)).resume();
