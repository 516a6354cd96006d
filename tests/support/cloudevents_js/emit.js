// Reads CloudEvents as lines of JSON; prints, for each, the two Kafka records that the SDK makes
// of it. A producer (kafkajs) sends `value` as it is, or as JSON if it is no text.
const { CloudEvent, Kafka } = require("cloudevents");
const lines = require("fs").readFileSync(0, "utf8").split("\n").filter(Boolean);
for (const line of lines) {
  const event = new CloudEvent(JSON.parse(line));
  for (const record of [Kafka.binary(event), Kafka.structured(event)]) {
    const { headers, value } = record;
    const sent = typeof value === "string" ? value : JSON.stringify(value);
    console.log(JSON.stringify({ headers, value: sent }));
  }
}
