/**
 * Puts `io.sails` and `io.socket` on a socket.io-client, or on a new object. `io.socket` connects once the scripts of the page have
 * run; where there is no page, a tick later.
 */
declare function catamaran<Io extends object = {}>(io?: Io): Io & catamaran.Io;

declare namespace catamaran {
  /**
   * Makes a socket, which begins to connect at once.
   *
   *     import { connect } from 'catamaran.io.js';
   *     const socket = connect('https://example.com');
   *     const { body } = await socket.get('/rooms/7');
   *
   * The events that your server sends may be named, with their arguments:
   *
   *     const socket = connect<{ said: [line: { from: string; text: string }] }>('https://example.com');
   *     socket.on('said', (line) => console.log(line.text));
   */
  function connect<Events extends EventMap = UntypedEvents>(url?: string | null, options?: Options): Socket<Events>;
  function connect<Events extends EventMap = UntypedEvents>(options: Options): Socket<Events>;

  /** The arguments of each event. */
  type EventMap = { [Event in string]: any[] };
  type UntypedEvents = { [event: string]: any[] };

  type State = 'disconnected' | 'connecting' | 'connected' | 'reconnecting';

  /** The events that this client raises by itself, with their arguments. */
  interface LocalEvents {
    connect: [];
    disconnect: [reason: string];
    /** An attempt to connect failed. `data.status` is there if the server refused with one; the message begins with it. */
    connect_error: [error: Error & { data?: any }];
    /** The server refused the connection. */
    error: [error: Error & { data?: any }];
    reconnecting: [attempt: number];
    reconnect: [attempts: number];
    reconnect_failed: [];
    state: [change: { state: State; previous: State }];
    /** After a reconnect, a request that had subscribed was sent again. `recovered`: nothing was missed. */
    resubscribed: [result: { url: string; recovered: boolean; body: any; jwr: JWR }];
    /** Entries of this channel were missed: read afresh what they would have told. */
    gap: [gap: { channel: string; reason: string }];
    /** These channels are subscribed to no more. */
    lost: [loss: { url?: string; channels: string[]; reason: string; jwr?: JWR }];
  }

  type Arguments<Events, Event> =
    Event extends keyof LocalEvents ? LocalEvents[Event] : Event extends keyof Events ? Events[Event] & any[] : never;

  type Headers = { [name: string]: string | number | boolean | null | undefined };

  /**
   * The objects that JSON loses, so that a request with one fails before it is sent: files, bytes, forms, collections, functions.
   * Upload files by `fetch`.
   */
  type Unsendable =
    | ((...args: any[]) => any) | symbol | bigint
    | ArrayBuffer | ArrayBufferView | Map<any, any> | Set<any> | WeakMap<any, any> | WeakSet<any> | Promise<any> | RegExp | Error
    // `Blob` and `File`; `FormData` and `URLSearchParams`. Not every program has their declarations.
    | { arrayBuffer(): Promise<ArrayBuffer> } | { append(name: string, value: any): void; getAll(name: string): any[] };

  /** `T` without what JSON loses, at any depth: `Sendable<{ file: File }>` is `{ file: never }`. */
  type Sendable<T> =
    unknown extends T ? T
    : T extends string | number | boolean | null | undefined | { toJSON(...args: any[]): any } ? T
    : T extends Unsendable ? never
    : T extends object ? { [Key in keyof T]: Sendable<T[Key]> } : T;

  type RequestErrorCode = 'disconnected' | 'timeout' | 'overflow' | 'expired' | 'too_large' | 'malformed';

  /** A callback's arguments are the body and the answer; if none can come, an error and an answer of status 0. */
  type Callback<Body = any> = (body: Body, jwr: JWR<Body>) => void;

  interface MoreOptions {
    /** Win over the socket's `headers`; one that is `undefined` takes the socket's away. */
    headers?: Headers;
    /** Fails after so many milliseconds, queueing included; 0 is never. Callbacks have none unless it is given. */
    timeout?: number;
    /** Gives up: `get('/slow', undefined, { signal: AbortSignal.timeout(100) })`. The server may run it all the same. */
    signal?: AbortSignal;
    /** `false`: not to be repeated after a reconnect. */
    resume?: boolean;
  }

