// The words of the wire, of Engine.IO 4, Socket.IO 5, Sails and catamaran (docs/wire.md). They stand in this file only.

import { inBrowser } from './page.js';

/** @typedef {import('./request.js').PendingRequest} PendingRequest */
/** @typedef {Record<string, any>} Dictionary */

export const ENGINE = { open: '0', close: '1', ping: '2', pong: '3', message: '4' };
export const PACKET = { connect: '0', disconnect: '1', event: '2', ack: '3', refused: '4', binaryEvent: '5' };

/** A namespace that no server has. Each answers a connect to it with an error, which shows that the server is alive. */
export const PROBE_NAMESPACE = '/catamaran-probe';

export const PARSE_ERROR = 'sails:parseError';

/** The events by which a catamaran server delivers entries of channels, with their positions. */
export const DELIVERY = { entry: '$', replay: '$replay', gap: '$gap', join: '$join', left: '$left', drain: '$drain' };

/** Asks the server for positions. */
export const RESUME_QUERY = 'catamaran=1';

/** The events that only the client raises. A server's event of such a name is ignored. */
export const LOCAL_EVENT = /^(connect|disconnect|connect_error|error|reconnect(ing|_failed)?)$/;

const platform = inBrowser ? 'browser' : 'node';

/** What the client says of itself, as sails.io.js does. */
export const SDK = {
  version: '1.2.1',
  platform,
  language: 'javascript',
  versionString: `__sails_io_sdk_version=1.2.1&__sails_io_sdk_platform=${platform}&__sails_io_sdk_language=javascript`,
};

/**
 * The event of a request, and its envelope.
 * @param {PendingRequest} request
 * @param {Dictionary} [resume] the positions of channels
 */
export const requestPacket = ({ method, headers, data, url }, resume) => [method, { method, headers, data, url, resume }];

/**
 * What a CONNECT says to a catamaran server.
 * @param {string} client
 * @param {number} connection
 * @param {Dictionary} resume
 */
export const connectPayload = (client, connection, resume) => ({ catamaran: { client, connection, resume } });

/**
 * The error of a refused CONNECT. A server may send its words alone: `401 Unauthorized: log in`.
 * @param {Dictionary} refusal
 */
export const refusal = ({ message, data = parseInt(message) ? { status: parseInt(message) } : undefined }) =>
  Object.assign(new Error(message), { data, refused: true });

/**
 * Whether the server did not begin the request, so it may be repeated.
 * @param {Dictionary} ack
 */
export const notRun = ({ statusCode, headers }) => statusCode === 503 && headers?.['x-catamaran-not-run'] === '1';

const SYNTAX = /^(?<type>[0-6])((?<count>\d{1,3})-)?((?<namespace>\/[^,]*),?)?(?<id>\d{0,15})(?<json>[^]*)$/;

/**
 * Takes a Socket.IO packet apart.
 * @param {string} text
 * @returns {Dictionary}
 */
export const parsePacket = (text) => /** @type {any} */ (SYNTAX.exec(text)).groups;

/**
 * Reads the JSON of a packet, with its attachments.
 * @param {string} json
 * @param {unknown[]} attachments
 */
export const decode = (json, attachments) => (attachments[0]
  ? JSON.parse(json, (_, value) => (value?._placeholder ? attachments[value.num] : value))
  : JSON.parse(json));
