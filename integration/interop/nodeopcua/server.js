// An OPC UA server on node-opcua, for the interop tests.
//
//   node server.js '{"port": 0, "folder": …, "certificate": …, "key": …, …}'
//
// It says "node-opcua VERSION" and "listening PORT" when it is ready, and takes
// one command a line: "restart" ends the server and starts it anew on the same
// port, "stop" ends it, "start" starts it, "missing" adds the node that was
// missing, "trust" trusts the client's certificate, which came late, "still"
// stops the counter. Each is answered with "done COMMAND", and "still" with what
// the counter counted to. It ends with its stdin.
"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const opcua = require("node-opcua");

const options = JSON.parse(process.argv[2]);
const { DataType, Variant, VariantArrayType, StatusCodes } = opcua;

let server;
let pki;
let port = options.port;
let counter = options.counter;

async function trust() {
  await pki.trustCertificate(fs.readFileSync(options.trust));
}

async function start() {
  pki = new opcua.OPCUACertificateManager({
    rootFolder: path.join(options.folder, "pki"),
    automaticallyAcceptUnknownCertificate: false,
  });
  await pki.initialize();
  if (fs.existsSync(options.trust)) {
    await trust();
  }
  server = new opcua.OPCUAServer({
    hostname: "127.0.0.1",
    host: "127.0.0.1",
    port,
    certificateFile: options.certificate,
    privateKeyFile: options.key,
    serverCertificateManager: pki,
    serverInfo: { applicationUri: options.uri },
    securityPolicies: options.policies.map((p) => opcua.SecurityPolicy[p]),
    securityModes: options.modes.map((m) => opcua.MessageSecurityMode[m]),
    allowAnonymous: options.anonymous,
    advertisedEndpoints: options.advertised || [],
    userManager: { isValidUser: (name, password) => name === options.user && password === options.password },
    serverCapabilities: {
      operationLimits: { maxNodesPerRead: options.limit, maxMonitoredItemsPerCall: options.limit },
    },
  });
  await server.initialize();
  populate(server.engine.addressSpace);
  await server.start();
  port = server.endpoints[0].port;
}

let add;

function populate(space) {
  const ns = space.registerNamespace("http://vendor.example/mixer/v2");
  const folder = ns.addFolder(space.rootFolder.objects, { browseName: "Line1" });
  add = (nodeId, dataType, value, more = {}) =>
    ns.addVariable({ componentOf: folder, nodeId, browseName: nodeId, dataType, minimumSamplingInterval: 50, ...more, value });
  const fixed = (dataType, value, arrayType = VariantArrayType.Scalar) => ({ get: () => new Variant({ dataType, value, arrayType }) });

  const count = add("s=Line1.Counter", "UInt32");
  // Half as often as the tests look: at the same pace one would be skipped now and then.
  const tick = () => count.setValueFromSource({ dataType: DataType.UInt32, value: ++counter });
  tick();
  server.ticking = setInterval(tick, 500);

  add("s=Line1.Recipe.Name", "String", fixed(DataType.String, options.canary));
  add("s=Nameplate", "String", fixed(DataType.String, options.plate));
  add("s=SealedLog", "ByteString", fixed(DataType.ByteString, Buffer.from(options.sealed || "", "base64")));
  add("i=7013", "Int32", fixed(DataType.Int32, -7));
  add("s=Line1.Mixer.Running", "Boolean", fixed(DataType.Boolean, true));
  add('s="DB_Drv"."Drv"[1]', "Float", fixed(DataType.Float, 1.5));
  add("s=Line1.Mixer.Speed", "Double", fixed(DataType.Double, -0.125));
  add("s=SByte", "SByte", fixed(DataType.SByte, -128));
  add("s=Byte", "Byte", fixed(DataType.Byte, 255));
  add("s=Int16", "Int16", fixed(DataType.Int16, -32768));
  add("s=UInt16", "UInt16", fixed(DataType.UInt16, 65535));
  add("s=Int64", "Int64", fixed(DataType.Int64, [0xffffffff, 0xfffffffe])); // -2
  add("s=UInt64", "UInt64", fixed(DataType.UInt64, [0xffffffff, 0xffffffff]));
  add("s=Time", "DateTime", fixed(DataType.DateTime, new Date("2024-02-29T12:34:56.789Z")));
  add("s=Blob", "ByteString", fixed(DataType.ByteString, Buffer.alloc(3000, 0xa5)));
  add("g=09087e75-8e5e-499b-954f-f2a9603db28a", "Byte", fixed(DataType.Byte, 1));
  add("b=M/RbKBsRVkePCePcx24oRA==", "Byte", fixed(DataType.Byte, 2));
  add("s=Array", "Int32", fixed(DataType.Int32, [1, 2, 3], VariantArrayType.Array), { valueRank: 1 });
  add("s=Slow", "Int32", fixed(DataType.Int32, 5), { minimumSamplingInterval: 2000 });
  add("s=Broken", "Int32", { timestamped_get: () => new opcua.DataValue({ statusCode: StatusCodes.BadSensorFailure }) });
  add("s=Hidden", "Int32", fixed(DataType.Int32, 6), { userAccessLevel: "CurrentWrite", accessLevel: "CurrentWrite" });
}

async function stop() {
  clearInterval(server.ticking);
  await server.shutdown(50);
}

const commands = {
  start,
  trust,
  still: async () => {
    clearInterval(server.ticking);
    return counter;
  },
  stop,
  restart: async () => {
    await stop();
    await start();
  },
  missing: async () => add("s=Missing", "Int32", { get: () => new Variant({ dataType: DataType.Int32, value: 9 }) }),
};

async function main() {
  await start();
  console.log("node-opcua " + require("node-opcua/package.json").version);
  console.log("listening " + port);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const answer = await commands[line]();
    console.log("done " + line + (answer === undefined ? "" : " " + answer));
  }
  process.exit(0);
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