  interface RequestOptions<Data extends object = object> extends MoreOptions {
    url: string;
    /** `get` if absent. */
    method?: string;
    /** Copied as JSON when the request is made. What JSON loses (`Unsendable`) fails it with a `TypeError`. */
    data?: Sendable<Data>;
    /** Another name of `data`. */
    params?: Sendable<Data>;
  }

  /** How a socket connects, and behaves. All but `headers` are fixed while it is connected. Times are milliseconds. */
  interface Options {
    /** The server's origin; in a page, the page's own if absent. */
    url?: string | null;
    /** Where Socket.IO is served: `/socket.io`. */
    path?: string;
    /** More of the handshake's query, such as `token=1&lang=en`. */
    query?: string;
    /** Sent with every request. A function is asked each time, so tokens stay fresh; it may return a promise. */
    headers?: Headers | (() => Headers | undefined | Promise<Headers | undefined>);
    /** Said when connecting, to `App::on_connect` or as Socket.IO's `auth`. A function is asked each time; it may return a promise. */
    auth?: object | (() => object | Promise<object>);
    /** Headers of the handshake. Browsers cannot send any: there use a cookie, `query` or `auth`. */
    initialConnectionHeaders?: { [name: string]: string };
    /** In a page of another origin than the server: fetch a cookie first, from `/__getcookie` or this route. */
    useCORSRouteToGetCookie?: boolean | string;
    /** Reconnect by itself: `true`. */
    reconnection?: boolean;
    reconnectionAttempts?: number;
    /** The first delay is drawn from 0 to this: 300. It doubles each time. */
    reconnectionDelay?: number;
    /** 5000. */
    reconnectionDelayMax?: number;
    /** How long connecting may take: 20000. */
    timeout?: number;
    /** How long a request without a callback may take: 60000. */
    requestTimeout?: number;
    /** How many requests may wait for a connection: 1000. */
    queueLimit?: number;
    /** How long a request may wait for a connection: 60000; 0 is for ever. */
    queueExpiry?: number;
    /** Subscribe again after a reconnect, where it left off, if the server can: `true`. */
    resume?: boolean;
    /** A WebSocket class, where there is no global one: `require('ws')`. */
    WebSocket?: unknown;
    /** A socket.io-client, to connect by it, where long-polling is needed. */
    io?: unknown;
    /** For `io` only. */
    transports?: string[];
    /** For Node only. */
    rejectUnauthorized?: boolean;
    /** Taken for the sake of sails.io.js, and without effect: each socket has its own connection. */
    multiplex?: boolean;
    /** Taken for the sake of sails.io.js, and without effect: each delay is drawn from the whole range. */
    randomizationFactor?: number;
  }

  interface Socket<Events extends EventMap = UntypedEvents> extends Options {
    /**
     * Sends a GET request. With a callback it returns nothing; without, a promise. The promise resolves for every
     * status. It rejects if no answer can come: with a `RequestError`, the signal's reason, or a `TypeError` for data that
     * JSON cannot carry (`Unsendable`).
     *
     *     io.socket.get('/rooms/7', { since: 3 }, (body, jwr) => console.log(jwr.statusCode, body));
     *     const { body } = await io.socket.get('/rooms/7', { since: 3 }, { timeout: 5000 });
     */
    get: Verb;
    /** Sends a POST request, as `get` does: `await io.socket.post('/rooms/7', { text: 'hello' })`. */
    post: Verb;
    /** Sends a PUT request, as `get` does: `await io.socket.put('/users/1', user)`. */
    put: Verb;
    /** Sends a PATCH request, as `get` does: `await io.socket.patch('/users/1', { name: 'Ada' })`. */
    patch: Verb;
    /** Sends a DELETE request, as `get` does: `await io.socket.delete('/users/1')`. */
    delete: Verb;
    /**
     * Sends a request of any method: `await io.socket.request({ method: 'head', url: '/rooms/7', timeout: 5000 })`.
     * Until there is a connection it waits in a queue.
     */
    request<Body = any, Data extends object = object>(options: RequestOptions<Data>, callback: Callback<Body>): void;
    request<Body = any, Data extends object = object>(options: RequestOptions<Data>): Promise<JWR<Body>>;

