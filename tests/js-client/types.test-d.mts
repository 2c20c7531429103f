// The same as a module.
import catamaran, { connect, JWR, RequestError, type Options, type State } from '../../runtime/client/catamaran.io.mjs';

const options: Options = { reconnection: true };
const state: State = connect('https://example.com', options).state;
const { error } = new JWR({ statusCode: 404 });
catamaran().sails.autoConnect = catamaran.connect === connect;
new RequestError('timeout', `${state} ${error}`).code;
