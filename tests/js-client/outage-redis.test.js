const { Redis } = require('./backends.js');
const { testOutages } = require('./outage.js');

testOutages(Redis);