    /** Calls the handler at each event: `io.socket.on('said', (line) => show(line))`. It survives reconnects. */
    on<Event extends keyof (LocalEvents & Events) & string>(event: Event, handler: (...args: Arguments<Events, Event>) => void): this;
    /** Calls the handler at the next event only: `io.socket.once('connect', start)`. */
    once<Event extends keyof (LocalEvents & Events) & string>(event: Event, handler: (...args: Arguments<Events, Event>) => void): this;
    /** Takes all handlers off, as `removeAllListeners` does: `io.socket.off()`. */
    off(): this;
    /** Takes a handler off, or all of an event: `io.socket.off('said', show)`. A handler that is `undefined` takes off nothing. */
    off(event: keyof (LocalEvents & Events) & string, handler?: (...args: any[]) => void): this;
    /** Takes all handlers off: `io.socket.removeAllListeners()`. */
    removeAllListeners(): this;

    /** Whether requests go out at once: `if (!io.socket.isConnected()) show('offline')`. */
    isConnected(): boolean;
    /** Whether the first connection is being made: `io.socket.isConnecting()`. */
    isConnecting(): boolean;
    /** Whether this is `io.socket` before the scripts of the page have run: `io.socket.mightBeAboutToAutoConnect()`. */
    mightBeAboutToAutoConnect(): boolean;
    /** Where it stands: `io.socket.state`. Its changes are the event `state`. */
    readonly state: State;
    /** How many entries came twice, and were dropped: `io.socket.duplicates`. */
    readonly duplicates: number;

    /** Closes, and stays closed: `io.socket.disconnect()`. Throws if it is so already. */
    disconnect(): void;
    /** Connects again: `io.socket.reconnect()`. Throws if it is connected or connecting. */
    reconnect(): void;
    /** Sends what waits, if that is possible: `io.socket.replay()`. Nobody needs to. */
    replay(): this;
  }

  interface Verb {
    <Body = any>(url: string, callback: Callback<Body>): void;
    <Body = any, Data extends object = object>(url: string, data: Sendable<Data> | undefined, callback: Callback<Body>): void;
    <Body = any, Data extends object = object>(url: string, data?: Sendable<Data>, more?: MoreOptions): Promise<JWR<Body>>;
  }

  /** What the server answered. */
  class JWR<Body = any> {
    constructor(ack: { body?: Body; headers?: { [name: string]: string }; statusCode?: number });
    body: Body;
    headers: { [name: string]: string };
    statusCode: number;
    /** There if the status is below 200, or 400 and above. */
    error?: Error;
    toString(): string;
    toPOJO(): { body: Body; headers: { [name: string]: string }; statusCode: number };
    /** Returns, and does not throw, an error: answers are not streamed. */
    pipe(): Error;
  }

  /** Why no answer came. */
  class RequestError extends Error {
    constructor(code: RequestErrorCode, message: string, sent?: boolean);
    code: RequestErrorCode;
    /** Whether the server may have run the request. */
    sent: boolean;
  }

  /** `io.sails`: what holds for all sockets, taken when they connect. */
  interface Sails extends Options {
    /** `false` before the scripts of the page have run: `io.socket` does not connect, and goes away. */
    autoConnect: boolean;
    environment: 'development' | 'production' | string;
    /** `false`: options may change while connected. */
    strict?: boolean;
    readonly sdk: { version: string; platform: 'node' | 'browser'; language: string; versionString: string };
    connect: typeof connect;
  }

  interface Io {
    sails: Sails;
    socket: Socket;
  }
}

export = catamaran;
