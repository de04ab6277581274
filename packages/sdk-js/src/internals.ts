/** What the parts that are fetched later share with the core. Not for apps: it changes without notice. */
export { completed, Gathered, gathered, textOf, usageOf } from "./answers.js";
export { BadRequestError, BridgeError, ConnectionError_, FaucetError } from "./errors.js";
export { readJson, secretsOf, send } from "./http.js";
export { brokeOff, eventsOf, featureResult, readChunk, receiptOf, tellCalls, untilAborted } from "./models.js";
export { parts, REPORTS } from "./parts.js";
export { exclusively, newId, sleep } from "./storage.js";
