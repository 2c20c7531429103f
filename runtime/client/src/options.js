/** The options that neither the socket nor `io.sails` sets. @type {Record<string, any>} */
export const DEFAULTS = {
  path: '/socket.io',
  transports: ['websocket'],
  useCORSRouteToGetCookie: true,
  timeout: 20000,
  reconnection: true,
  reconnectionAttempts: Infinity,
  reconnectionDelay: 300,
  reconnectionDelayMax: 5000,
  requestTimeout: 60000,
  queueLimit: 1000,
  queueExpiry: 60000,
  resume: true,
};

/** The names of all options. @type {(keyof import('../catamaran.io.js').Options)[]} */
export const OPTIONS = ['path', 'transports', 'useCORSRouteToGetCookie', 'timeout', 'reconnection', 'reconnectionAttempts',
  'reconnectionDelay', 'reconnectionDelayMax', 'requestTimeout', 'queueLimit', 'queueExpiry', 'resume', 'url', 'multiplex', 'query',
  'headers', 'initialConnectionHeaders', 'rejectUnauthorized', 'randomizationFactor', 'auth', 'WebSocket', 'io'];
