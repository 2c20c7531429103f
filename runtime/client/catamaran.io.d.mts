import catamaran from './catamaran.io.js';

export type * from './catamaran.io.js';
export declare const connect: typeof catamaran.connect;
export declare const JWR: typeof catamaran.JWR;
export type JWR<Body = any> = catamaran.JWR<Body>;
export declare const RequestError: typeof catamaran.RequestError;
export type RequestError = catamaran.RequestError;
