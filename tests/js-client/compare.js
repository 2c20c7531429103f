// The same storm for other servers and clients as for ours: `npm run compare`, which prints the table of docs/guarantees.md.
// STORM_CLIENTS, STORM_CUTS and STORM_DELIVERIES set its size, STORM_ONLY a part of the names.
const { join } = require('node:path');
const { binary, run } = require('./server.js');
const { OurPage, SailsPage, SocketIoPage } = require('./pages.js');
const { IDS, goOn, pages, published, settled, storm, sums } = require('./storm.js');

const size = (name, usual) => Number(process.env[`STORM_${name}`] || usual);
const CLIENTS = size('CLIENTS', 200);
const CUTS = size('CUTS', 5000);
const DELIVERIES = size('DELIVERIES', 200000);

const node = (kind) => () => run(process.execPath, [join(__dirname, 'storm-server.js'), kind]);
const ours = (...args) => run(binary('channel-app'), args);

/** Who is compared: the clients, with what server. */
const SUBJECTS = {
  'catamaran, its own client': [ours, (client, way) => new OurPage(client, way)],
  'catamaran, socket.io-client 4.8': [ours, (client, way) => new SocketIoPage(client, way, false)],
  'catamaran, sails.io.js 1.2': [ours, (client, way) => new SailsPage(client, way)],
  'Socket.IO 4.8': [node('socket.io'), (client, way) => new SocketIoPage(client, way, false)],
  'Socket.IO 4.8, connection state recovery': [node('recovery'), (client, way) => new SocketIoPage(client, way, true)],
  'Sails 1.5, sails.io.js 1.2': [node('sails'), (client, way) => new SailsPage(client, way)],
};

/** At any time, and while connecting or subscribing: what all of them go through. */
const SEQUENCES = [
  [], [], [], ['before the connect is answered'], ['as the connect is answered'], ['between subscribe and ack'],
  ['as the connect is answered', 'as the connect is answered'],
];

/** What happens: how connections end, and whether the server is killed and started anew in the middle. */
const WEATHER = {
  'cuts that the server notices': { ends: ['reset', 'finish'] },
  'cuts of every kind': {},
  'cuts of every kind, and a restart': { restarts: true },
};

async function measure(start, open, { restarts, ...cuts }) {
  let server = await start();
  const counts = new Map();
  const all = await pages(CLIENTS, open, () => server.url, counts, cuts);
  const subscribed = Promise.all(all.map((page) =>
    page.subscribe(`/storm/${page.client % IDS}`, `long:${page.client % IDS}`, `shared:${page.client % IDS}`)));
  const halfway = async () => {
    await subscribed;
    const [old, next] = [server, await start()];
    await goOn(next, await published(old));
    server = next;
    await old.stop('SIGKILL');
  };
  await storm(all, counts, {
    server: () => server,
    cuts: CUTS,
    bursts: Math.ceil(DELIVERIES / CLIENTS / 2),
    sequences: SEQUENCES,
    padding: 100,
    // What a client publishes as the server goes is of unknown outcome.
    each: (page) => restarts || page.post(`/storm/${page.client % IDS}/by/${page.client}`),
    halfway: restarts && halfway,
  });
  await subscribed;
  const end = await published(server);
  // Longer than any of them takes to find out that its connection is dead.
  const { numbers, behind } = await settled(all, () => server, 60000);
  all.forEach((page) => page.close());
  await server.stop('SIGKILL');
  return { ...sums(all, numbers, end), deaf: behind.length };
}

(async () => {
  console.log(`${CLIENTS} clients, ${CUTS} cuts, ${DELIVERIES} deliveries`);
  for (const [weather, plan] of Object.entries(WEATHER)) {
    console.log(`\n| ${weather} | lost, not told | lost, told | doubled | out of order | own | deaf in the end |\n|---|--:|--:|--:|--:|--:|--:|`);
    for (const [name, [start, open]] of Object.entries(SUBJECTS)) {
      if (!name.includes(process.env.STORM_ONLY || '')) continue;
      const { heard, lost, told, doubled, disordered, own, deaf } = await measure(start, open, plan);
      const share = (number) => `${number} (${(100 * number / (heard + lost + told)).toFixed(1)} %)`;
      console.log(`| ${name} | ${share(lost)} | ${share(told)} | ${doubled} | ${disordered} | ${own} | ${deaf} |`);
    }
  }
  process.exit();
})();
