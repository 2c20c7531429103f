// What the types allow and what they refuse; checked by tsc, never run.
import catamaran = require('../../runtime/client/catamaran.io.js');

type Line = { from: string; text: string };
const socket = catamaran.connect<{ said: [line: Line]; moved: [x: number, y: number] }>('https://example.com', {
  headers: async () => ({ authorization: 'token' }),
  resume: false,
});

socket.on('said', (line) => line.text.toUpperCase()).once('moved', (x, y) => x + y).off('said');
socket.on('state', ({ state, previous }) => [state === 'connected', previous]);
socket.on('gap', ({ channel, reason }) => channel + reason);
socket.on('resubscribed', ({ url, recovered, body, jwr }) => [url, recovered, body, jwr.statusCode]);
socket.on('connect_error', (error) => error.data?.status);
// @ts-expect-error: no such event
socket.on('sayed', () => {});
// @ts-expect-error: the event has no such argument
socket.on('moved', (line: Line) => line);

async function requests(): Promise<string> {
  const { body, statusCode, error } = await socket.get<Line>('/lines/1', { since: 3 }, { timeout: 5000, signal: AbortSignal.timeout(1) });
  const nothing: void = socket.post<Line>('/lines', { text: 'a' }, (line, jwr) => [line.text, jwr.body.text]);
  const also: void = socket.request({ url: '/lines', method: 'head' }, () => {});
  await socket.request({ url: '/lines', data: [1, 2], headers: { a: 1, b: undefined } });
  // @ts-expect-error: data is an object
  await socket.post('/lines', 'text');
  interface Place { name: string; at?: Date; tags: string[]; more: { [key: string]: number } }
  const place: Place = { name: 'a', tags: ['b'], more: {} };
  await socket.post('/places', place);
  await socket.post('/places', { list: [place], any: JSON.parse('1'), none: undefined, url: new URL('http://a'), tuple: [1, null] as const });
  socket.post('/places', place, () => {});
  // @ts-expect-error: a file is lost in JSON
  await socket.post('/files', { file: new File([], 'a') });
  // @ts-expect-error: also deep within
  await socket.put('/files', { list: [{ bytes: new Uint8Array(1) }] });
  // @ts-expect-error: also as the whole
  await socket.post('/files', new FormData());
  // @ts-expect-error: also with a callback
  socket.post('/files', { map: new Map() }, () => {});
  // @ts-expect-error: also in a request
  await socket.request({ url: '/files', data: { call() {} } });
  // @ts-expect-error: a request has a URL
  await socket.request({ method: 'get' });
  return `${body.text}${statusCode}${error?.message}${nothing}${also}`;
}

requests().catch((error) => error instanceof catamaran.RequestError && error.code === 'timeout' && error.sent);

const untyped = catamaran.connect({ url: 'https://example.com', WebSocket: class {} });
untyped.on('anything', (one, two) => [one, two]).on('disconnect', (reason) => reason.length);
// @ts-expect-error: the state is read, not set
untyped.state = 'connected';
untyped.headers = { a: 'b' };

const io = catamaran();
io.sails.autoConnect = false;
io.sails.connect('https://example.com', { query: 'token=1' }).get('/a');
const extended = catamaran({ version: 4 });
extended.version + extended.socket.duplicates;
