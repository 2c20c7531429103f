// The declarations are true of the source; checked by tsc, never run.
import type catamaran = require('../../runtime/client/catamaran.io.js');
import type { catamaran as required } from '../../runtime/client/src/catamaran.js' with { 'resolution-mode': 'import' };
import type { OPTIONS } from '../../runtime/client/src/options.js' with { 'resolution-mode': 'import' };
import type { Socket } from '../../runtime/client/src/socket.js' with { 'resolution-mode': 'import' };

type Public<T> = { [K in keyof T as K extends `_${string}` ? never : K]: T[K] };
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;

/** A socket has what is declared, and nothing else is public. Options are accessors, made in a loop. */
type Declared = Omit<catamaran.Socket, keyof catamaran.Options>;
export const names: Same<keyof Public<Socket>, keyof Declared> = true;
declare const socket: Socket;
/** Those whose types do not depend on the application's events and bodies. */
export const declared: Omit<Declared, 'on' | 'once' | 'off' | 'removeAllListeners' | 'replay' | 'get' | 'post' | 'put' | 'patch' | 'delete' | 'request'> = socket;
export const options: Same<(typeof OPTIONS)[number], keyof catamaran.Options> = true;

/** So do answers and errors, and what `require` returns. */
export const answers: Same<keyof Public<InstanceType<typeof required.JWR>>, keyof catamaran.JWR> = true;
export const errors: Same<keyof Public<InstanceType<typeof required.RequestError>>, keyof catamaran.RequestError> = true;
export const exported: Same<keyof typeof required, keyof typeof catamaran> = true;
