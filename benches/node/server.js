// A server with rooms that span all servers on one Redis, whose URL is the argument. It prints its address.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ url: process.argv[2] });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer();
// The settings that catamaran has by default.
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  maxHttpBufferSize: (1024 + 64) * 1024,
  pingInterval: 10_000,
  pingTimeout: 5_000,
  serveClient: false,
  transports: ["websocket"],
});
const greeting = { body: { message: "hello" }, headers: {}, statusCode: 200 };

io.on("connection", (socket) => {
  socket.on("watch", (_, ack) => {
    socket.join("room");
    ack(greeting);
  });
  socket.on("publish", ({ data }, ack) => {
    io.to("room").emit("said", data);
    ack(greeting);
  });
});

// Redis answers in order, so the adapter's subscriptions stand once this is answered.
await subscriber.ping();
http.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${http.address().port}`));
