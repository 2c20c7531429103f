const { Postgres } = require('./backends.js');
const { testOutages } = require('./outage.js');

testOutages(Postgres);
