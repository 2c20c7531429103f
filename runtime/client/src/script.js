// The entry of catamaran.io.js, which a page loads by a script tag and Node by `require`.

import { catamaran } from './catamaran.js';
import { ofPage, ownGlobal } from './page.js';
import { augment, scriptSettings } from './sails.js';

const global = /** @type {any} */ (globalThis);
const script = ofPage('currentScript');

// `module` is no global variable in Node; as one it may be an element of that id.
if (typeof module === 'object' && module.exports && (module !== global.module || ownGlobal('module'))) module.exports = catamaran;
else if (script) global.io = augment(ownGlobal('io') || {}, scriptSettings(script));
