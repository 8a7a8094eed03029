// A server without a handler.
require('http').createServer((q, r) => r.end()).listen(8080, () => console.log('ready'));
