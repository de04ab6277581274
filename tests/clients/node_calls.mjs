// What an app does with the `openai` client of Node. Prints one JSON object with what it got.
// node node_calls.mjs ENVIRONMENT BASE_URL API_KEY
import { createRequire } from "node:module";

const [environment, baseURL, apiKey] = process.argv.slice(2);
const { default: OpenAI } = createRequire(`${environment}/`)("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "faucet-demo";
const said = (content) => [{ role: "user", content }];
const result = {};

const { data: answer, response, request_id } = await client.chat.completions
  .create({ model, messages: said("What is a ledger?") })
  .withResponse();
result.answer = { ...answer, request_id, price: response.headers.get("x-modelfaucet-price-usd") };

let text = "";
let usage = null;
const stream = await client.chat.completions.create({
  model,
  messages: said("What is a ledger?"),
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
result.stream = { text, usage };

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const calling = client.chat.completions.stream({
  model,
  messages: said("What is the weather in Lisbon?"),
  tools: [weather],
});
const [call] = (await calling.finalChatCompletion()).choices[0].message.tool_calls;
result.tool = { name: call.function.name, arguments: JSON.parse(call.function.arguments) };

result.models = [];
for await (const each of client.models.list()) result.models.push(each.id);

try {
  await new OpenAI({ baseURL, apiKey: "mf_sess_nobody", maxRetries: 0 }).models.list();
} catch (error) {
  result.error = { name: error.constructor.name, status: error.status, code: error.code, request_id: error.requestID };
}

const left = await client.chat.completions.create({ model, messages: said("count to 400"), stream: true });
let chunks = 0;
for await (const _ of left) if (++chunks === 5) break;
result.left = chunks;

console.log(JSON.stringify(result));
