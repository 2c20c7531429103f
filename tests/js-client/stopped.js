// A client in a process of its own, which its parent stops and continues: `stopped.js URL LOG`. It watches the log, reports
// what it hears, and writes a line when it is told to.
const WebSocket = require('ws');
const { connect } = require('./client.js').catamaran;

const [url, log] = process.argv.slice(2);
const socket = connect(url, { WebSocket, reconnectionDelay: 50, reconnectionDelayMax: 100 });
for (const event of ['line', 'gap', 'lost', 'disconnect', 'resubscribed']) {
  socket.on(event, (value) => process.send([event, event === 'resubscribed' ? value.recovered : value]));
}
socket.get(log).then(() => process.send(['ready']));
process.on('message', (line) => {
  socket.post(`${log}/${line}`).then(
    ({ statusCode }) => process.send(['answered', statusCode]),
    ({ code, sent }) => process.send(['failed', code, sent]),
  );
});
