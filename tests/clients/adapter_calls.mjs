// What an app does with the `openai` client of Node: an answer, a stream, and a tool's round trip.
// node adapter_calls.mjs ENVIRONMENT BASE_URL TOKEN API, where API is chat or responses. Prints one JSON object.
import { createRequire } from "node:module";

const [environment, baseURL, apiKey, api] = process.argv.slice(2);
const { default: OpenAI } = createRequire(`${environment}/`)("openai");
const client = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0 });
const model = "test-model";
const question = "How is the weather in Paris?";
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const messages = [{ role: "user", content: question }];

async function chat() {
  const create = (body) => client.chat.completions.create({ model, messages, ...body });
  const answer = await create({});
  let text = "";
  let usage = null;
  for await (const chunk of await create({ stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
  const stream = client.chat.completions.stream({ model, messages, tools });
  const { message } = (await stream.finalChatCompletion()).choices[0];
  const [call] = message.tool_calls;
  const result = { role: "tool", tool_call_id: call.id, content: "21 degrees" };
  const after = await create({ messages: [...messages, message, result], tools });
  return {
    answer: answer.choices[0].message.content,
    usage: [answer.usage.prompt_tokens, answer.usage.completion_tokens],
    stream: text,
    stream_usage: [usage.prompt_tokens, usage.completion_tokens],
    tool: [call.function.name, JSON.parse(call.function.arguments)],
    after: after.choices[0].message.content,
  };
}

async function responses() {
  const create = (body) => client.responses.create({ model, input: question, ...body });
  const answer = await create({ instructions: "Be brief." });
  let text = "";
  let usage = null;
  for await (const event of await create({ stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    if (event.type === "response.completed") usage = event.response.usage;
  }
  const tools = [{ type: "function", name: "get_weather", parameters, strict: false }];
  const kept = { include: ["reasoning.encrypted_content"], reasoning: { effort: "low" }, store: false, tools };
  const final = await client.responses.stream({ model, input: messages, ...kept }).finalResponse();
  const call = final.output.find((item) => item.type === "function_call");
  const output = final.output.map(({ parsed_arguments, ...item }) => item);
  const result = { type: "function_call_output", call_id: call.call_id, output: "21 degrees" };
  const after = await create({ input: [...messages, ...output, result], ...kept });
  return {
    answer: answer.output_text,
    usage: [answer.usage.input_tokens, answer.usage.output_tokens],
    stream: text,
    stream_usage: [usage.input_tokens, usage.output_tokens],
    tool: [call.name, JSON.parse(call.arguments)],
    reasoning: final.output.filter((item) => item.type === "reasoning").flatMap((item) => item.summary.map((s) => s.text)),
    after: after.output_text,
  };
}

console.log(JSON.stringify(await { chat, responses }[api]()));
