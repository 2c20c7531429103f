import catamaran from './catamaran.io.js';

export declare const connect: typeof catamaran.connect;
export declare const JWR: typeof catamaran.JWR;
export type JWR<Body = any> = catamaran.JWR<Body>;
export declare const RequestError: typeof catamaran.RequestError;
export type RequestError = catamaran.RequestError;
export type Callback<Body = any> = catamaran.Callback<Body>;
export type EventMap = catamaran.EventMap;
export type Headers = catamaran.Headers;
export type LocalEvents = catamaran.LocalEvents;
export type MoreOptions = catamaran.MoreOptions;
export type Options = catamaran.Options;
export type Sendable<T> = catamaran.Sendable<T>;
export type Unsendable = catamaran.Unsendable;
export type RequestErrorCode = catamaran.RequestErrorCode;
export type RequestOptions<Data extends object = object> = catamaran.RequestOptions<Data>;
export type Socket<Events extends EventMap = catamaran.UntypedEvents> = catamaran.Socket<Events>;
export type State = catamaran.State;
