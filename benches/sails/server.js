// Sails' blueprints of one model, in the database at a URL, or on sails-disk in a folder. It prints its address.
const sails = new (require("sails").Sails)();

const where = process.argv[2];
const datastore = where.startsWith("postgres:")
  ? { adapter: "sails-postgresql", url: where }
  : { adapter: "sails-disk", dir: where };

sails.lift({
  appPath: __dirname,
  // Any port: Sails takes the number 0 for no port at all.
  port: "0",
  explicitHost: "127.0.0.1",
  log: { level: "silent" },
  globals: false,
  sockets: { beforeConnect: (_, allow) => allow(undefined, true) },
  session: { secret: "not a secret" },
  datastores: { default: datastore },
  models: {
    migrate: "safe",
    schema: true,
    dataEncryptionKeys: { default: Buffer.alloc(32).toString("base64") },
    attributes: { id: { type: "number", autoIncrement: true } },
  },
  orm: {
    moduleDefinitions: {
      models: {
        pet: {
          attributes: {
            age: { type: "number" },
            name: { type: "string", required: true, maxLength: 40 },
          },
        },
      },
    },
  },
  blueprints: { shortcuts: false, actions: false, rest: true },
  hooks: { grunt: false, userhooks: false, orm: require("sails-hook-orm"), sockets: require("sails-hook-sockets") },
}, (error) => {
  if (error) throw error;
  console.log(`127.0.0.1:${sails.hooks.http.server.address().port}`);
});
