// A server that closes when it is told to.
const server = require('http').createServer((q, r) => r.end()).listen(8080, () => console.log('ready'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
